"""AWS for tests: one that answers what it is told to, and moto's, shared by the tests of a file since it is slow."""

import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from harness.benches.ec2.api.api import Api

REGION = "eu-north-1"


def _account(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    mine = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in {**nowhere, **mine, "AWS_ENDPOINT_URL": endpoint}.items():
        patch.setenv(name, value)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    """Nobody listens at its endpoint: it knows what a stub tells it, and never waits."""
    _account(monkeypatch, "http://127.0.0.1:9")
    return Api(REGION, pause=lambda _seconds: None)


@pytest.fixture
def stub(api: Api) -> Iterator[Callable[[str], Stubber]]:
    """Takes a service's name; its answers are then given in order, and each must be asked for."""
    stubs: dict[str, Stubber] = {}

    def of(service: str) -> Stubber:
        if service not in stubs:
            stubs[service] = Stubber(api.client(service, REGION))
            stubs[service].activate()
        return stubs[service]

    yield of
    for each in stubs.values():
        each.assert_no_pending_responses()


@pytest.fixture(scope="module")
def moto_api(moto: str, ec2_cache: Path) -> Iterator[Api]:
    """moto's EC2, empty at the beginning of a file; its list of types is kept in `ec2_cache`."""
    with pytest.MonkeyPatch.context() as patch:
        _account(patch, moto)
        patch.setenv("PTP_HARNESS_CACHE_DIR", str(ec2_cache))
        patch.setattr("harness.benches.ec2.api.api.READ_S", 300)  # moto shares its cores with all other tests
        urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST")).close()
        patient = boto3.client("ec2", REGION, config=Config(read_timeout=300, retries={"total_max_attempts": 1}))
        patient.describe_images(Owners=["self"])  # the first question takes moto long
        yield Api(REGION)


@pytest.fixture(scope="module")
def ec2(moto_api: Api) -> Any:
    """Its client, to prepare what the tests look at."""
    return boto3.client("ec2", REGION, config=Config(read_timeout=300))

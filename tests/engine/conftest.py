"""The real engine, with a provider double over moto: everything on 127.0.0.1, in folders that are gone afterwards."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from harness.benches.ec2.engine.engine import Deadlines, Engine
from harness.benches.ec2.engine.engine_home import EngineHome
from harness.benches.ec2.engine.stack import StackSettings
from harness.model.ec2_enums import Access, Market
from tests.doubles import policy, rehearsal

ROOT = Path(__file__).parents[2]
REGION = "eu-north-1"
HOME = os.environ.get("HOME", "/")
"""Before `served` hides it: where the lab keeps what its guests are made of."""
NOBODY = "127.0.0.1"
"""Where all instances are, and nobody can log in."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = shutil.which("pulumi") is None
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engine)
            item.add_marker(pytest.mark.timeout(1800))
            if missing:
                item.add_marker(pytest.mark.skip(reason="needs Pulumi's engine: no `pulumi` on PATH"))


@dataclass(frozen=True, slots=True)
class Double:
    """Both doubles at work, and their handles."""

    faults: Path
    log: Path

    def shall(self, *rules: dict[str, Any]) -> None:
        """What goes wrong from now on; each rule counts its own calls."""
        fresh = self.faults.with_suffix(".new")
        fresh.write_text(json.dumps(rules))
        fresh.replace(self.faults)

    def calls(self, method: str, what: str = "end") -> list[str]:
        """The URNs of calls so far, in order."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [line["urn"] for line in lines if (line["method"], line["what"]) == (method, what)]

    def ec2(self, region: str = REGION) -> Any:
        """A client that may do everything; the harness has docs/iam-policy.json, where that is evaluated."""
        keys = {"aws_access_key_id": policy.ADMINISTRATOR, "aws_secret_access_key": "testing"}
        return boto3.client("ec2", region_name=region, **keys)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    folder = tmp_path_factory.mktemp("double")
    double = Double(folder / "faults.json", folder / "calls.jsonl")
    environ = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(folder),
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        rehearsal.serve_double(
            "ec2_server.py",
            *("--address", NOBODY, "--faults", str(double.faults)),
            *policy.server_arguments(),
            environ=os.environ,
        ) as moto,
    ):
        for name in (
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
            "AWS_DEFAULT_REGION",
            "AWS_REGION",
            "PULUMI_CONFIG_PASSPHRASE",
        ):
            patch.delenv(name, raising=False)
        for name, value in (environ | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{moto}"}).items():
            patch.setenv(name, value)
        with rehearsal.serve_double(
            "aws_provider.py", "--faults", str(double.faults), "--log", str(double.log), environ=os.environ
        ) as port:
            patch.setenv("PULUMI_DEBUG_PROVIDERS", f"aws:{port}")
            yield double


@pytest.fixture
def double(served: Double) -> Iterator[Double]:
    """The doubles with nothing going wrong and nothing logged; at the end nothing is left in EC2."""
    served.shall()
    served.log.unlink(missing_ok=True)
    yield served
    served.shall()


@pytest.fixture
def home(tmp_path: Path) -> EngineHome:
    return EngineHome(folder=tmp_path / "state/ec2", project=ROOT)


@pytest.fixture
def engine(home: EngineHome) -> Engine:
    return Engine(home, patience=Deadlines(grace_s=5, lock_s=30))


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A private host key, and a public key that may log in."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("host", "user"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(argv, check=True)
    return (folder / "host").read_text(), (folder / "user.pub").read_text().strip()


Settings = Callable[..., StackSettings]


@pytest.fixture(scope="session")
def settings(keys: tuple[str, str]) -> Settings:
    """Complete settings of one host; each can be another."""

    def make(run: str = "k3f9", host: str = "m7i.large", **others: Any) -> StackSettings:
        values: dict[str, Any] = {
            "instance_type": "m7i.large",
            "region": REGION,
            "zone": None,
            "subnet": None,
            "image": "al2023",
            "placement": "auto",
            "access": Access.SSH,
            "controller_cidr": "192.0.2.7/32",
            "public_key": keys[1],
            "host_key": keys[0],
            "market": Market.ON_DEMAND,
            "lease_s": 3600,
            "expires": "2027-01-31T12:00:00+00:00",
            "owner": "ada",
            "volume_gib": 12,
        }
        return StackSettings(run=run, host=host, token=f"{run}/{host}/1", **values | others)

    return make


def left(ec2: Any, run: str) -> list[str]:
    """All that carries a run's tag and still is in EC2."""
    mine = [{"Name": "tag:ptp-harness:run", "Values": [run]}]
    instances = ec2.describe_instances(Filters=mine)["Reservations"]
    alive = [
        each["InstanceId"]
        for reservation in instances
        for each in reservation["Instances"]
        if each["State"]["Name"] != "terminated"
    ]
    return [
        *alive,
        *(each["GroupId"] for each in ec2.describe_security_groups(Filters=mine)["SecurityGroups"]),
        *(each["KeyName"] for each in ec2.describe_key_pairs(Filters=mine)["KeyPairs"]),
        *(each["GroupName"] for each in ec2.describe_placement_groups(Filters=mine)["PlacementGroups"]),
        *(each["VolumeId"] for each in ec2.describe_volumes(Filters=mine)["Volumes"]),
    ]


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(timeout=120)
    assert not thread.is_alive()


def environ_of_engine(home: EngineHome) -> dict[str, str]:
    return {**os.environ, **home.environment()}

"""Types over HTTP: what the API claims of them, joined with what runs measured, in each Region."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.benches.ec2.api import answer_cache
from harness.benches.lab.truths.truths import TRUTHS
from harness.model import Outcome, Reason, Rung, RungName, RungStatus
from harness.model.cloud import TypeInfo
from harness.model.ec2_enums import Architecture
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.doubles.records import make_verdict
from tests.servers.service import RunningService

REGION = "eu-north-1"


def make_type(name: str, *, phc: bool) -> TypeInfo:
    family, _, size = name.partition(".")
    return TypeInfo(
        name=name,
        family=family,
        size=size,
        architecture=Architecture.X86_64,
        vcpus=2,
        memory_mib=8192,
        phc=phc,
        ena="required",
        zones=(f"{REGION}a",),
        price_per_hour_usd=None,
        bare_metal=False,
        current_generation=True,
    )


@pytest.fixture
def without_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which no AWS is reached."""
    for name in ("ACCESS_KEY_ID", "ENDPOINT_URL", "REGION", "DEFAULT_REGION"):
        monkeypatch.setenv(f"AWS_{name}", "")
    for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{name}", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def listed(service: RunningService, without_aws: None, tmp_path: Path) -> RunningService:
    """A service that has the list of a Region, of today."""
    types = [make_type("m7i.large", phc=True), make_type("t2.micro", phc=False)]
    endpoint, cache = f"https://ec2.{REGION}.amazonaws.com", tmp_path / "state" / "cache"
    answer_cache.write(answer_cache.cache_file(cache, "types", REGION, endpoint), [asdict(info) for info in types])
    answer_cache.write(answer_cache.cache_file(cache, "prices-on-demand", REGION, endpoint), {"m7i.large": 0.1071})
    return service


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {info["name"]: info for info in document["types"]}


def test_claims_and_measurements_of_a_region_are_joined(listed: RunningService) -> None:
    present = Rung(name=RungName.CLOCK_PRESENT, status=RungStatus.PROVEN, evidence="ena-ptp-05")
    verdict = make_verdict(outcome=Outcome.PASS, reason=Reason.SYNCHRONISED, rungs=(present,))
    changes = {"region": REGION, "zone": f"{REGION}a", "verdict": verdict}
    hosts = [
        MadeUpHost(instance_type="t2.micro", offset_ns=80.0, changes=changes),
        MadeUpHost(instance_type="m7i.large", changes={**changes, "region": "us-east-1"}),
    ]
    run = add_run(listed.ledger, hosts, bench="ec2", campaign={"region": REGION, "image": "al2023"})
    document = listed.get(f"/v1/types?region={REGION}").json()
    assert (document["bench"], document["region"], document["prices"]["market"]) == ("ec2", REGION, "on-demand")
    types = by_name(document)
    assert (types["m7i.large"]["phc"], types["m7i.large"]["price_per_hour_usd"]) == (True, 0.1071)
    assert types["m7i.large"]["measured"] is None, "that was in another Region"
    measured = types["t2.micro"]["measured"]
    assert (measured["run"], measured["outcome"], measured["offset_p99_ns"], measured["clock"]) == (
        run,
        "PASS",
        80.0,
        True,
    )
    assert types["t2.micro"]["contradiction"].startswith("the API says unsupported, and a clock was there")


def test_types_of_the_lab_are_listed_with_what_was_measured(service: RunningService) -> None:
    run = add_run(service.ledger, [MadeUpHost(offset_ns=80.0)])
    document = service.get("/v1/types?bench=lab").json()
    types = by_name(document)
    assert set(types) == set(TRUTHS)
    assert types["lab.phc"]["measured"]["run"] == run
    assert types["lab.drifting"]["measured"] is None


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("bench=hosts", 400, "this service has no bench hosts"),
        ("bench=rack", 422, "bench"),
        ("region=nowhere", 422, "region"),
        ("bench=lab&region=eu-north-1", 400, "the bench lab has no Regions"),
        ("region=eu-south-2", 503, "cannot ask for the types of eu-south-2"),
        ("", 400, "Region"),
    ],
)
def test_types_that_cannot_be_listed_are_a_problem(
    file_service: RunningService, without_aws: None, query: str, status: int, words: str
) -> None:
    answer = file_service.get(f"/v1/types?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert words in answer.json()["detail"]

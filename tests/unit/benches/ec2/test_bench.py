"""What the ec2 bench says when EC2 cannot be asked: never that something is gone."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.benches.ec2.api.api import Api
from harness.benches.ec2.bench import Ec2Bench
from harness.benches.ec2.instances.launch_records import LaunchRecord
from harness.errors import CleanupError
from harness.model import Token
from harness.model.cloud import CloudOptions
from harness.model.ec2_deadlines import METAL, VIRTUAL, InstanceDeadlines
from harness.model.ec2_enums import Access
from harness.runs import campaign_run
from harness.runs.evidence_collector import play_deadline_s
from harness.system import settings


@pytest.fixture
def bench(api: Api, tmp_path: Path) -> Ec2Bench:
    """One whose EC2 does not answer."""
    return Ec2Bench(replace(settings.load(), state_dir=tmp_path), CloudOptions(region=api.region))


def test_a_release_that_cannot_be_verified_is_none(bench: Ec2Bench) -> None:
    with pytest.raises(
        CleanupError, match=r"left running: what carries k3f9/a/1, since EC2 cannot be asked \(.*not answer"
    ):
        bench.release(Token(run="k3f9", host="a"))


@pytest.mark.parametrize(
    ("instance_type", "access", "deadlines", "returns_s"),
    [
        ("m7i.large", Access.SSH, VIRTUAL, VIRTUAL.reboots_s),
        ("m7i.large", Access.SSM, VIRTUAL, 420.0),  # the agent registers again within up to 300 s
        ("m7i.metal-24xl", Access.SSM, METAL, METAL.reboots_s),
    ],
)
def test_a_host_may_take_as_long_as_its_kind_of_type(
    bench: Ec2Bench, instance_type: str, access: Access, deadlines: InstanceDeadlines, returns_s: float
) -> None:
    token = Token(run="k3f9", host="a")
    record = LaunchRecord(
        token=token,
        instance_type=instance_type,
        folder=bench.records.folder(token),
        region=bench.region.api.region,
        stack=token.slug,
        intent="runs",
        access=access,
        created_utc="2026-11-28T10:00:00+00:00",
        expires_utc="2026-11-28T12:00:00+00:00",
        instance_id="i-1",
        address="192.0.2.1",
        user="ec2-user",
    )
    machine = bench.make_machine(record)
    assert (machine.boots_within_s, machine.reboots_within_s) == (deadlines.boots_s, returns_s)
    assert machine.role_variables["ena_driver_return_timeout_s"] == returns_s
    assert play_deadline_s(machine, machine.role_variables) > returns_s + 600


def test_what_cannot_be_listed_may_still_run(bench: Ec2Bench) -> None:
    (left,) = campaign_run.list_leftovers(bench, "k3f9", ())
    assert (left.token, left.kind) == ("k3f9/ec2/1", "resources")
    assert "cannot be listed (" in left.name

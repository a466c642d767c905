"""What the ec2 bench says when EC2 cannot be asked: never that something is gone."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.benches.ec2.api.api import Api
from harness.benches.ec2.bench import Ec2Bench
from harness.errors import CleanupError
from harness.model import Token
from harness.model.cloud import CloudOptions
from harness.runs import campaign_run
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


def test_what_cannot_be_listed_may_still_run(bench: Ec2Bench) -> None:
    (left,) = campaign_run.list_leftovers(bench, "k3f9", ())
    assert (left.token, left.kind) == ("k3f9/ec2/1", "resources")
    assert "cannot be listed (" in left.name

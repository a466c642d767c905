"""An image of a real guest's disk, and a guest that boots from it: published, refused, and killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.doubles import rehearsal

from .conftest import HOME
from .test_chain import REGION, command, ec2, nothing_is_left, state

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800), pytest.mark.xdist_group("guests")]

QUICK = ("--depth", "quick")
NO_ROOM = {"method": "Create", "type": "ec2/instance", "skip": 1, "code": "InsufficientInstanceCapacity"}
"""The host itself is made, and none of its image."""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with rehearsal.serve_cloud(tmp_path_factory.mktemp("baking"), HOME=HOME) as made:
        yield made


@pytest.fixture(scope="module")
def campaign(environ: Mapping[str, str]) -> str:
    asked = yaml.safe_load(rehearsal.CAMPAIGN.read_text()) | {"instance_types": ["m7i.large"]}
    path = state(environ).parent / "bake.yaml"
    path.write_text(yaml.safe_dump(asked))
    return str(path)


def images(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    wanted = [{"Name": "tag-key", "Values": ["ptp-harness:image"]}]
    return list(ec2(environ).describe_images(Filters=wanted)["Images"])


def no_image_is_left(environ: Mapping[str, str]) -> None:
    assert images(environ) == []
    wanted = [{"Name": "tag-key", "Values": ["ptp-harness:image"]}]
    assert ec2(environ).describe_snapshots(Filters=wanted)["Snapshots"] == []


def test_a_host_that_passes_becomes_an_image_from_which_the_next_one_starts_ready(
    environ: dict[str, str], campaign: str
) -> None:
    done = command(environ, "image", "bake", campaign, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    [made] = told["images"]
    assert (made["outcome"], made["why"], made["image"]["name"]) == ("PASS", None, "debian-13"), done.stderr
    nothing_is_left(environ)
    [image] = images(environ)
    tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
    assert image["ImageId"] == made["image"]["ident"]
    assert (tags["ptp-harness:proof"], tags["ptp-harness:user"]) == (made["proof"], "admin")
    assert "ptp-harness:token" not in tags

    proof = json.loads((state(environ) / "runs" / made["proof"] / "report.json").read_text())
    driver = next(rung for rung in proof["hosts"][0]["rungs"] if rung["rung"] == "driver_on")
    assert driver["status"] == "proven"
    log = (state(environ) / "runs" / made["proof"] / "m7i.large" / "configure.log").read_text()
    switched = log.partition("Enable the PTP clock")[2]
    assert switched.lstrip("] *\n").startswith("ok: "), "the image's own boot has switched the clock on"

    listed = command(environ, "image", "list", "--region", REGION)
    assert f"baked:debian-13  x86_64  {image['ImageId']}" in listed.stdout
    gone = command(environ, "image", "delete", "baked:debian-13", "--region", REGION)
    assert (gone.returncode, f"{image['ImageId']} (baked:debian-13, x86_64) is gone" in gone.stderr) == (0, True)
    no_image_is_left(environ)


def test_an_image_that_no_host_proves_is_refused_and_removed(environ: dict[str, str], campaign: str) -> None:
    faults = state(environ).parent / "faults.json"
    faults.write_text(json.dumps([NO_ROOM]))
    try:
        done = command(environ, "image", "bake", campaign, *QUICK, "--name", "other", "--json")
    finally:
        faults.unlink()
    [made] = json.loads(done.stdout)["images"]
    assert (done.returncode, made["image"], made["outcome"]) == (3, None, "INCONCLUSIVE"), done.stderr
    assert f"a host made from it does not pass (run {made['proof']})" in made["why"]
    nothing_is_left(environ)
    no_image_is_left(environ)


def test_of_a_bake_that_is_killed_sweep_leaves_nothing(environ: dict[str, str], campaign: str) -> None:
    argv = [sys.executable, "-m", "harness", "image", "bake", campaign, *QUICK]
    with subprocess.Popen(argv, env=environ, cwd=state(environ).parent, stderr=subprocess.DEVNULL) as bake:
        give_up = time.monotonic() + 600
        while not images(environ):
            assert bake.poll() is None, "it ended by itself"
            assert time.monotonic() < give_up
            time.sleep(0.2)
        os.kill(bake.pid, signal.SIGKILL)
    listed = command(environ, "sweep", "--bench", "ec2", "--region", REGION)
    assert (listed.returncode, "image-m7i.large" in listed.stdout) == (4, True), listed.stderr
    swept = command(environ, "sweep", "--bench", "ec2", "--region", REGION, "--yes")
    assert swept.returncode == 0, swept.stderr
    nothing_is_left(environ)
    no_image_is_left(environ)

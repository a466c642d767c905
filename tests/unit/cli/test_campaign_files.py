"""`campaign check` and `campaign keys` as a person calls them, and the same mistakes as `plan` and `run` name them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., "subprocess.CompletedProcess[str]"]
VERBS = [("campaign", "check"), ("plan",), ("run",)]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_types_that_the_bench_has_not_are_named_with_their_lines(
    call: Call, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    (tmp_path / "c.yaml").write_text("instance_types:\n  - lab.phc\n  - m7i.large\n  - lab.drivr-off\n")
    done = call(*verb, "c.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[:3] == [
        "ptp-harness: 2 mistakes in campaign c.yaml",
        "c.yaml:3: instance_types.1: there is no type 'm7i.large' on bench lab; "
        "it is an EC2 type: add --region NAME, or write `bench: ec2` in the campaign file",
        "c.yaml:4: instance_types.2: there is no type 'lab.drivr-off' on bench lab; "
        "did you mean lab.driver-off or lab.hour-off or lab.old-driver?",
    ]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_several_mistakes_are_one_a_line_with_file_line_and_key(
    call: Call, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    (tmp_path / "c.yaml").write_text(
        "instance_types: [lab.phc]\nmeasure:\n  duration: 60\nlimits:\n  offset_ns: {p99_abs: 5ppm}\nread_only: maybe\n"
    )
    done = call(*verb, "c.yaml")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "ptp-harness: 3 mistakes in campaign c.yaml",
        'c.yaml:3: measure.duration: is 60; write a duration with its unit, such as "60s", "5m" or "2h"',
        "c.yaml:5: limits.offset_ns.p99_abs: is '5ppm'; write a time such as 500ns, 20us or 1.5ms, or a number of ns",
        "c.yaml:6: read_only: is 'maybe'; write true or false",
        "  next: `ptp-harness campaign keys` explains every key",
    ]


def test_a_valid_file_is_called_valid(call: Call, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("instance_types: [lab.phc]\nlimits: {offset_ns: {p99_abs: 500us}}\n")
    done = call("campaign", "check", "c.yaml")
    assert (done.returncode, "c.yaml is valid: bench lab, 1 hosts" in done.stdout + done.stderr) == (0, True)


def test_a_host_that_the_inventory_has_not_is_named_with_its_line_by_plan(call: Call, tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text(json.dumps({"all": {"children": {"rack7": {"hosts": {"a1": {}}}}}}))
    (tmp_path / "c.yaml").write_text("bench: hosts\ninventory: hosts.yaml\ninstance_types: [rack7, a2]\n")
    done = call("plan", "c.yaml")
    assert done.returncode == 2
    assert "c.yaml:3: instance_types.1: there is no type 'a2' on bench hosts; did you mean a1?" in done.stderr


def test_a_check_runs_no_code_of_an_inventory(call: Call, tmp_path: Path) -> None:
    script = tmp_path / "hosts.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho '{{}}'\n")
    script.chmod(0o755)
    (tmp_path / "c.yaml").write_text("bench: hosts\ninventory: ./hosts.sh\ninstance_types: [a1]\n")
    done = call("campaign", "check", "c.yaml")
    assert (done.returncode, (tmp_path / "ran").exists()) == (0, False)
    assert (
        "its hosts were not checked: that would run the code of the inventory ./hosts.sh" in done.stdout + done.stderr
    )


@pytest.mark.parametrize(
    ("region", "why"),
    [("", "the file names no region"), ("region: eu-north-1\n", "no list of the types of eu-north-1 is kept here")],
)
def test_types_of_ec2_that_cannot_be_checked_are_said_to_be_unchecked(
    call: Call, tmp_path: Path, region: str, why: str
) -> None:
    (tmp_path / "c.yaml").write_text(f"bench: ec2\n{region}instance_types: [m99.large]\n")
    done = call("campaign", "check", "c.yaml", PTP_HARNESS_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0
    assert f"its types were not checked: {why}" in done.stdout + done.stderr


def test_keys_are_explained(call: Call) -> None:
    done = call("campaign", "keys", "measure.duration", "keep")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "measure.duration"
    assert "    none, supported or ask (default: none)" in done.stdout.splitlines()


def test_a_key_that_there_is_not_is_refused(call: Call) -> None:
    done = call("campaign", "keys", "leese")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no key leese" in done.stderr


def test_keys_are_printed_as_the_tables_of_the_page(call: Call) -> None:
    page = (Path(__file__).parents[3] / "docs" / "campaign-file.md").read_text()
    tables = call("campaign", "keys", "--markdown").stdout.split("\n\n")
    assert len(tables) > 3
    assert [table for table in tables if table.strip() not in page] == []
    limits = call("campaign", "keys", "limits.offset_ns", "--markdown").stdout.splitlines()
    assert [line.split("`")[1] for line in limits[2:]][:2] == ["limits.offset_ns", "limits.offset_ns.p99_abs"]

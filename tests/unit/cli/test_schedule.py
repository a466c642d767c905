"""`schedule`: the same schedules as those of the service, added and shown by the command."""

import json
from pathlib import Path

import pytest

from harness.store.ledger import Ledger
from harness.store.schedules import DuePass, Schedules
from tests.unit.cli.conftest import Call


@pytest.fixture
def campaign(tmp_path: Path) -> str:
    (tmp_path / "nightly.yaml").write_text("instance_types: [lab.phc]\n")
    return "nightly.yaml"


def schedules(tmp_path: Path) -> Schedules:
    (path,) = tmp_path.rglob("ledger.sqlite")
    return Schedules(Ledger(f"sqlite:///{path}").database)


def test_a_schedule_is_added_listed_paused_and_removed(call: Call, campaign: str, tmp_path: Path) -> None:
    added = call("schedule", "add", "nightly", "0 2 * * *", campaign, "--zone", "Europe/Berlin")
    assert added.returncode == 0, added.stderr
    assert "schedule nightly: first at " in added.stderr
    assert "then at 0 2 * * * in Europe/Berlin" in added.stderr
    listed = call("schedule", "list").stdout.splitlines()
    assert listed[0].split() == ["NAME", "CRON", "ZONE", "NEXT", "LAST", "TASK", "BY"]
    assert listed[1].split()[:7] == ["nightly", "0", "2", "*", "*", "*", "Europe/Berlin"]
    assert len(listed) == 2
    assert call("schedule", "pause", "nightly").returncode == 0
    assert "paused" in call("schedule", "list").stdout
    assert "schedule nightly: next at" in call("schedule", "resume", "nightly").stderr
    assert "schedule nightly is not paused" in call("schedule", "resume", "nightly").stderr
    assert call("schedule", "remove", "nightly").returncode == 0
    assert "no schedules yet" in call("schedule", "list").stderr
    again = call("schedule", "remove", "nightly")
    assert (again.returncode, "there is no schedule 'nightly'" in again.stderr) == (2, True)


def test_what_was_missed_and_what_prevented_a_task_is_told(call: Call, campaign: str, tmp_path: Path) -> None:
    call("schedule", "add", "nightly", "0 2 * * *", campaign)
    kept = schedules(tmp_path)
    line = kept.find("nightly")
    due = DuePass(time_ns=line.due_ns, next_ns=line.due_ns + 1, missed=3, task=None, problem="there is no type x")
    kept.pass_due(line, due)
    said = call("schedule", "list").stdout
    assert "nightly: missed 3 while no service ran" in said
    assert "UTC: there is no type x" in said
    (document,) = json.loads(call("schedule", "list", "--json").stdout)
    assert (document["missed"], document["last_problem"]) == (3, "there is no type x")


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        (("Night", "0 2 * * *", "nightly.yaml"), "is no name of a schedule"),
        (("n", "0 2 * *", "nightly.yaml"), "is no cron expression: wrong number of fields"),
        (("n", "0 2 * * *", "none.yaml"), "none.yaml"),
        (("n", "0 2 * * *", "nightly.yaml", "--zone", "Mars"), "there is no time zone 'Mars'"),
        (("n", "0 2 * * *", "bad.yaml"), "bad.yaml:2"),
        (("n", "0 2 * * *", "asks.yaml"), "nobody sits at the terminal"),
    ],
)
def test_a_mistake_is_named(call: Call, campaign: str, tmp_path: Path, words: tuple[str, ...], tells: str) -> None:
    (tmp_path / "bad.yaml").write_text("instance_types: [lab.phc]\nmeasure: {duration: 5}\n")
    (tmp_path / "asks.yaml").write_text("instance_types: [lab.phc]\nkeep: ask\n")
    refused = call("schedule", "add", *words)
    assert (refused.returncode, tells in refused.stderr) == (2, True), refused.stderr
    assert "no schedules yet" in call("schedule", "list").stderr

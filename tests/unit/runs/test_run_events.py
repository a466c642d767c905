"""A run tells what it does in one way: to whoever called it, to the log, and to its evidence."""

import json
import logging
from pathlib import Path

import pytest

from harness.model import Event, Stage
from harness.runs.release_failures import ReleaseFailures
from harness.runs.run_events import EVENTS, RunEvents, make_event
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from tests.unit.runs.test_campaign_run import Lab, lab

__all__ = ["lab"]  # a fixture


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")


def test_the_listener_the_log_and_the_evidence_get_the_same_events(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="harness")
    record = lab.run("silent", "full")
    folder = EvidenceFolder(lab.settings.runs_dir / record.run)
    of_run = [event for event in lab.events if event.run is not None]
    written = [json.loads(line) for line in (folder.path / EVENTS).read_text().splitlines()]
    assert sorted((one["run"], one["host"], one["stage"], one["text"]) for one in written if one["host"]) == sorted(
        (event.run, event.host, event.stage, event.text) for event in of_run if event.host
    )
    assert {(one["host"], one["stage"]) for one in written} >= {("silent", "reach"), ("full", "release"), (None, None)}
    assert [one["at"].endswith("+00:00") for one in written] == [True] * len(written)
    assert [message for message in caplog.messages if message == f"{record.run} silent provision: launching"]
    assert folder.list_changed() == [], "the events are in the checksums"


def test_the_ledger_has_what_began_what_was_said_and_what_ended(lab: Lab) -> None:
    record = lab.run("silent", "full")
    lab.ledger.flush()
    events = lab.ledger.events(record.run)
    assert [event.number for event in events] == [*range(1, len(events) + 1)]
    silent = [(event.event.stage, event.event.text) for event in events if event.event.host == "silent"]
    provision = [text for stage, text in silent if stage is Stage.PROVISION]
    assert (provision[0], "launching" in provision, provision[-1]) == ("", True, "done")
    assert silent[-1] == (Stage.RELEASE, "released")
    verdict = next(text for stage, text in silent if stage is Stage.JUDGE and text.startswith("INCONCLUSIVE"))
    assert verdict.startswith("INCONCLUSIVE unreachable: no SSH after ")
    of_run = [event.event.text for event in events if event.event.host is None]
    assert (of_run[0], of_run[-1]) == ("begins, hosts: 2", "ended: 2 INCONCLUSIVE")
    said = [event.text for event in lab.events if event.run is not None and event.text]
    assert not [text for text in said if text not in {event.event.text for event in events}], "nothing said is lost"


def test_the_first_event_of_a_run_has_its_name(lab: Lab) -> None:
    record = lab.run("silent", "full", parallel=1)
    texts = [event.text for event in lab.events if event.host is None]
    assert texts == ["ready", f"run {record.run}: 2 hosts on the bench lab, up to 1 at once"]


def test_a_text_from_a_host_becomes_one_short_line() -> None:
    event = make_event("a\x1b[2J\n b\u202e\ud800" + "x" * 1000, run="k3f9", host="a", stage=Stage.MEASURE)
    assert event.text.startswith("a\\x1b[2J b\\u202e\\ud800xxx")
    assert len(event.text) < 350
    assert event.at.utcoffset() is not None


def test_events_that_cannot_be_written_are_noted_once(ledger: Ledger, tmp_path: Path) -> None:
    folder, failures = EvidenceFolder.create(tmp_path / "evidence"), ReleaseFailures()
    (folder.path / EVENTS).mkdir()
    heard: list[Event] = []
    events = RunEvents("k3f9", heard.append, ledger, folder, failures)
    for number in range(3):
        events.publish(f"event {number}")
    assert [event.text for event in heard] == ["event 0", "event 1", "event 2"]
    [failure] = failures.noted
    assert failure.startswith("giving an event of run k3f9 to events.jsonl: SetupError: cannot write ")


def test_a_link_in_the_place_of_the_events_is_not_followed(ledger: Ledger, tmp_path: Path) -> None:
    folder, elsewhere = EvidenceFolder.create(tmp_path / "evidence"), tmp_path / "elsewhere"
    elsewhere.write_text("")
    (folder.path / EVENTS).symlink_to(elsewhere)
    failures = ReleaseFailures()
    RunEvents("k3f9", lambda _event: None, ledger, folder, failures).publish("an event")
    assert (elsewhere.read_text(), len(failures.noted)) == ("", 1)

"""The verdicts of a ledger by type and environment: what is new is read, on both databases."""

import time
from dataclasses import replace

import pytest

from harness.model import HostRecord, Outcome
from harness.store.ledger import Ledger
from harness.store.verdict_history import VerdictHistory
from tests.doubles.clock_story import DRIFTING, StoryHost, add_run, make_record


def host(name: str = "m7i.large", **changes: object) -> HostRecord:
    return StoryHost(instance_type=name, **changes).record()  # type: ignore[arg-type]


class Clock:
    """The time by which the history reads again."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 2.0
        return self.now_s


@pytest.fixture
def history(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> VerdictHistory:
    """A history that reads again each time that it is asked."""
    monkeypatch.setattr(time, "monotonic", Clock())
    return VerdictHistory(ledger)


def told(history: VerdictHistory, region: str | None = None) -> dict[str, tuple[str, str, int]]:
    """Of each type: the outcome, the run since which it is so, and the number of runs."""
    return {
        each.instance_type: (each.outcome.value, each.worst.since.run, each.worst.runs)
        for each in history.sum_up("ec2", region)
    }


def test_an_empty_ledger_has_no_types(history: VerdictHistory) -> None:
    assert history.sum_up("ec2") == []
    assert dict(history.places().regions) == {}


def test_what_was_recorded_since_is_read(ledger: Ledger, history: VerdictHistory) -> None:
    first = add_run(ledger, [host()], days_ago=9, image="al2023")
    assert told(history) == {"m7i.large": ("PASS", first, 1)}
    add_run(ledger, [host()], days_ago=5, image="al2023")
    assert told(history) == {"m7i.large": ("PASS", first, 2)}
    failed = add_run(ledger, [host(like=DRIFTING), host("c7i.large")], image="al2023")
    assert told(history)["m7i.large"] == ("FAIL", failed, 1)
    (standing,) = [each for each in history.sum_up("ec2") if each.instance_type == "m7i.large"]
    assert standing.worst.passed is not None
    assert standing.environment.image == "al2023"
    assert standing.environment.driver == "ena 2.17.0g"
    assert standing.environment.kernel == "6.12.58-82.121.amzn2023.x86_64"


def test_a_verdict_of_a_run_that_goes_on_counts_once(ledger: Ledger, history: VerdictHistory) -> None:
    run = add_run(ledger, [host()], image="al2023", ended=False)
    for _ in range(3):
        assert told(history) == {"m7i.large": ("PASS", run, 1)}
    token = ledger.own_host(run, "m7i.large").token
    ledger.record_verdict(token, host(like=DRIFTING))
    assert told(history) == {"m7i.large": ("FAIL", run, 1)}
    ledger.close_run(make_record(run, "ec2", [host(like=DRIFTING)]))
    for _ in range(2):
        assert told(history) == {"m7i.large": ("FAIL", run, 1)}


def test_an_older_run_that_ends_later_has_its_place(ledger: Ledger, history: VerdictHistory) -> None:
    older = add_run(ledger, [host(like=DRIFTING)], days_ago=3, image="al2023", ended=False)
    newer = add_run(ledger, [host()], days_ago=1, image="al2023")
    assert told(history) == {"m7i.large": ("PASS", newer, 1)}
    ledger.close_run(make_record(older, "ec2", [host(like=DRIFTING)]))
    assert told(history) == {"m7i.large": ("PASS", newer, 1)}


def test_a_run_of_long_ago_that_was_imported_is_read(ledger: Ledger, history: VerdictHistory) -> None:
    newest = add_run(ledger, [host()], image="al2023")
    assert told(history) == {"m7i.large": ("PASS", newest, 1)}
    oldest = add_run(ledger, [host()], days_ago=400, image="al2023")
    assert told(history) == {"m7i.large": ("PASS", oldest, 2)}


def test_types_are_told_by_region(ledger: Ledger, history: VerdictHistory) -> None:
    north = add_run(ledger, [host()], image="al2023")
    west = add_run(ledger, [replace(host(like=DRIFTING), region="us-west-2")], image="al2023")
    assert history.places().regions["ec2"] == ["eu-north-1", "us-west-2"]
    assert told(history)["m7i.large"] == ("FAIL", west, 1)
    assert told(history, "eu-north-1") == {"m7i.large": ("PASS", north, 1)}
    assert told(history, "us-west-2") == {"m7i.large": ("FAIL", west, 1)}
    assert told(history, "nowhere") == {}


def test_benches_are_told_apart(ledger: Ledger, history: VerdictHistory) -> None:
    add_run(ledger, [replace(host("lab.phc"), region=None, image="lab image")], bench="lab")
    assert told(history) == {}
    (standing,) = history.sum_up("lab")
    assert standing.environment.image == "lab image"


def test_what_a_host_claims_fits_the_columns(ledger: Ledger, history: VerdictHistory) -> None:
    facts = host().facts
    assert facts is not None
    assert facts.drivers is not None
    hostile = "\0\x1b\ud800" + "k" * 5000
    drivers = (replace(facts.drivers[0], version=hostile),)
    claims = replace(host(), facts=replace(facts, kernel=hostile, drivers=drivers, os=hostile), image=None)
    add_run(ledger, [claims], bench="lab")
    (standing,) = history.sum_up("lab")
    texts = (standing.environment.image, standing.environment.kernel, standing.environment.driver)
    assert all(text is not None and len(text) <= 128 and text.isprintable() for text in texts)


def test_many_runs_are_summed_up_soon(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read once is not read again: the second answer takes as long with a hundred runs as with one."""
    runs = [
        add_run(ledger, [host(), host("c7i.large", outcome=Outcome.INCONCLUSIVE)], image="al2023") for _ in range(8)
    ]
    reads: list[int] = []
    read = ledger.database.read
    monkeypatch.setattr(ledger.database, "read", lambda work: (reads.append(1), read(work))[1])
    monkeypatch.setattr(time, "monotonic", Clock())
    history = VerdictHistory(ledger)
    assert told(history)["m7i.large"] == ("PASS", runs[0], 8)
    first = len(reads)
    assert told(history)["m7i.large"] == ("PASS", runs[0], 8)
    assert len(reads) - first <= 2

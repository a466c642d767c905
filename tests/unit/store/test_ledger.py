"""The books: what is committed is what comes back, and nobody's run is mistaken for another's."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from harness.errors import ConflictError, RequestError, SetupError
from harness.model import (
    HostRecord,
    HostState,
    Outcome,
    Reason,
    Rung,
    RungName,
    RungStatus,
    RunRecord,
    Stage,
    Token,
    Verdict,
)
from harness.store.ledger import Ledger
from harness.store.ledger_lines import StepLine

VERDICT = Verdict(
    outcome=Outcome.PASS,
    reason=Reason.SYNCHRONISED,
    sentence="all proven",
    rungs=(Rung(name=RungName.OFFERED, status=RungStatus.PROVEN, evidence="lab"),),
    findings=(),
    contradictions=("the API says unsupported",),
    unobserved=(),
    remarks=(),
    remedy=None,
)


def host(name: str, state: HostState = HostState.RELEASED) -> HostRecord:
    return HostRecord(
        name=name,
        instance_type="lab.phc",
        verdict=VERDICT,
        facts=None,
        stages={Stage.PROVISION: 1.5},
        state=state,
        address="127.0.1.1",
    )


@pytest.fixture
def file_ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


def owned(ledger: Ledger, run: str, name: str) -> Token:
    """The token of a host that this process owns from now on."""
    return ledger.own_host(run, name).token


def test_a_run_comes_back_whole(ledger: Ledger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"b": "lab.phc", "a": "lab.phc"})
    assert ledger.record(run) is None
    for name in ("a", "b"):
        ledger.record_state(owned(ledger, run, name), host(name))
    record = RunRecord(
        run=run,
        bench="lab",
        started="2026-11-21T00:00:00+00:00",
        seconds=2.0,
        interrupted=False,
        hosts=(host("b"), host("a")),
        leftovers=(),
    )
    ledger.close_run(record)
    assert ledger.record(run) == record
    assert [line.ended for line in ledger.runs()] == [True]


def test_the_intent_is_there_before_the_effect(ledger: Ledger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"})
    step = ledger.begin_step(owned(ledger, run, "a"), Stage.PROVISION)
    begun = ledger.steps(run)[0]
    assert (begun.token, begun.stage, begun.ended_ns, begun.result) == (f"{run}/a/1", Stage.PROVISION, None, None)
    ledger.end_step(step, "done")
    ended = ledger.steps(run)[0]
    assert ended == StepLine(
        token=f"{run}/a/1", stage=Stage.PROVISION, begun_ns=begun.begun_ns, ended_ns=ended.ended_ns, result="done"
    )
    assert ended.ended_ns is not None
    assert ended.ended_ns >= begun.begun_ns


def test_a_verdict_without_release_leaves_the_state_open(ledger: Ledger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"})
    ledger.record_verdict(owned(ledger, run, "a"), host("a", HostState.FAILED))
    line = ledger.hosts(run)[0]
    assert line.state is None
    assert line.record == host("a", HostState.FAILED)


def with_clock(record: HostRecord) -> HostRecord:
    rung = Rung(name=RungName.CLOCK_PRESENT, status=RungStatus.PROVEN, evidence="/dev/ptp0")
    return replace(record, verdict=replace(VERDICT, rungs=(*VERDICT.rungs, rung)))


def test_the_latest_verdict_of_each_type_that_tells_of_its_clock(ledger: Ledger) -> None:
    campaign = {"region": "eu-north-1", "image": "al2023"}
    kinds = {"a": "m1", "b": "m2", "c": "m3", "d": "m4"}
    first = ledger.open_run(bench="lab", campaign=campaign, hosts=kinds)
    second = ledger.open_run(bench="lab", campaign={}, hosts=kinds)
    ledger.open_run(bench="hosts", campaign={}, hosts={"d": "d"})
    for run, name, record in (
        (first, "a", with_clock(host("a"))),
        (second, "a", replace(host("a"), region="eu-west-1")),
        (first, "b", host("b")),
        (second, "b", host("b")),
        (second, "c", with_clock(host("c"))),
    ):
        ledger.record_verdict(owned(ledger, run, name), record)
    found = ledger.latest_verdicts("lab")
    assert [(line.run, line.region, line.image, line.record) for line in found] == [
        (second, None, None, host("b")),
        (second, None, None, with_clock(host("c"))),
        (first, "eu-north-1", "al2023", with_clock(host("a"))),
    ]
    assert found[0].started_ns >= found[-1].started_ns
    assert [(line.run, line.record.name) for line in ledger.latest_verdicts("lab", "eu-north-1")] == [
        (first, "a"),
        (first, "b"),
    ]
    assert [(line.run, line.record.name) for line in ledger.latest_verdicts("lab", "eu-west-1")] == [(second, "a")]
    assert ledger.latest_verdicts("hosts") == []


def test_runs_are_listed_in_pages(ledger: Ledger) -> None:
    runs = [ledger.open_run(bench="lab", campaign={}, hosts={}) for _ in range(7)]
    whole = [line.run for line in ledger.runs()]
    assert {*whole} == {*runs}
    pages, before = list[str](), None
    while page := ledger.runs(most=3, before=before):
        pages += [line.run for line in page]
        before = pages[-1]
    assert pages == whole
    with pytest.raises(RequestError, match="there is no run 'zzzz'"):
        ledger.runs(before="zzzz")
    assert {*ledger.runs_named([*runs[:2], "zzzz"])} == {*runs[:2]}
    ledger.close_run(
        RunRecord(run=runs[0], bench="lab", started="", seconds=1.0, interrupted=False, hosts=(), leftovers=())
    )
    assert {line.run for line in ledger.open_runs("lab")} == {*runs[1:]}
    assert ledger.open_runs("ec2") == []


def test_a_record_of_an_early_version_can_be_read(file_ledger: Ledger) -> None:
    """One without zone, Region, image, claim and calls."""
    ledger = file_ledger
    run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"})
    ledger.record_state(owned(ledger, run, "a"), replace(host("a"), api_calls=8.5))
    whole = RunRecord(
        run=run, bench="lab", started="", seconds=5, interrupted=False, hosts=(host("a"),), leftovers=(), api_calls=40
    )
    ledger.close_run(whole)
    early = ", ".join(
        f"'$.{name}'" for name in ("zone", "region", "image", "claim", "api_calls", "cost_usd", "attempt")
    )
    with sqlite3.connect(ledger.url.removeprefix("sqlite:///")) as db:
        db.execute(f"UPDATE hosts SET record = json_remove(record, {early})")
        db.execute("UPDATE runs SET record = json_remove(record, '$.api_calls')")
    assert ledger.hosts(run)[0].record == ledger.latest_verdicts("lab")[0].record == host("a")
    assert ledger.record(run) == replace(whole, api_calls=None)


def test_a_run_of_a_process_that_died_is_not_alive(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    words = f"from harness.store.ledger import Ledger; Ledger({url!r}).open_run(bench='lab', campaign={{}}, hosts={{}})"
    subprocess.run([sys.executable, "-c", words], check=True, cwd=Path(__file__).parents[3])
    ledger = Ledger(url)
    mine = ledger.open_run(bench="lab", campaign={}, hosts={})
    assert {line.run == mine: line.alive() for line in ledger.runs()} == {True: True, False: False}


def test_an_unknown_run_names_the_latest(ledger: Ledger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={})
    with pytest.raises(RequestError, match=rf"no run 'zzzz'.*{run}"):
        ledger.find("zzzz")


def test_a_run_is_asked_for_by_its_name_and_not_read_with_all_others(file_ledger: Ledger) -> None:
    """A row that cannot be read spoils the list of runs, but no other run."""
    ledger = file_ledger
    run = ledger.open_run(bench="lab", campaign={}, hosts={})
    other = ledger.open_run(bench="lab", campaign={}, hosts={})
    with sqlite3.connect(ledger.url.removeprefix("sqlite:///")) as db:
        db.execute("UPDATE runs SET record = 'no JSON' WHERE run = ?", (other,))
    assert ledger.find(run).run == run


def test_a_name_in_use_is_drawn_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    used = ledger.open_run(bench="lab", campaign={}, hosts={})
    names = iter((used, used, "free"))
    monkeypatch.setattr("harness.store.ledger.draw_name", lambda *_length: next(names))
    assert ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"}) == "free"


@pytest.mark.timeout(30)
def test_a_run_has_the_name_that_was_chosen_for_it_once(ledger: Ledger) -> None:
    hosts = {"a": "lab.phc"}
    assert ledger.open_run(bench="lab", campaign={}, hosts=hosts, name="chosen") == "chosen"
    with pytest.raises(ConflictError) as caught:
        ledger.open_run(bench="lab", campaign={}, hosts={"b": "lab.phc"}, name="chosen")
    assert caught.value.message == "there is a run chosen"
    assert [line.host for line in ledger.hosts("chosen")] == ["a"]


def test_another_conflict_than_the_name_of_the_run_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(IntegrityError, match="bench"):
        ledger.open_run(bench=None, campaign={}, hosts={})  # type: ignore[arg-type]
    with pytest.raises(IntegrityError, match="instance_type"):
        ledger.open_run(bench="lab", campaign={}, hosts={"a": None})  # type: ignore[dict-item]
    assert ledger.runs() == []


@pytest.mark.parametrize("write", [Ledger.record_verdict, Ledger.record_state])
def test_a_verdict_of_a_host_that_is_not_there_is_our_mistake(
    ledger: Ledger, write: Callable[[Ledger, Token, HostRecord], None]
) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"a": "lab.phc"})
    with pytest.raises(KeyError, match=f"run {run} has no host 'b'"):
        write(ledger, Token(run=run, host="b"), host("b"))
    with pytest.raises(KeyError, match="run zzzz has no host 'a'"):
        write(ledger, Token(run="zzzz", host="a"), host("a"))


def test_many_threads_write_at_once(ledger: Ledger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={str(number): "lab.phc" for number in range(8)})

    def work(number: int) -> None:
        token = owned(ledger, run, str(number))
        for _ in range(10):
            ledger.end_step(ledger.begin_step(token, Stage.REACH), "done")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.steps(run)) == 80
    assert all(step.result == "done" for step in ledger.steps(run))


OPENS_EACH = """
import sys
from harness.store.ledger import Ledger
for line in sys.stdin:
    try:
        books = Ledger(line.strip())
        print(books.open_run(bench="lab", campaign={}, hosts={}), flush=True)
    except Exception as error:
        print(error, flush=True)
"""


@pytest.mark.programs
def test_several_processes_may_be_the_first_at_once(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", OPENS_EACH]
    children = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(3)
    ]
    for number in range(20):
        url = f"sqlite:///{tmp_path}/{number}/ledger.sqlite"
        for child in children:
            assert child.stdin is not None
            child.stdin.write(url + "\n")
        said = {child.stdout.readline().strip() for child in children if child.stdout}
        assert {line.run for line in Ledger(url).runs()} == said
    for child in children:
        child.communicate()


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"cannot write to .*PTP_HARNESS_STATE_DIR"):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'state' / 'ledger.sqlite'}")


def test_a_file_that_is_no_ledger_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(os.urandom(4096))
    with pytest.raises(SetupError, match="cannot use the ledger"):
        Ledger(f"sqlite:///{path}")

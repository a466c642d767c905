"""Whatever raises between a host's making and its release: it is released, judged, booked and reported all the same."""

import json
import traceback
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import ladder
from harness.benches.bench import Progress
from harness.errors import ExitCode
from harness.model import Event, HostRecord, HostState, Outcome, Reason, RunRecord, Stage, Token
from harness.report import text
from harness.report.exit_codes import exit_code_of
from harness.runs import campaign_run, qualification
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from tests.unit.runs.test_campaign_run import KINDS, Lab, ScriptedBench, lab, planned

__all__ = ["lab"]  # a fixture
ERRORS = (ZeroDivisionError("a bug of ours"), MemoryError(), OSError(28, "No space left on device"), RecursionError())


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_arguments: object, **_named: object) -> Any:
        raise error

    return fail


def released_and_judged(lab: Lab, record: RunRecord) -> None:
    assert lab.bench.running == set()
    assert all(host.state is HostState.RELEASED for host in record.hosts)
    assert all(host.verdict.outcome is not Outcome.PASS for host in record.hosts)
    assert not record.leftovers


def report_of(lab: Lab, record: RunRecord) -> dict[str, Any]:
    return dict(json.loads((lab.settings.runs_dir / record.run / campaign_run.REPORT_JSON).read_text()))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_judging_raises(lab: Lab, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    judge = ladder.judge

    def failing(evidence: Any, requirements: Any, **more: Any) -> Any:
        return judge(evidence, requirements, **more) if not requirements else raising(error)()

    monkeypatch.setattr(ladder, "judge", failing)
    record = lab.run("silent", "full", "silent")
    released_and_judged(lab, record)
    assert [host.verdict.reason for host in record.hosts] == [Reason.HARNESS_ERROR] * 3
    assert "our fault" in record.hosts[0].verdict.sentence
    assert len(report_of(lab, record)["hosts"]) == 3
    assert lab.ledger.record(record.run) is not None


BOOKINGS = ("claim", "begin_step", "end_step", "record_verdict", "record_state", "close_run")


@pytest.mark.parametrize("method", BOOKINGS)
def test_the_ledger_raises_once_hosts_are_there(lab: Lab, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A ledger that cannot be written any more, from the moment in which the first host runs."""
    usual = getattr(Ledger, method)
    full = OSError(28, "No space left on device")

    def failing(self: Ledger, *arguments: Any) -> Any:
        return raising(full)() if lab.bench.order else usual(self, *arguments)

    monkeypatch.setattr(Ledger, method, failing)
    record = lab.run("silent", "full", "silent")
    assert lab.bench.running == set()
    assert len(record.hosts) == 3
    assert any("No space left" in words for words in record.failures)
    assert exit_code_of(record, [Outcome.PASS]) is ExitCode.OUR_FAULT
    report = report_of(lab, record)
    assert [host["state"] for host in report["hosts"]] == ["released"] * 3
    assert "our fault: " in (lab.settings.runs_dir / record.run / campaign_run.REPORT_TEXT).read_text()


@pytest.mark.parametrize("method", ["write", "copy_file", "write_checksums", "host"])
def test_evidence_raises_once_hosts_are_there(lab: Lab, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    usual = getattr(EvidenceFolder, method)

    def failing(self: EvidenceFolder, *arguments: Any) -> Any:
        return raising(OSError(28, "No space left on device"))() if lab.bench.order else usual(self, *arguments)

    monkeypatch.setattr(EvidenceFolder, method, failing)
    record = lab.run("silent", "broken", "silent", parallel=1)
    released_and_judged(lab, record)
    assert len(record.hosts) == 3
    assert lab.ledger.record(record.run) is not None


@pytest.mark.parametrize("name", ["summary", "ladder"])
def test_the_report_for_people_raises_and_the_one_for_programs_is_there(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(text, name, raising(ZeroDivisionError("a bug of ours")))
    record = lab.run("silent", "silent")
    released_and_judged(lab, record)
    assert record.failures == ("writing report.txt: ZeroDivisionError: a bug of ours",)
    assert len(report_of(lab, record)["hosts"]) == 2


def test_a_listener_that_raises_is_named_and_changes_no_verdict(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [host.verdict for host in lab.run("silent", "full").hosts]

    def deaf(event: Event) -> None:
        if event.stage is not Stage.PROVISION:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(lab, "listen", deaf)
    record = lab.run("silent", "full")
    released_and_judged(lab, record)
    assert [host.verdict for host in record.hosts] == before
    assert record.failures == (
        f"giving an event of run {record.run} to the listener: BrokenPipeError: [Errno 32] Broken pipe",
    )


def test_the_bench_raises_what_nobody_expects_of_a_release(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    release = lab.bench.release

    def failing(token: Token, progress: Progress) -> None:
        return raising(ZeroDivisionError("a bug of ours"))() if token.host == "silent" else release(token, progress)

    monkeypatch.setattr(lab.bench, "release", failing)
    record = lab.run("silent", "full", "silent", parallel=1)
    assert [host.state for host in record.hosts] == [HostState.FAILED, HostState.RELEASED, HostState.RELEASED]
    assert [left.token for left in record.leftovers] == [f"{record.run}/silent/1"]
    assert exit_code_of(record, [Outcome.PASS]) is ExitCode.LEFT_RUNNING


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"stuck"}))
def test_a_stage_raises_what_ends_no_process_but_ours(lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Also SystemExit, which no handler of Exception sees, leaves no host behind."""

    def exits(self: qualification.Qualification, _cleanup: object) -> None:
        self.context.bench.provision(self.token, "silent", lambda _: None)
        raise SystemExit(3)

    monkeypatch.setattr(qualification.Qualification, "observe", exits)
    with pytest.raises(SystemExit):
        lab.run(kind)
    assert lab.bench.running == set()


def test_the_question_which_hosts_stay_raises_with_a_ledger_that_does_too(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silent_machine: Any
) -> None:
    class Willing(ScriptedBench):
        """A bench whose hosts pass without being looked at."""

    def passes(self: qualification.Qualification, _cleanup: object) -> None:
        assert self.provision()

    def passed(self: qualification.Qualification, _depth: object) -> Any:
        from dataclasses import replace

        return replace(self.make_unjudged_verdict(), outcome=Outcome.PASS, reason=Reason.SYNCHRONISED)

    bench = Willing(silent_machine)
    monkeypatch.setattr(qualification.Qualification, "observe", passes)
    monkeypatch.setattr(qualification.Qualification, "judge_at", passed)
    monkeypatch.setattr(Ledger, "record_state", raising(OSError(28, "No space left on device")))
    asked = planned(bench, ("good", "good", "good"), 3, keep="ask")

    def choose(_run: str, hosts: Sequence[HostRecord]) -> Collection[str]:
        assert [host.state for host in hosts] == [HostState.UNDECIDED] * 3
        return [hosts[1].name]

    record = lab.lead(asked, lab.controls(choose=choose), bench)
    assert [host.state for host in record.hosts] == [HostState.RELEASED, HostState.KEPT, HostState.RELEASED]
    assert bench.running == {f"{record.run}/good-2/1"}
    assert any("No space left" in words for words in record.failures)


def test_a_traceback_that_cannot_be_kept_costs_no_verdict(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traceback, "format_exc", raising(MemoryError()))
    record = lab.run("broken")
    released_and_judged(lab, record)


def test_the_console_of_a_guest_is_kept_in_its_beginning_and_its_end(tmp_path: Path) -> None:
    console = tmp_path / "serial.log"
    console.write_bytes(b"begin" + b"x" * (20 << 20) + b"end")
    folder = EvidenceFolder.create(tmp_path / "evidence")
    folder.copy_file(console)
    kept = (folder.path / "serial.log").read_bytes()
    assert kept.startswith(b"begin")
    assert kept.endswith(b"end")
    assert b"bytes left out" in kept
    assert len(kept) < 9 << 20

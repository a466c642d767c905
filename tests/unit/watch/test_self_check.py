"""Does the ledger learn what a worker finds out about itself: once, with what to do, and until it is over?"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from harness.store.ledger import Ledger
from harness.store.tables import WATCH_WORKERS
from harness.store.watch_findings import FindingKind, WorkerFinding, WorkerFindings
from harness.store.watch_log import LogKind, WatchLog
from harness.store.watch_mending import WatchMending
from harness.store.watch_samples import WatchSamples
from harness.store.watch_sources import StreamSetup
from harness.store.watch_streams import WatchStreams
from harness.store.watch_view import WatchViews
from harness.system.settings import assets_dir
from harness.watch.consistency import Kind, find_inconsistencies
from harness.watch.grid import Grid
from harness.watch.held_stream import HeldStream
from harness.watch.holdings import Holdings
from harness.watch.ledger_calls import LedgerCalls
from harness.watch.outbox import Outbox
from harness.watch.recovery import Recovery
from harness.watch.self_check import QUIET_S, TOLD_EVERY_S, FindingNotes, SelfCheck, find_wrong_keys
from harness.watch.spool import Spool
from harness.watch.ssh_connection import HostConnectionError, Trouble
from harness.watch.tick_answers import SAMPLER_SCHEMA
from tests.doubles.unjudged_ticks import NoStates
from tests.unit.watch.test_spool import a_chunk


class Time:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def wrong_key(*streams: str) -> WorkerFinding:
    return WorkerFinding(kind=FindingKind.HOST_KEY, sentence="another key", recommendation="look", streams=streams)


def test_a_finding_is_told_once_and_again_for_other_streams_after_a_minute() -> None:
    time = Time()
    notes = FindingNotes("w1", now=time)
    for _ in range(20):
        notes.update([wrong_key("a")])
        time.now_s += 5
    assert [(each.kind, each.stream, each.sentence) for each in notes.entries] == [
        (LogKind.FINDING, "a", "host key: another key; look")
    ]
    for number in range(10):
        notes.update([wrong_key("a", *(f"b{each}" for each in range(number + 1)))])
        time.now_s += 2
    assert len(notes.entries) == 2
    time.now_s += TOLD_EVERY_S
    notes.update([wrong_key("a", *(f"b{each}" for each in range(10)))])
    assert [each.stream for each in notes.entries] == ["a", "b0", None]
    assert "now also 9 streams (b1, b2, b3, ...)" in notes.entries[-1].sentence


def test_what_comes_and_goes_is_one_finding_and_its_end_is_told() -> None:
    time = Time()
    notes = FindingNotes("w1", now=time)
    for number in range(30):
        notes.update([wrong_key("a")] if number % 3 == 0 else [])
        time.now_s += QUIET_S / 5
    assert len(notes.entries) == 1
    assert notes.findings == [wrong_key("a")]
    time.now_s += QUIET_S
    notes.update([])
    assert [each.kind for each in notes.entries] == [LogKind.FINDING, LogKind.ENDED]
    assert notes.findings == []
    for _ in range(1000):
        time.now_s += QUIET_S
        notes.update([wrong_key("a")])
        time.now_s += QUIET_S
        notes.update([])
    assert len(notes.entries) <= 202, "what waits for a ledger that is away is bounded"


class Checked:
    """A registered worker with a small spool, and its check."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger, self.time = ledger, Time()
        self.wall_ns = ledger.now_ns()
        self.grid = Grid(boot_ns=lambda: 0, wall_ns=lambda: self.wall_ns)
        streams = WatchStreams(ledger.database)
        self.holdings = Holdings(streams=streams, worker="w1", process="rack/7", version="1", capacity=10.0)
        self.holdings.step()
        self.spool = Spool(folder / "w1.spool", "w1", most_bytes=200_000)
        calls = LedgerCalls()
        self.outbox = Outbox("w1", calls, WatchSamples(ledger.database), NoStates(), self.spool)
        findings = WorkerFindings(ledger.database)
        self.check = SelfCheck(self.holdings, self.grid, self.outbox, calls, findings, now=self.time)

    def compare(self, apart_s: float, *, may_change: bool = False) -> None:
        here_ns = self.grid.now_ns()
        database_ns = here_ns - round(apart_s * 1e9)
        self.check.compare_grid(database_ns, asked_ns=here_ns, answered_ns=here_ns, may_change=may_change)

    def be_away(self, seconds: float, cause: str) -> None:
        """Let the ledger be away for so long, and come back."""
        self.check.note_absence(cause, 7)
        self.time.now_s += seconds
        self.check.note_answer(7)

    async def tell(self, streams: dict[str, HeldStream] | None = None) -> None:
        await self.check.tell(streams or {}, self.holdings.registration, 10.0)

    def find(self) -> list[tuple[Kind, str | None, str]]:
        view = WatchViews(self.ledger.database).read()
        found = find_inconsistencies(view, version="1")
        return [(each.kind, each.worker, each.sentence) for each in found if each.is_logged]

    def log(self) -> list[str]:
        return [line.entry.sentence for line in WatchLog(self.ledger.database).list_lines(worker="w1")]


def run(ledger: Ledger, folder: Path, act: Callable[[Checked], Awaitable[None]]) -> None:
    async def main() -> None:
        checked = Checked(ledger, folder)
        try:
            await act(checked)
        finally:
            checked.outbox.close()

    asyncio.run(main())


def test_a_grid_that_is_off_a_ledger_that_was_away_and_a_full_spool_are_told_with_what_to_do(
    ledger: Ledger, tmp_path: Path
) -> None:
    async def act(checked: Checked) -> None:
        await checked.tell()
        checked.compare(1.0)
        checked.be_away(5.0, "no answer")
        await checked.tell()
        assert (checked.find(), checked.log()) == ([], []), "shorter than a lease, and near enough"
        checked.compare(-30.0)
        checked.be_away(20.0, "the ledger is away")
        number = 0
        while not checked.spool.thinned:
            checked.spool.add([a_chunk(60 * (number + more)) for more in range(100)])
            number += 100
        await checked.tell()
        assert {kind for kind, _, _ in checked.find()} == {Kind.GRID_OFF, Kind.CUT_OFF, Kind.SPOOL_THINNED}
        log = checked.log()
        assert len(log) == 3
        assert "grid off: the grid of the worker w1 is 30 s behind the database's time; correct the clock of" in log[-1]
        assert any("did not reach the ledger for 20 s (the ledger is away)" in each for each in log)
        assert any("500 chunks one reading in 10 stays, 0 chunks are lost; give it more room" in each for each in log)
        checked.compare(0.0)
        checked.time.now_s += QUIET_S
        await checked.tell()
        assert checked.find() == []
        assert len(checked.log()) == 6

    run(ledger, tmp_path, act)


def test_what_is_off_before_a_worker_has_streams_is_corrected_and_not_told(ledger: Ledger, tmp_path: Path) -> None:
    async def act(checked: Checked) -> None:
        before_ns = checked.grid.now_ns()
        checked.compare(100.0, may_change=True)
        assert before_ns - checked.grid.now_ns() == 100 * 10**9
        await checked.tell()
        assert checked.log() == []

    run(ledger, tmp_path, act)


def test_after_a_new_registration_what_goes_on_is_in_its_row_again_and_in_the_log_once(
    ledger: Ledger, tmp_path: Path
) -> None:
    async def act(checked: Checked) -> None:
        checked.compare(30.0)
        await checked.tell()
        WatchMending(ledger.database).demand_registration({"w1": checked.holdings.registration or 0})
        checked.holdings.step()
        assert checked.find() == []
        await checked.tell()
        assert [kind for kind, _, _ in checked.find()] == [Kind.GRID_OFF]
        assert len(checked.log()) == 1
        view = WatchViews(ledger.database).read()
        recovery = Recovery(WatchMending(ledger.database))
        found = find_inconsistencies(view, version="1")
        assert [each for each in recovery.follow(view, found) if "grid" in each.sentence] == [], "the worker told it"
        assert [each for each in recovery.follow(view, []) if "grid" in each.sentence] == []

    run(ledger, tmp_path, act)


def test_findings_of_another_form_are_left_out(ledger: Ledger, tmp_path: Path) -> None:
    async def act(checked: Checked) -> None:
        checked.compare(30.0)
        await checked.tell()
        written = [{"kind": "news of a later version"}, "nonsense", {"kind": "grid off", "sentence": "x"}]
        ledger.database.write(lambda db: db.execute(WATCH_WORKERS.update().values(findings=written)) and None)
        assert checked.find() == []

    run(ledger, tmp_path, act)


@pytest.mark.parametrize("trouble", [*Trouble])
def test_only_another_host_key_is_told_as_one(trouble: Trouble) -> None:
    setup = StreamSetup(stream="a", source={}, limits={}, interval_s=1.0, weight=1.0, added_ns=0, added_by="ada")
    held = HeldStream(setup)
    assert find_wrong_keys("w1", {"a": held}) is None
    held.unusable = HostConnectionError(trouble, "it does not")
    finding = find_wrong_keys("w1", {"a": held})
    assert (finding.streams if finding else None) == (["a"] if trouble is Trouble.WRONG_KEY else None)


def test_the_form_that_is_read_is_the_one_that_the_sampler_writes() -> None:
    sampler = assets_dir() / "roles" / "clock_facts" / "files" / "sample.py"
    assert f"\nSCHEMA = {SAMPLER_SCHEMA}\n" in sampler.read_text()

"""Find out as a worker what is wrong with itself and its hosts after it began, and decide what is told, and how often.

A finding is told when it begins, and when it concerns streams that it did not concern before, at most once a minute. It
ends when it was not so for a minute: what comes and goes is one finding.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from harness.errors import HarnessError
from harness.store.watch_findings import MOST_STREAMS, FindingKind, WorkerFinding, WorkerFindings
from harness.store.watch_log import LogEntry, LogKind
from harness.watch.consistency import name_streams
from harness.watch.grid import MOST_APART_S, Grid
from harness.watch.held_stream import HeldStream
from harness.watch.holdings import Holdings
from harness.watch.ledger_calls import LedgerCalls, Urgency
from harness.watch.outbox import Outbox
from harness.watch.spool import THIN_BY
from harness.watch.ssh_connection import Trouble
from harness.watch.tick_answers import SAMPLER_SCHEMA

QUIET_S, TOLD_EVERY_S = 60.0, 60.0
_MOST_WAITING = 200
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Open:
    """A finding that goes on. `told`: the streams that an entry has named; times on the clock of the notes, s."""

    finding: WorkerFinding
    told: set[str]
    told_s: float
    seen_s: float


class FindingNotes:
    """The findings of one worker that go on, and entries that are to be added to the log. `now`: monotonic, s."""

    def __init__(self, worker: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._worker, self._now = worker, now
        self._open: dict[FindingKind, _Open] = {}
        self.entries: list[LogEntry] = []

    @property
    def findings(self) -> list[WorkerFinding]:
        """The findings that go on, by kind."""
        return [self._open[kind].finding for kind in sorted(self._open)]

    def update(self, current: Iterable[WorkerFinding]) -> None:
        """Take all that is so now."""
        now_s = self._now()
        for finding in current:
            known = self._open.get(finding.kind)
            if known is None:
                self._open[finding.kind] = _Open(finding, {*finding.streams}, now_s, now_s)
                self._add(LogKind.FINDING, finding, f"{finding.sentence}; {finding.recommendation}")
                continue
            known.finding, known.seen_s = finding, now_s
            added = sorted({*finding.streams} - known.told)
            if added and now_s - known.told_s >= TOLD_EVERY_S:
                known.told.update(added)
                known.told_s = now_s
                sentence = f"{finding.sentence}, now also {name_streams(added)}; {finding.recommendation}"
                self._add(LogKind.FINDING, replace(finding, streams=added), sentence)
        for kind, known in [*self._open.items()]:
            if now_s - known.seen_s >= QUIET_S:
                del self._open[kind]
                self._add(LogKind.ENDED, known.finding, f"no more: {known.finding.sentence}")
        del self.entries[:-_MOST_WAITING]

    def forget(self, entries: Sequence[LogEntry]) -> None:
        """Forget entries that are in the log."""
        self.entries = [entry for entry in self.entries if not any(entry is each for each in entries)]

    def _add(self, kind: LogKind, finding: WorkerFinding, sentence: str) -> None:
        stream = finding.streams[0] if len(finding.streams) == 1 else None
        text = f"{finding.kind}: {sentence}"
        self.entries.append(LogEntry(kind=kind, worker=self._worker, stream=stream, sentence=text))


class SelfCheck:
    """Checks a worker while it works: its grid, its outbox and spool, and the connections of its streams.

    Absences of the ledger that are shorter than the lease of `holdings` are not told.
    """

    def __init__(
        self,
        holdings: Holdings,
        grid: Grid,
        outbox: Outbox,
        calls: LedgerCalls,
        findings: WorkerFindings,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker, self._process, self._lease_s = holdings.worker, holdings.process, holdings.lease_s
        self._grid, self._outbox, self._calls, self._findings = grid, outbox, calls, findings
        self._apart_s: float | None = None
        self._was_set = False
        self._thinned = (0, 0, 0)
        self._absent_since_s: float | None = None
        self._absence_cause = ""
        self._absence: WorkerFinding | None = None
        self._told: tuple[int | None, list[WorkerFinding]] = (None, [])
        self._now = now
        self.notes = FindingNotes(holdings.worker, now=now)

    # -- what happens

    def compare_grid(self, database_ns: int, *, asked_ns: int, answered_ns: int, may_change: bool) -> None:
        """Take the ledger's time where ours is another at the beginning; later, note that they differ.

        `may_change`: no stream has come yet.
        """
        if (abs(self._grid.wall_apart_s()) > MOST_APART_S) != self._was_set:
            self._was_set = not self._was_set
            if self._was_set:
                _log.warning("this machine's clock was set by %.1f s; no tick changes", self._grid.wall_apart_s())
        apart_s = self._grid.compare(database_ns, asked_ns=asked_ns, answered_ns=answered_ns)
        if apart_s is not None and may_change:
            self._grid.begin_anew(database_ns + self._grid.now_ns() - answered_ns)
            _log.warning("this machine's time is %.1f s off the ledger's; ticks are numbered by the ledger's", apart_s)
            apart_s = None
        elif apart_s is not None and self._apart_s is None:
            _log.error("the ticks of this worker are %.1f s off the ledger's time", apart_s)
        self._apart_s = apart_s

    def note_absence(self, cause: str, streams: int) -> None:
        """Note that the ledger does not answer; so many streams are sampled on."""
        if self._absent_since_s is None:
            self._absent_since_s, self._absence_cause = self._now(), cause
            _log.warning("the ledger is away, %d streams are sampled on: %s", streams, cause)

    def note_answer(self, streams: int) -> None:
        """Note that the ledger answers, and for how long it did not; so many streams were sampled on."""
        if self._absent_since_s is None:
            return
        _log.warning("the ledger is back")
        away_s, self._absent_since_s = self._now() - self._absent_since_s, None
        if away_s >= self._lease_s:
            self._absence = WorkerFinding(
                kind=FindingKind.CUT_OFF,
                sentence=f"the worker {self._worker} did not reach the ledger for {away_s:.0f} s "
                f"({self._absence_cause}); it sampled its streams on in local mode: {streams}",
                recommendation=f"see the network between {self._process} and the ledger, and the database's log",
            )

    # -- what is told

    async def tell(self, streams: Mapping[str, HeldStream], registration: int | None, within_s: float) -> None:
        """Look at all, and tell the ledger what has changed; what it does not take is told the next time."""
        self.notes.update(self._look(streams))
        findings, entries = self.notes.findings, [*self.notes.entries]
        of, told = self._told
        same = findings == told and (of == registration or not findings)  # the row of a new registration has none
        if registration is None or (same and not entries):
            return
        tell = partial(self._findings.tell, self._worker, registration, findings, entries)
        with suppress(HarnessError):
            await self._calls.call(tell, urgency=Urgency.STATES, within_s=within_s)
            self._told = registration, findings
            self.notes.forget(entries)

    def _look(self, streams: Mapping[str, HeldStream]) -> list[WorkerFinding]:
        absence, self._absence = self._absence, None
        findings = [self._find_grid(), absence, self._find_thinned(), self._find_fault()]
        findings += [find_wrong_keys(self._worker, streams), find_other_samplers(self._process, streams)]
        return [finding for finding in findings if finding is not None]

    def _find_grid(self) -> WorkerFinding | None:
        if self._apart_s is None:
            return None
        side = "ahead of" if self._apart_s > 0 else "behind"
        return WorkerFinding(
            kind=FindingKind.GRID_OFF,
            sentence=f"the grid of the worker {self._worker} is {abs(self._apart_s):.0f} s {side} the database's time",
            recommendation=f"correct the clock of its machine, or of the database's; then restart {self._worker}",
        )

    def _find_thinned(self) -> WorkerFinding | None:
        """Find whether the spool was thinned since the last look."""
        before, spool = self._thinned, self._outbox.spool
        self._thinned = spool.thinned, spool.dropped, self._outbox.lost
        if self._thinned == before:
            return None
        return WorkerFinding(
            kind=FindingKind.SPOOL_THINNED,
            sentence=f"the spool of the worker {self._worker} is full: of {spool.thinned} chunks one reading in "
            f"{THIN_BY} stays, {spool.dropped + self._outbox.lost} chunks are lost",
            recommendation="give it more room (--spool-mb), and bring the ledger back",
        )

    def _find_fault(self) -> WorkerFinding | None:
        if self._outbox.fault is None:
            return None
        return WorkerFinding(
            kind=FindingKind.SPOOL_UNUSABLE,
            sentence=f"the worker {self._worker} cannot use its spool {self._outbox.spool.file}: {self._outbox.fault}",
            recommendation=f"see the disk of {self._process}: until then samples are lost where the ledger is away",
        )


def find_wrong_keys(worker: str, streams: Mapping[str, HeldStream]) -> WorkerFinding | None:
    """Find the hosts that answer with another key than the trusted one; None where there are none."""
    names = [name for name, held in streams.items() if held.trouble and held.trouble.trouble is Trouble.WRONG_KEY]
    if not names:
        return None
    return WorkerFinding(
        kind=FindingKind.HOST_KEY,
        sentence=f"the worker {worker} does not sample {name_streams(sorted(names))}, whose host key is another one "
        "than the trusted one",
        recommendation="find out why; if the host was made anew, remove its stream and add it again",
        streams=sorted(names)[:MOST_STREAMS],
    )


def find_other_samplers(process: str, streams: Mapping[str, HeldStream]) -> WorkerFinding | None:
    """Find the hosts whose sampler writes another form than this version reads; None where there are none."""
    others = {
        name: held.sampler.schema
        for name, held in streams.items()
        if held.sampler is not None and held.sampler.answers and held.sampler.schema != SAMPLER_SCHEMA
    }
    if not others:
        return None
    schema = others[min(others)]
    return WorkerFinding(
        kind=FindingKind.OTHER_SAMPLER,
        sentence=f"the sampler of {name_streams(sorted(others))} writes form {schema}, and this version reads form "
        f"{SAMPLER_SCHEMA}",
        recommendation=f"install one version of ptp-harness as a whole on {process}, and restart its worker",
        streams=sorted(others)[:MOST_STREAMS],
    )

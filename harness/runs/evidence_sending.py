"""Send the evidence of runs to the evidence store, when a run ends and by hand; what is not sent waits."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, RequestError
from harness.store.evidence_outbox import Outbox, OutboxEntry
from harness.store.evidence_parts import was_ended_here, was_led_here
from harness.store.evidence_sender import SentEvidence, is_complete, list_local_parts, send_parts
from harness.store.ledger import Ledger
from harness.store.ledger_lines import RunLine
from harness.store.object_store import ObjectStore, Pause, StoreAwayError, open_store
from harness.system.settings import Settings
from harness.untrusted.plain_text import bounded

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSender:
    """Sends evidence of this machine's runs to one store. `pause` waits, and returns True when it was asked to stop."""

    ledger: Ledger
    settings: Settings
    store: ObjectStore
    pause: Pause

    def expect(self, line: RunLine, *, leads: bool, attempt: int | None = None) -> OutboxEntry:
        """Note that the evidence of a run is to be sent, before there is any. Raises SetupError.

        `attempt`: which leader of the run this machine is or was; None: the present one.
        """
        entry = OutboxEntry(
            run=line.run,
            started_ns=line.started_ns,
            store=self.store.label,
            leads=leads,
            attempt=(attempt or line.attempt) if leads else 0,
        )
        self._outbox.add(entry)
        return self._outbox.find(line.run) or entry

    def send(self, entry: OutboxEntry, *, again: bool = False) -> SentEvidence:
        """Send all of a run that changes no more; forget the entry once nothing more can follow.

        `again`: put also files that are in the store. Raises RequestError for a run that is not in the ledger,
        StoreAwayError, and SetupError.
        """
        line = find_run(entry, self.ledger)
        folder = self.settings.runs_dir / line.run
        parts = list_local_parts(line, list(self.ledger.hosts(line.run)), folder, entry.attempt)
        sent = send_parts(parts, folder, self.store, self.pause, again=again)
        if is_complete(line, folder, entry.attempt):
            if entry.attempt == line.attempt:
                self.ledger.note_evidence(line.run, None)
            self._outbox.remove(entry)
        return sent

    def send_hosts(self, run: str, hosts: Collection[str]) -> SentEvidence:
        """Send the evidence of hosts of a run that goes on, as far as it changes no more. Raises as `send` does."""
        line = self.ledger.find(run)
        folder = self.settings.runs_dir / line.run
        parts = list_local_parts(line, self.ledger.hosts(run, hosts), folder, 0)
        return send_parts(parts, folder, self.store, self.pause)

    def finish_help(self, entry: OutboxEntry) -> SentEvidence:
        """Send the hosts of a run that this process helped with, and that goes on elsewhere."""
        sent = self.send(entry)
        if not entry.leads:
            self._outbox.remove(entry)
        return sent

    def send_run(self, run: str, report: Callable[[str], None]) -> list[str]:
        """Send the evidence that this machine has of a run that has ended, whether it waits or not, all files again.

        Returns a sentence if it was not sent; `report` gets one if it was. Raises RequestError for a run that has not
        ended, or without evidence here.
        """
        line = self.ledger.find(run)
        folder = self.settings.runs_dir / line.run
        if not line.ended:
            raise RequestError(f"run {line.run} has not ended", next_step="its evidence is sent when it ends")
        if not folder.is_dir():
            raise RequestError(
                f"there is no evidence of run {line.run} on this machine", next_step=f"try on {line.owner.machine}"
            )
        entry = self.expect(line, leads=was_led_here(folder), attempt=self._find_attempt(line, folder))
        error = self._try(entry, report, again=True)
        return [] if error is None else [_describe_failure(line.run, error)]

    def send_waiting(self, report: Callable[[str], None], *, besides: str | None = None) -> list[str]:
        """Send what waits for this store, of runs that have ended; return a sentence for each that was not sent.

        `report` gets a sentence for each run that was. Once the store is away, nothing more is tried.
        """
        unsent: list[str] = []
        for entry in self._outbox.list():
            if entry.run == besides or entry.store != self.store.label or self._goes_on(entry):
                continue
            error = self._try(entry, report)
            if error is not None:
                unsent.append(_describe_failure(entry.run, error))
            if isinstance(error, StoreAwayError):
                break
        return unsent

    @property
    def _outbox(self) -> Outbox:
        return Outbox(self.settings.state_dir)

    def _find_attempt(self, line: RunLine, folder: Path) -> int:
        """Find which leader of an ended run this machine was: the last one, which writes a report, or one that died."""
        present = self._outbox.find(line.run)
        if present is not None and present.leads and present.started_ns == line.started_ns:
            return present.attempt
        return line.attempt if was_ended_here(folder) else max(1, line.attempt - 1)

    def _goes_on(self, entry: OutboxEntry) -> bool:
        try:
            return not is_complete(find_run(entry, self.ledger), self.settings.runs_dir / entry.run, entry.attempt)
        except RequestError:
            return False

    def _try(self, entry: OutboxEntry, report: Callable[[str], None], *, again: bool = False) -> Exception | None:
        """Send the evidence of one run; return the error, so that others are tried all the same."""
        try:
            report(describe_sent(entry.run, self.send(entry, again=again), self.store.label))
        except Exception as error:
            return error
        return None


def find_run(entry: OutboxEntry, ledger: Ledger) -> RunLine:
    """Find the run of an entry. Raises RequestError when the ledger has none, or another one of its name."""
    line = ledger.find(entry.run)
    if line.started_ns != entry.started_ns:
        raise RequestError(
            f"the evidence that waits is of another run {entry.run} than this ledger's",
            next_step="--ledger URL names the ledger of the run",
        )
    return line


def describe_waiting(entry: OutboxEntry, ledger: Ledger) -> str:
    """Say why the evidence of a run waits."""
    try:
        line = find_run(entry, ledger)
    except RequestError as error:
        return error.message
    if line.ended:
        return "the run has ended"
    return "the run is under way" if line.alive() else "the process that led the run died"


def make_sender(ledger: Ledger, settings: Settings, pause: Pause) -> EvidenceSender | None:
    """Make the sender for the store that the settings name; None without a store. Raises RequestError, SetupError."""
    if settings.evidence is None:
        return None
    return EvidenceSender(ledger=ledger, settings=settings, store=open_store(settings.evidence), pause=pause)


def send_ended(sender: EvidenceSender, run: str, report: Callable[[str], None], *, joined: bool = False) -> str | None:
    """Send the evidence of a run that this process has ended, or `joined`; return why it was not sent.

    Evidence of earlier runs that waits is sent, too. `report` gets a sentence for each run. Raises nothing: a run ends
    all the same when the store is away, with its verdicts.
    """
    try:
        line = sender.ledger.find(run)
        if not (line.ended or joined):
            raise RequestError(f"the ledger does not know the end of run {run}", next_step="resume the run")
        entry = sender.expect(line, leads=not joined)
        sent = sender.finish_help(entry) if joined else sender.send(entry)
    except Exception as error:
        why = _describe_error(error)
        report(f"evidence not sent, it waits on this machine: {why}")
        if not joined:
            _note_unsent(sender.ledger, run, why)
        return why
    report(describe_sent(run, sent, sender.store.label))
    for sentence in sender.send_waiting(report, besides=run):
        report(f"evidence still waits: {sentence}")
    return None


def _note_unsent(ledger: Ledger, run: str, why: str) -> None:
    try:
        ledger.note_evidence(run, why)
    except Exception as error:
        _log.warning("the ledger does not tell that the evidence of run %s was not sent: %s", run, error)


def _describe_failure(run: str, error: Exception) -> str:
    return f"run {run}: {_describe_error(error)}"


def _describe_error(error: Exception) -> str:
    return bounded(error.message if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}")


def describe_sent(run: str, sent: SentEvidence, label: str) -> str:
    """Say what was sent of a run, and where it is."""
    if not sent.new:
        return f"the evidence of run {run} is in {label}: {sent.files} files were there already"
    return f"the evidence of run {run} is in {label}: {sent.files} files, {sent.new} of {sent.parts} parts new"

"""Publish the events of a run: to its caller, to the log, and into the run's evidence."""

import datetime
import json
import logging
from dataclasses import asdict

from harness.model import Event, Listener, Stage
from harness.runs.release_failures import ReleaseFailures
from harness.store.evidence_folder import EvidenceFolder
from harness.store.ledger import Ledger
from harness.untrusted.plain_text import one_line

EVENTS = "events.jsonl"
_MOST_CHARACTERS = 300
_log = logging.getLogger(__name__)


def make_event(text: str, *, run: str | None, host: str | None, stage: Stage | None) -> Event:
    """Make an event of this moment. Its text becomes one line of at most 300 characters, without control characters."""
    line = one_line(text, _MOST_CHARACTERS)
    return Event(run=run, host=host, stage=stage, text=line, at=datetime.datetime.now(datetime.UTC))


def log_event(event: Event) -> None:
    """Hand an event to `logging`, on the level INFO."""
    place = " ".join(part for part in (event.run, event.host, event.stage) if part)
    _log.info("%s: %s", place, event.text)


class RunEvents:
    """Publishes the events of one run. A receiver that raises is noted in `failures`, and stops nothing."""

    def __init__(
        self, run: str, listener: Listener, ledger: Ledger, folder: EvidenceFolder, failures: ReleaseFailures
    ) -> None:
        self._run, self._ledger, self._folder, self._failures = run, ledger, folder, failures
        self._receivers = {
            "the listener": listener,
            "the log": log_event,
            EVENTS: self._record,
            "the ledger": self._say_in_ledger,
        }

    def publish(self, text: str, *, host: str | None = None, stage: Stage | None = None) -> None:
        """Give an event of this moment to every receiver."""
        event = make_event(text, run=self._run, host=host, stage=stage)
        for name, receive in self._receivers.items():
            try:
                receive(event)
            except Exception as error:
                self._failures.note_once(f"giving an event of run {self._run} to {name}", error)

    def _say_in_ledger(self, event: Event) -> None:
        """Give the ledger what was said; what began and ended it writes itself."""
        if event.text or event.stage is None:
            self._ledger.say(event)

    def _record(self, event: Event) -> None:
        """Append the event to the run's file of events, one JSON object a line."""
        record = {**asdict(event), "at": event.at.isoformat(timespec="milliseconds")}
        self._folder.append(EVENTS, json.dumps(record) + "\n")

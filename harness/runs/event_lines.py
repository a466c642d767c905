"""Write the events of a run, as lines for people and as JSON-ready data."""

from typing import Any

from harness.report.text import stage_title
from harness.store.event_log import NumberedEvent
from harness.untrusted.plain_text import printable


def format_event(numbered: NumberedEvent, bench: str) -> str:
    """Write an event as one line: number, time (UTC), host, stage, text."""
    event = numbered.event
    stage = stage_title(event.stage, bench) if event.stage else ""
    parts = f"{numbered.number:>6} {event.at:%H:%M:%S} {event.host or '':<16} {stage:<10} {printable(event.text)}"
    return parts.rstrip()


def event_document(numbered: NumberedEvent) -> dict[str, Any]:
    """Build an event as JSON-ready data."""
    event = numbered.event
    return {
        "number": numbered.number,
        "at": event.at.isoformat(timespec="milliseconds"),
        "host": event.host,
        "stage": event.stage,
        "text": event.text,
    }

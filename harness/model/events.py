"""Define events, which report the progress of a run, and the listeners that receive them."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass

from harness.model.enums import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a run. `text` is one short line, which may quote a host; it is empty when a stage begins.

    `run` is None while a run is prepared and has no name yet. `host` is None for events of the whole run, `stage` is
    None for events outside of all stages.
    """

    run: str | None
    host: str | None
    stage: Stage | None
    text: str
    at: datetime.datetime  # in UTC


Listener = Callable[[Event], None]
"""Receives each event when it happens: a terminal, a log, a file. Several threads may call a listener at once."""

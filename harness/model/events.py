"""The one type in which a run tells what it does, and the type of whatever takes it."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass

from harness.model.enums import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A piece of news. `text` is one short line, which may quote a host; it is empty when a stage begins.

    `run` is None while a run is prepared, and has no name yet. `host` is None for news of the whole run, `stage` is
    None for news that belongs to no stage.
    """

    run: str | None
    host: str | None
    stage: Stage | None
    text: str
    at: datetime.datetime  # in UTC


Listener = Callable[[Event], None]
"""Takes each event when it happens: a terminal, a log, a file. Several threads may call it at once."""

"""Follow the events of a run, which another process or machine may lead, until the run ends."""

import time
from collections.abc import Callable, Iterator

from harness.store.event_log import NumberedEvent
from harness.store.ledger import Ledger

_POLL_S = 1.0
_AT_ONCE = 1000


def follow(
    run: str, ledger: Ledger, *, since: int, wait: Callable[[float], None] = time.sleep
) -> Iterator[NumberedEvent]:
    """Yield each event of a run behind the number `since`, in order, until the run has ended or its owner died."""
    while True:
        goes_on = ledger.find(run).alive()  # read before the events: all of an ended run are there
        events = ledger.events(run, after=since, most=_AT_ONCE)
        yield from events
        since = events[-1].number if events else since
        if not events:
            if not goes_on:
                return
            wait(_POLL_S)

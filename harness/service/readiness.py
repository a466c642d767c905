"""Look at what the service needs, in the background: whoever asks gets what is known, at once.

A part that hangs, such as the server of the ledger, is not ready once its look takes too long; no other part waits.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

import sqlalchemy as sql

from harness.errors import HarnessError
from harness.service.background_value import BackgroundValue, Look
from harness.service.context import ServiceContext
from harness.service.documents import Readiness, ReadinessReport
from harness.store.object_store import ObjectStore, open_store
from harness.store.tables import RUNS

Check = Callable[[], str | None]
"""Returns why something is not ready; None: it is."""

FRESH_S, RARELY_FRESH_S = 2.0, 60.0
"""What the service cannot do without is looked at so often at most, everything else less often."""

SILENT_S = 5.0
"""A part that does not answer for so long is not ready."""

WAIT_S = 1.0
_POLL_S = 0.01
_ANY_OBJECT = "ready"


class ReadinessLooks:
    """The parts that a service needs. Threads share it."""

    def __init__(
        self, required: Mapping[str, Check], optional: Mapping[str, Check], *, at_once: Mapping[str, Check]
    ) -> None:
        self._at_once = at_once
        self._parts = [
            *(_Part(name, check, FRESH_S, required=True) for name, check in required.items()),
            *(_Part(name, check, RARELY_FRESH_S, required=False) for name, check in optional.items()),
        ]

    async def read(self) -> ReadinessReport:
        """Return what is known of each part. Parts that are to be looked at have a second for it.

        Checks of `at_once` take no time, and are made each time.
        """
        for part in self._parts:
            part.value.refresh()
        give_up_at = time.monotonic() + WAIT_S
        while time.monotonic() < give_up_at and not all(part.value.ended.is_set() for part in self._parts):
            await asyncio.sleep(_POLL_S)
        own = [
            Readiness(name=name, ready=reason is None, reason=reason, age_s=0.0, required=True)
            for name, reason in ((name, check()) for name, check in self._at_once.items())
        ]
        parts = [*own, *(part.describe() for part in self._parts)]
        return ReadinessReport(ready=all(part.ready for part in parts if part.required), parts=parts)


class _Part:
    """A part, and what is known of it."""

    def __init__(self, name: str, check: Check, fresh_s: float, *, required: bool) -> None:
        self._name, self._required = name, required
        self.value = BackgroundValue(name, partial(_try, check), fresh_s=fresh_s)

    def describe(self) -> Readiness:
        look = self.value.read()
        reason = _find_reason(look)
        age_s = None if look.age_s is None else round(look.age_s, 3)
        return Readiness(name=self._name, ready=reason is None, reason=reason, age_s=age_s, required=self._required)


def _find_reason(look: Look[str | None]) -> str | None:
    if look.pending_s is not None and (look.age_s is None or look.pending_s > SILENT_S):
        return f"no answer for {look.pending_s:.0f} s"
    if look.error is not None:
        return f"our fault: {type(look.error).__name__}"
    return look.value


def _try(check: Check) -> str | None:
    try:
        return check()
    except HarnessError as error:
        return error.message


def make_looks(context: ServiceContext) -> ReadinessLooks:
    """Make the looks of a service: at its ledger, its queue, its evidence store, and what its context adds."""
    at_once: dict[str, Check] = {
        "service": lambda: "it is being stopped" if context.draining.is_set() else None,
    }
    required: dict[str, Check] = {
        "ledger": lambda: _look_at_ledger(context),
        "queue": lambda: _look_at_queue(context),
        "evidence store": _make_look_at_store(context.settings.evidence),
        **context.checks,
    }
    return ReadinessLooks(required, context.optional_checks, at_once=at_once)


def _look_at_ledger(context: ServiceContext) -> str | None:
    """Read a row, once: a transaction that is made again would hide for minutes why it fails."""
    with context.ledger.database.connect(writes=False) as connection:
        connection.execute(sql.select(RUNS.c.run).limit(1)).first()
    return None


def _look_at_queue(context: ServiceContext) -> str | None:
    context.queue.count_claimable(context.options.limits)
    return None


def _make_look_at_store(url: str | None) -> Check:
    """Make the look at the evidence store: it reads an object that need not be there."""
    opened: list[ObjectStore] = []

    def look() -> str | None:
        if url is not None:
            if not opened:
                opened.append(open_store(url))
            opened[0].read(_ANY_OBJECT, most=1)
        return None

    return look

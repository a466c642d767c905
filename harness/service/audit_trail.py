"""Write into the audit log what requests changed and what they were refused, whether a route thought of it or not.

Refused requests cost whoever sends them nothing: so many are written one by one, and of the others their number.
"""

import logging
import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.errors import HarnessError
from harness.service.methods import CHANGES_NOTHING
from harness.service.request_metrics import find_route
from harness.store.audit_log import AuditEntry, AuditLog

REFUSED_OF_ADDRESS, REFUSED_IN_ALL = 10, 60
"""Refused requests that are written one by one in each window."""

WINDOW_S = 600.0
_MOST_WAITING, _MOST_AT_ONCE, _MOST_ADDRESSES = 1000, 100, 1000
_AGAIN_S, _ENDS_WITHIN_S = 5.0, 3.0
_REFUSALS = (401, 403)
_log = logging.getLogger(__name__)
_audited: ContextVar[list[bool] | None] = ContextVar("audited", default=None)


def note_audited() -> None:
    """Note that the route of this request wrote into the audit log itself."""
    marks = _audited.get()
    if marks is not None:
        marks.append(True)


class AuditTrail:
    """Writes entries in a thread of its own. A ledger that is away loses those that no longer fit, and counts them."""

    def __init__(self, audit: AuditLog, registry: CollectorRegistry) -> None:
        self._audit = audit
        self._waiting: queue.Queue[AuditEntry | None] = queue.Queue(_MOST_WAITING)  # None wakes the thread
        self._refusals = RefusalLimit()
        self._lock, self._ending = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = Metric(
            "ptp_harness_service_audit_lost", "Entries of the audit log that were not written.", registry=registry
        )

    def start(self) -> None:
        """Begin to write, unless that is done."""
        with self._lock:
            if self._thread is None and not self._ending.is_set():
                self._thread = threading.Thread(target=self._write_all, name="audit trail", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end; within seconds, also while the ledger is away."""
        self._ending.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        if self._thread is not None:
            self._thread.join(_ENDS_WITHIN_S)

    def add(self, entry: AuditEntry) -> None:
        """Add an entry, which is written soon. Returns at once."""
        if entry.status in _REFUSALS and not self._refusals.allows(entry.address):
            return
        try:
            self._waiting.put_nowait(entry)
        except queue.Full:
            self.lost.inc()
        self.start()

    def _write_all(self) -> None:
        while True:
            taken = self._take()
            entries = [*taken, *self._refusals.summarise(at_end=self._ending.is_set() and not taken)]
            if not entries and self._ending.is_set():
                return
            if entries:
                self._write(entries)

    def _take(self) -> Sequence[AuditEntry]:
        """Take the entries that wait; wait for one for a second at most."""
        taken: list[AuditEntry | None] = []
        with suppress(queue.Empty):
            taken.append(self._waiting.get(block=not self._ending.is_set(), timeout=1.0))
            while len(taken) < _MOST_AT_ONCE:
                taken.append(self._waiting.get_nowait())
        return [entry for entry in taken if entry is not None]

    def _write(self, entries: Sequence[AuditEntry]) -> None:
        try:
            self._audit.add(*entries)
        except HarnessError as error:
            self.lost.inc(len(entries))
            _log.error("%d entries of the audit log were not written: %s", len(entries), error)
            self._ending.wait(_AGAIN_S)


@dataclass
class RefusalLimit:
    """Limits how many refused requests are written in a window: of each address, and in all. Threads share it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    began_s: float = field(default_factory=time.monotonic)
    written: Counter[str] = field(default_factory=Counter)
    unwritten: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def allows(self, address: str) -> bool:
        """Whether one more refused request of an address is written; if not, it is counted."""
        with self.lock:
            if self.written[address] < REFUSED_OF_ADDRESS and self.written.total() < REFUSED_IN_ALL:
                self.written[address] += 1
                return True
            known = address if address in self.unwritten or len(self.unwritten) < _MOST_ADDRESSES else ""
            self.unwritten[known] = self.unwritten.get(known, 0) + 1
            return False

    def summarise(self, *, at_end: bool = False) -> Iterator[AuditEntry]:
        """Begin a new window if the last one is over, and yield an entry for those of it that were counted."""
        with self.lock:
            if not at_end and time.monotonic() - self.began_s < WINDOW_S:
                return
            unwritten, self.unwritten = self.unwritten, OrderedDict()
            self.began_s, self.written = time.monotonic(), Counter()
        if unwritten:
            total, addresses = sum(unwritten.values()), len(unwritten)
            most = max(unwritten, key=lambda address: unwritten[address])
            yield AuditEntry(
                actor="",
                address=most,
                action="requests.refused",
                object=f"{total} more, of {addresses} addresses",
                status=_REFUSALS[0],
            )


class AuditChanges:
    """Adds an entry for each request that was refused a change, and for each change that its route did not write."""

    def __init__(self, app: ASGIApp, trail: AuditTrail) -> None:
        self._app, self._trail = app, trail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and look at its answer."""
        if scope["type"] != "http" or scope["method"] in CHANGES_NOTHING:
            await self._app(scope, receive, send)
            return
        marks: list[bool] = []
        _audited.set(marks)

        async def send_audited(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                if status in _REFUSALS or (status < 400 and not marks):
                    self._trail.add(_make_entry(scope, status))
            await send(message)

        await self._app(scope, receive, send_audited)


def _make_entry(scope: Scope, status: int) -> AuditEntry:
    client = scope.get("client")
    return AuditEntry(
        actor=scope.get("state", {}).get("caller", ""),
        address=client[0] if client else "unix",
        action=f"{scope['method']} {find_route(scope)}",
        object=scope["path"],
        status=status,
    )

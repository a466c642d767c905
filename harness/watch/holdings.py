"""Hold streams as a worker: beat, take what is wanted, give back what is not, and stop in time where no beat arrives.

A worker trusts its lease by the clock of the machine since its boot, which goes on while the machine sleeps and which
nobody sets: never by the clock that is measured.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.errors import ConflictError, HarnessError
from harness.store.watch_streams import LEASE_S, Heartbeat, WatchStreams

TRUSTED_PART = 0.8
"""The part of a lease after which a worker that could not renew it begins nothing new."""


def boot_time_s() -> float:
    """Return the time since this machine was started, s, with the time that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True, kw_only=True)
class Holdings:
    """The streams of one worker. `process` names its process; `now` is `boot_time_s`, but in tests.

    `epochs`: of the streams that it has, as of its latest heartbeat. `coming`: those that it is to have and does not
    have yet; whoever samples adds one to `ready` when its host answers, which takes it from an owner that lives.
    `draining`: it gets no more of them.
    """

    streams: WatchStreams
    worker: str
    process: str
    version: str
    capacity: float
    lease_s: float = LEASE_S
    now: Callable[[], float] = boot_time_s
    epochs: dict[str, int] = field(default_factory=dict)
    coming: frozenset[str] = frozenset()
    ready: set[str] = field(default_factory=set)
    _registration: int | None = None
    _mark: tuple[int, int] = (0, 0)
    _trusted_until_s: float = 0.0
    draining: bool = False

    @property
    def registration(self) -> int | None:
        """The number of its registration; None while it has none."""
        return self._registration

    def step(self, *, load: float = 0.0, score: float = 1.0) -> None:
        """Renew what this worker has, and take or give back what changed; between two ticks.

        Registers anew where that is asked for. Raises ConflictError where another process has this worker's name, and
        what the database raises: then the streams stay as they are until the lease is over.
        """
        begun = self.now()
        registration, beat = self._beat(load, score)
        if beat is None:  # the ledger does not know this registration, or a leader asked for another one
            self._registration = None
            try:
                registration, beat = self._beat(load, score)
            except ConflictError:
                self._forget()
                raise
        if beat is None:
            self._forget()
            return
        self._trusted_until_s, self._mark = begun + TRUSTED_PART * self.lease_s, beat.mark
        # What is sampled changes in one step: no tick is missed while streams are claimed anew.
        held = {stream: epoch for stream, epoch in beat.held.items() if stream not in beat.left_out}
        missing = beat.wanted - beat.held.keys()
        try:
            if beat.left_out:
                self.streams.release(self.worker, {stream: beat.held[stream] for stream in beat.left_out})
            if missing:
                held |= self.streams.claim(self.worker, registration, missing, ready=self.ready & missing)
        finally:
            self.epochs = held
        self.coming = missing - self.epochs.keys()
        self.ready &= self.coming

    def has_news(self) -> bool:
        """Whether this worker is to have other streams than at its latest step: a cheap question for between two steps.

        Raises what the database raises.
        """
        return self._registration is not None and self.streams.read_mark(self.worker) != self._mark

    def current(self) -> Mapping[str, int]:
        """Return the streams to sample now with their epochs; none where the lease may be over."""
        return self.epochs if self.now() < self._trusted_until_s else {}

    def drain(self) -> None:
        """Get no more streams; those that others are to have are given back by the next steps."""
        self.draining = True
        if self._registration is not None:
            self.streams.drain(self.worker, self._registration)

    def leave(self) -> None:
        """Give all streams back, and end; a database that is away does so when the lease is over."""
        try:
            if self.epochs:
                self.streams.release(self.worker, dict(self.epochs))
            if self._registration is not None:
                self.streams.leave(self.worker, self._registration)
        except HarnessError:
            pass
        self._forget()

    def _beat(self, load: float, score: float) -> tuple[int, Heartbeat | None]:
        """Send a heartbeat, after a registration where there is none; return the registration and what was learned."""
        registration = self._registration
        if registration is None:
            registration = self._registration = self.streams.register(
                self.worker, capacity=self.capacity, score=score, process=self.process, version=self.version
            )
            if self.draining:
                self.streams.drain(self.worker, registration)
        return registration, self.streams.beat(self.worker, registration, load=load, score=score)

    def _forget(self) -> None:
        self._registration, self.epochs, self.coming = None, {}, frozenset()
        self.ready.clear()

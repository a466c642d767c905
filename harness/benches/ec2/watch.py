"""When does an instance run, and when is it gone? One thread asks for all who wait, once a second, and wakes each.

DescribeInstances is one budget for the whole account (100 calls, 20 more each second), and boto3's own waiters look
every 15 s: here one call serves up to 100 hosts, and nothing is asked while nobody waits.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.bench import BenchError, FatalError, TransientError
from harness.benches.ec2 import trouble
from harness.benches.ec2.api import Api
from harness.benches.ec2.orphans import TOKEN

EVERY_S = 1.0
BATCH = 100
_UNSEEN_LOOKS = 10
"""An instance that was never seen is taken for gone after so many looks: a new one appears within a few seconds."""
_LOOK_AT_CANCELLED_S = 0.1

ENDED = ("shutting-down", "terminated")
"""Billing ends with the first; a security group can be deleted after the second."""


class Cancelled(Exception):
    """Who waited was told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance as EC2 showed it last."""

    id: str
    token: str
    launched: str  # when, as EC2 says it: to tell the newest
    state: str  # pending, running, shutting-down, terminated, stopping, stopped
    reason_code: str
    reason: str
    public_address: str | None
    private_address: str | None
    zone: str | None
    placement_group: str | None

    @property
    def address(self) -> str | None:
        return self.public_address or self.private_address


@dataclass(eq=False, slots=True)
class _Waiter:
    """Somebody who waits for the newest instance of a token, but for those that ended before.

    What was seen of it is written by the watch's thread.
    """

    token: str
    host: str
    without: frozenset[str] = frozenset()
    seen: Instance | None = None
    looks: int = 0
    unseen: int = 0  # looks in a row
    ever_seen: bool = False
    error: BenchError | None = None


class Watch:
    """Waits for instances of one Region; threads share it. Its own thread lives only while somebody waits."""

    def __init__(self, api: Api, *, every_s: float = EVERY_S) -> None:
        self._api, self._every_s = api, every_s
        self._changed = threading.Condition()
        self._waiters: list[_Waiter] = []
        self._thread: threading.Thread | None = None
        self._shares: defaultdict[str, float] = defaultdict(float)

    def running(
        self,
        token: str,
        *,
        host: str,
        deadline_s: float,
        cancelled: threading.Event,
        public: bool = True,
        without: frozenset[str] = frozenset(),
    ) -> Instance:
        """The token's instance once it runs and has an address: a public one, unless a private one will do.

        Instances of earlier attempts, by their ids in `without`, do not count.

        Raises the error of its StateReason when it ended instead (CapacityError for what EC2 finds out late),
        TransientError past the deadline, Cancelled.
        """

        def done(waiter: _Waiter) -> bool:
            seen = waiter.seen
            if seen is None or seen.state == "pending":
                return False
            if seen.state != "running":
                raise trouble.error(
                    seen.reason_code or seen.state, seen.reason, f"the instance {seen.id} did not come to run"
                )
            return (seen.public_address if public else seen.address) is not None

        waiter = self._wait(_Waiter(token, host, without), done, deadline_s, cancelled, "to run")
        assert waiter.seen is not None
        return waiter.seen

    def ended(
        self,
        token: str,
        *,
        host: str,
        deadline_s: float,
        cancelled: threading.Event | None = None,
        terminated: bool = False,
    ) -> None:
        """Return once it is shutting down (billing has ended), with `terminated` once it is gone altogether.

        Raises TransientError past the deadline, Cancelled.
        """
        states = ENDED[1:] if terminated else ENDED

        def done(waiter: _Waiter) -> bool:
            if waiter.seen is not None:
                return waiter.seen.state in states
            return waiter.unseen >= (1 if waiter.ever_seen else _UNSEEN_LOOKS)

        goal = "to be terminated" if terminated else "to shut down"
        self._wait(_Waiter(token, host), done, deadline_s, cancelled or threading.Event(), goal)

    def share(self, host: str) -> float:
        """A host's share of the calls: each call counts for one, over all hosts that waited for it."""
        with self._changed:
            return self._shares[host]

    def _wait(
        self,
        waiter: _Waiter,
        done: Callable[[_Waiter], bool],
        deadline_s: float,
        cancelled: threading.Event,
        goal: str,
    ) -> _Waiter:
        give_up = time.monotonic() + deadline_s
        with self._changed:
            self._waiters.append(waiter)
            self._start()
            try:
                while True:
                    if cancelled.is_set():
                        raise Cancelled
                    if isinstance(waiter.error, FatalError):
                        raise waiter.error
                    if done(waiter):
                        return waiter
                    left = give_up - time.monotonic()
                    if left <= 0:
                        raise _too_long(waiter, goal, deadline_s)
                    self._changed.wait(min(left, _LOOK_AT_CANCELLED_S))
            finally:
                self._waiters.remove(waiter)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_on, name="ec2-watch", daemon=True)
            self._thread.start()

    def _look_on(self) -> None:
        """Look once each interval until nobody waits."""
        while True:
            begun = time.monotonic()
            with self._changed:
                waiting = list(self._waiters)
                if not waiting:
                    self._thread = None
                    return
            for first in range(0, len(waiting), BATCH):
                self._look(waiting[first : first + BATCH])
            time.sleep(max(0.0, begun + self._every_s - time.monotonic()))

    def _look(self, waiting: Sequence[_Waiter]) -> None:
        """One call for these; what it says, or why it failed, is handed to each, and all are woken."""
        found: Sequence[Instance] = ()
        error: BenchError | None = None
        try:
            found = describe(self._api, sorted({waiter.token for waiter in waiting}))
        except BenchError as caught:
            error = caught
        except Exception as caught:  # whatever it is, it must not end the thread while others wait for it
            error = FatalError(f"watching the instances: {type(caught).__name__}: {caught}")
        with self._changed:
            for waiter in waiting:
                self._shares[waiter.host] += 1 / len(waiting)
                waiter.error = error
                if error is None:
                    waiter.seen = _newest(found, waiter)
                    waiter.looks += 1
                    waiter.unseen = 0 if waiter.seen else waiter.unseen + 1
                    waiter.ever_seen = waiter.ever_seen or waiter.seen is not None
            self._changed.notify_all()


def describe(api: Api, tokens: Sequence[str]) -> Sequence[Instance]:
    """All instances of these tokens that EC2 shows, also those that ended within the last hour."""
    where = [{"Name": f"tag:{TOKEN}", "Values": list(tokens)}]
    pages = api.pages("ec2", "describe_instances", "Reservations", Filters=where, what="looking at the instances")
    return [_instance(said) for group in pages for said in group["Instances"]]


def _newest(found: Sequence[Instance], waiter: _Waiter) -> Instance | None:
    ours = [one for one in found if one.token == waiter.token and one.id not in waiter.without]
    return max(ours, key=lambda one: one.launched, default=None)


def _instance(said: Mapping[str, Any]) -> Instance:
    reason, placement = said.get("StateReason") or {}, said.get("Placement") or {}
    tags = {tag["Key"]: tag["Value"] for tag in said.get("Tags", ())}
    return Instance(
        id=said["InstanceId"],
        token=tags.get(TOKEN, ""),
        launched=str(said.get("LaunchTime", "")),
        state=said["State"]["Name"],
        reason_code=reason.get("Code", ""),
        reason=reason.get("Message", "") or said.get("StateTransitionReason", ""),
        public_address=said.get("PublicIpAddress") or None,
        private_address=said.get("PrivateIpAddress") or None,
        zone=placement.get("AvailabilityZone"),
        placement_group=placement.get("GroupName") or None,
    )


def _too_long(waiter: _Waiter, goal: str, deadline_s: float) -> BenchError:
    seen = waiter.seen
    if waiter.error is not None:
        state = f"the last look failed: {waiter.error.message}"
    elif seen is None:
        state = "EC2 does not show it"
    else:
        address = "" if seen.public_address else " without a public address"
        state = f"it is {seen.state}{address if seen.state == 'running' else ''}"
    return TransientError(
        f"the instance of {waiter.token} took longer than {deadline_s:g} s {goal}: {state}",
        next_step="run it again; `ptp-harness sweep` shows what is left",
    )

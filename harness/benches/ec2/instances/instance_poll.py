"""Wait until instances run: one thread polls EC2 for all waiting threads, once a second at first, and wakes each.

DescribeInstances has one budget for the whole account (100 calls, refilled by 20 a second), and boto3's own waiters
poll every 15 s. Here one call serves up to 100 hosts, and nothing is asked while nobody waits.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.benches.bench import BenchError, FatalError, TransientError
from harness.benches.ec2.account.tagged_resources import deleted_volumes
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api, exact_filter
from harness.model.ownership import TOKEN

EVERY_S = 1.0
BATCH = 100
PART = 4
"""The poll interval grows to 1/PART of the time already waited: a host that runs late answers SSH even later."""
_LOOK_AT_CANCELLED_S = 0.1


class Cancelled(Exception):
    """The waiting thread was told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance as EC2 showed it last."""

    id: str
    token: str
    launched: str  # EC2's launch time, by which the newest is found
    state: str  # pending, running, shutting-down, terminated, stopping, stopped
    reason_code: str
    reason: str
    public_address: str | None
    private_address: str | None
    zone: str | None
    placement_group: str | None
    key_pair: str | None  # the key pair that the instance was launched with
    volumes: tuple[str, ...]  # volumes that EC2 deletes with the instance

    @property
    def address(self) -> str | None:
        return self.public_address or self.private_address


@dataclass(eq=False, slots=True)
class _Waiter:
    """A wait for the newest instance of a token and a key pair, without the instances of earlier attempts.

    The poll's thread writes `instance` and `error`.
    """

    token: str
    host: str
    key_pair: str
    without: frozenset[str] = frozenset()
    idle: Callable[[], bool] = lambda: False
    since: float = field(default_factory=time.monotonic)
    instance: Instance | None = None
    error: BenchError | None = None


class InstancePoll:
    """Waits for instances of one Region; threads share it. Its own thread lives only while a thread waits."""

    def __init__(self, api: Api, *, every_s: float = EVERY_S) -> None:
        self._api, self.every_s = api, every_s
        self._changed = threading.Condition()
        self._waiters: list[_Waiter] = []
        self._thread: threading.Thread | None = None

    @property
    def asks(self) -> bool:
        """Whether the poll's thread lives."""
        with self._changed:
            return self._thread is not None

    def wait_until_running(
        self,
        token: str,
        *,
        host: str,
        key_pair: str,
        deadline_s: float,
        cancelled: threading.Event,
        public: bool = True,
        without: frozenset[str] = frozenset(),
        idle: Callable[[], bool] = lambda: False,
    ) -> Instance:
        """Wait until the token's instance runs and has an address: a public one, or with `public=False` any address.

        Only an instance with that key pair counts: anyone can put the token, which is a tag, on an instance. Instances
        of earlier attempts, by their ids in `without`, do not count. EC2 is not asked while `idle` returns True.

        Raises the error of the StateReason when the instance ended instead (CapacityError for capacity that EC2 finds
        missing late), the FatalError of a poll, TransientError past the deadline, Cancelled.
        """

        waiter = _Waiter(token, host, key_pair, without, idle)
        with self._changed:
            self._waiters.append(waiter)
            self._start()
            self._changed.notify_all()
            try:
                while True:
                    if cancelled.is_set():
                        raise Cancelled
                    if isinstance(waiter.error, FatalError):
                        raise waiter.error
                    if waiter.instance is not None and _is_running(waiter.instance, public=public):
                        return waiter.instance
                    remaining_s = waiter.since + deadline_s - time.monotonic()
                    if remaining_s <= 0:
                        raise _too_long(waiter, deadline_s)
                    self._changed.wait(min(remaining_s, _LOOK_AT_CANCELLED_S))
            finally:
                self._waiters.remove(waiter)
                self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_on, name="ec2-watch", daemon=True)
            self._thread.start()

    def _look_on(self) -> None:
        """Poll after each interval until nobody waits."""
        while True:
            started = time.monotonic()
            with self._changed:
                waiting = list(self._waiters)
                if not waiting:
                    self._thread = None
                    return
            due = [waiter for waiter in waiting if not waiter.idle()]
            for first in range(0, len(due), BATCH):
                self._look(due[first : first + BATCH])
            with self._changed:
                while (remaining_s := started + self._interval_s(started) - time.monotonic()) > 0:
                    self._changed.wait(remaining_s)

    def _interval_s(self, last: float) -> float:
        """Return the seconds from the last poll to the next, by the shortest time that any thread has waited."""
        waited_s = min((last - waiter.since for waiter in self._waiters), default=0.0)
        return max(self.every_s, waited_s / PART)

    def _look(self, waiting: Sequence[_Waiter]) -> None:
        """Poll EC2 once for these waiters, give each the instance or the error, and wake all."""
        instances: Sequence[Instance] = ()
        error: BenchError | None = None
        try:
            tokens = sorted({waiter.token for waiter in waiting})
            instances = describe(self._api, tokens, hosts=[waiter.host for waiter in waiting])
        except BenchError as caught:
            error = caught
        except Exception as caught:  # no error may end the thread while others wait for it
            error = FatalError(f"watching the instances: {type(caught).__name__}: {caught}")
        with self._changed:
            for waiter in waiting:
                waiter.error = error
                if error is None:
                    waiter.instance = _find_newest(instances, waiter)
            self._changed.notify_all()


def describe(api: Api, tokens: Sequence[str], *, hosts: Sequence[str]) -> Sequence[Instance]:
    """List the instances of these tokens in EC2, also those that ended within the last hour; counted for `hosts`."""
    filters = [exact_filter(f"tag:{TOKEN}", *tokens)]
    message = "looking at the instances"
    pages = api.pages("ec2", "describe_instances", "Reservations", Filters=filters, task=message, host=hosts)
    instances = [_parse_instance(description) for reservation in pages for description in reservation["Instances"]]
    return [instance for instance in instances if instance.token in tokens]


def _is_running(instance: Instance, *, public: bool) -> bool:
    """Return whether the instance runs and has an address. Raises the error of its StateReason if it ended."""
    if instance.state == "pending":
        return False
    if instance.state != "running":
        message = f"the instance {instance.id} did not come to run"
        raise api_errors.make_error(instance.reason_code or instance.state, instance.reason, message)
    return (instance.public_address if public else instance.address) is not None


def _find_newest(instances: Sequence[Instance], waiter: _Waiter) -> Instance | None:
    identity = (waiter.token, waiter.key_pair)
    candidates = [
        instance
        for instance in instances
        if (instance.token, instance.key_pair) == identity and instance.id not in waiter.without
    ]
    return max(candidates, key=lambda instance: instance.launched, default=None)


def _parse_instance(description: Mapping[str, Any]) -> Instance:
    reason, placement = description.get("StateReason") or {}, description.get("Placement") or {}
    tags = {tag["Key"]: tag["Value"] for tag in description.get("Tags", ())}
    return Instance(
        id=description["InstanceId"],
        token=tags.get(TOKEN, ""),
        launched=str(description.get("LaunchTime", "")),
        state=description["State"]["Name"],
        reason_code=reason.get("Code", ""),
        reason=reason.get("Message", "") or description.get("StateTransitionReason", ""),
        public_address=description.get("PublicIpAddress") or None,
        private_address=description.get("PrivateIpAddress") or None,
        zone=placement.get("AvailabilityZone"),
        placement_group=placement.get("GroupName") or None,
        key_pair=description.get("KeyName"),
        volumes=deleted_volumes(description),
    )


def _too_long(waiter: _Waiter, deadline_s: float) -> BenchError:
    instance = waiter.instance
    if waiter.error is not None:
        state = f"the last look failed: {waiter.error.message}"
    elif instance is None:
        state = "EC2 does not show it"
    else:
        address = "" if instance.public_address else " without a public address"
        state = f"it is {instance.state}{address if instance.state == 'running' else ''}"
    return TransientError(
        f"the instance of {waiter.token} took longer than {deadline_s:g} s to run: {state}",
        next_step="run it again; `ptp-harness sweep` shows what is left",
    )

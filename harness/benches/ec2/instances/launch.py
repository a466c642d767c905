"""Launch one host, place by place: bring its stack up, and poll EC2 for the instance, which is faster than Pulumi.

`HostLaunch.run` reads from top to bottom. Before each effect the host's record names the next step.
"""

import getpass
import math
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any

from harness.benches.bench import BenchError, Progress, QuotaError, TransientError
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.engine.engine import Engine
from harness.benches.ec2.engine.resource_failures import EngineError
from harness.benches.ec2.engine.stack import StackOutputs, StackSettings
from harness.benches.ec2.instances import instance_poll
from harness.benches.ec2.instances.instance_poll import Cancelled, Instance, InstancePoll
from harness.benches.ec2.instances.launch_records import LaunchRecord, LaunchRecords
from harness.benches.ec2.instances.quota_queue import QuotaQueue
from harness.benches.ec2.instances.region import Region
from harness.benches.ec2.instances.run_keys import RunKeys
from harness.benches.ec2.market import launch_places, placement_groups
from harness.benches.ec2.market.launch_places import LaunchPlace
from harness.model.ec2_deadlines import deadlines_of
from harness.model.ec2_enums import Access

_LOOK_S = 0.5
_LAUNCH = "run_instances"
_BUSY_PAUSES_S = (5.0, 10.0, 20.0, 40.0)
"""Pauses before a place is tried again that EC2 refused for a reason that passes, at random shortened by up to a half.

RunInstances has a small budget (5 requests, refilled by 2 a second), and each stack's engine is a process of its own.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchContext:
    """The objects that all launches of a campaign share."""

    region: Region
    records: LaunchRecords
    engine: Engine
    watch: InstancePoll
    identity: RunKeys
    threads: Executor
    controller_cidr: str | None
    pause: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic


@dataclass(slots=True, kw_only=True)
class HostLaunch:
    """The launch of one host, from nothing to running."""

    record: LaunchRecord
    context: LaunchContext
    progress: Progress
    up: Future[StackOutputs] | None = None  # may be pending even after `run`: Pulumi sees the instance later
    _latest_message: str = field(default="", init=False)
    _ended: frozenset[str] = field(default=frozenset(), init=False)  # instances of earlier attempts

    def run(self) -> LaunchRecord:
        """Bring the host up and return its record with the address.

        Raises BenchError; the record then tells what was made.
        """
        region, failures = self.context.region, []
        info = region.info(self.record.instance_type)
        for place in region.attempts(info):
            try:
                return self._try_in_turn(place)
            except BenchError as error:
                if not launch_places.may_try_elsewhere(error):
                    raise
                self.progress(f"{place}: {error.message}")
                failures.append((place, error))
                self._note_ended()
        raise launch_places.combine_failures(info.name, failures)

    def _try_in_turn(self, place: LaunchPlace) -> LaunchRecord:
        """Try a place, and try it again when another host of ours no longer uses the quota that was used up."""
        region = self.context.region
        queue = QuotaQueue(
            token=self.record.token,
            instance_type=place.instance_type,
            region=region.api.region,
            market=region.options.market,
            limits=region.api.limits,
            pause=self._pause,
            now=self.context.now,
        )
        while True:
            try:
                return self._try_patiently(place)
            except QuotaError as error:
                if not queue.wait(error):
                    raise
                self._note_ended()

    def _try_patiently(self, place: LaunchPlace) -> LaunchRecord:
        """Try a place, and try it again while EC2 refuses the request only for now: throttling, or an error of its own.

        The provider does the same, but four times at most, since it also retries "no capacity".
        """
        for longest_pause_s in _BUSY_PAUSES_S:
            try:
                return self._try(place)
            except TransientError as error:
                if not self._is_refused():
                    raise
                if api_errors.is_throttled(error.message):
                    self.context.region.api.empty_bucket(_LAUNCH)
                self._pause(longest_pause_s * random.uniform(0.5, 1.0), f"{place}: {error.message}; waiting for EC2")
                self._note_ended()
        return self._try(place)

    def _is_refused(self) -> bool:
        """Whether the engine has ended with an error of its own; it has not if it was stopped or still works."""
        error = self.up.exception() if self.up is not None and self.up.done() else None
        return isinstance(error, EngineError) and not error.cancelled

    def _pause(self, seconds: float, message: str) -> None:
        """Pause, and report in between, which may stop the launch."""
        for _ in range(math.ceil(seconds / _LOOK_S)):
            self.progress(message)
            self.context.pause(_LOOK_S)

    def _note_ended(self) -> None:
        """Note the instances of earlier attempts, which do not count in the next one."""
        token = self.record.token
        instances = instance_poll.describe(self.context.region.api, [str(token)], hosts=[token.host])
        self._ended = frozenset(instance.id for instance in instances)

    def _try(self, place: LaunchPlace) -> LaunchRecord:
        """Try one place. The stack holds all resources that the attempt leaves, and the next `up` replaces them."""
        region, options = self.context.region, self.context.region.options
        decision = region.decision(place.instance_type)
        image = region.image(region.info(place.instance_type).architecture)
        self._note(
            replace(
                self.record,
                intent=f"launching {place}",
                launched_type=place.instance_type,
                zone=place.zone,
                image=image.ami,
                user=image.user,
            )
        )
        token = self.record.token
        settings = StackSettings(
            instance_type=place.instance_type,
            region=region.api.region,
            zone=place.zone,
            subnet=place.subnet,
            image=image.ami,
            user=image.user,
            placement=decision.choice.setting,
            access=options.access,
            controller_cidr=self.context.controller_cidr,
            instance_profile=options.instance_profile,
            public_key=self.context.identity.public_key,
            host_key=self.context.identity.first_host_key(token),
            market=options.market,
            lease_s=options.lease_s,
            expires=self.record.expires_utc,
            run=token.run,
            host=token.host,
            token=str(token),
            owner=options.owner or getpass.getuser(),
            volume_gib=max(options.volume_gib, image.volume_gib or 0),
            resource_name=self.record.resource_name,
        )
        # The engine makes the request, in a process of its own.
        self._pause(region.api.take_token(_LAUNCH), f"{place}: waiting for EC2's limit of requests")
        instance = self._bring_up(settings)
        self._note(
            replace(
                self.record,
                intent="runs",
                instance_id=instance.id,
                volume_ids=instance.volumes,
                address=instance.public_address if options.access is Access.SSH else instance.address,
                zone=instance.zone or place.zone,
                placement=placement_groups.observed_placement(decision, instance.placement_group),
            )
        )
        return self.record

    def _bring_up(self, settings: StackSettings) -> Instance:
        """Bring the stack up, and return the instance as soon as EC2 shows it running, before Pulumi looks again.

        The poll begins when the engine requests the instance: before that, the engine may wait for memory or for other
        hosts. The poll pauses once the engine has an error, which the engine needs some time to report in full.
        """
        context, stack = self.context, self.record.stack
        stop, requested, refused = threading.Event(), threading.Event(), threading.Event()

        def on_instance(due: bool) -> None:
            (requested if due else refused).set()

        def on_up_ended(_: object) -> None:
            requested.set()
            refused.clear()

        self.up = context.threads.submit(
            context.engine.up, stack, settings, self._store_message, stop.is_set, on_instance
        )
        self.up.add_done_callback(on_up_ended)
        poll = context.threads.submit(self._poll, settings, requested=requested, cancelled=stop, idle=refused.is_set)
        try:
            while not poll.done():
                waiting: list[Future[Any]] = [poll, *([] if self.up.done() else [self.up])]
                wait(waiting, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                self.progress(self._latest_message)
                if self.up.done() and (error := self.up.exception()) is not None:
                    raise _translate_error(error, settings)
            return poll.result()
        except BaseException:
            stop.set()
            pending: list[Future[Any]] = [poll, self.up]
            wait(pending)
            raise

    def _poll(
        self,
        settings: StackSettings,
        *,
        requested: threading.Event,
        cancelled: threading.Event,
        idle: Callable[[], bool],
    ) -> Instance:
        """Wait until the instance is requested, then until it runs. Raises Cancelled and what the poll raises."""
        while not requested.wait(_LOOK_S):
            if cancelled.is_set():
                raise Cancelled
        return self.context.watch.wait_until_running(
            settings.token,
            host=settings.host,
            key_pair=self.record.resource_name or "",
            deadline_s=deadlines_of(settings.instance_type).runs_s,
            cancelled=cancelled,
            public=settings.access == "ssh",
            without=self._ended,
            idle=idle,
        )

    def _store_message(self, message: str) -> None:
        """Store a message from the engine's thread. The launch's thread reports it, which may stop the launch."""
        self._latest_message = message

    def _note(self, record: LaunchRecord) -> None:
        self.progress(record.intent)
        self.record = self.context.records.write(record)


def _translate_error(error: BaseException, settings: StackSettings) -> BaseException:
    """Translate an engine's failure for the campaign, by EC2's code in the events of a resource."""
    if not isinstance(error, EngineError):
        return error
    place = f"{settings.instance_type} in {settings.zone}"
    return error.cause(place) or BenchError(f"{place}: {error.message}", next_step=error.next_step)

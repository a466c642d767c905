"""How does one host come to run? Place by place: a stack is brought up, and our own eyes see its instance first.

`Launch.run` reads from top to bottom. Before each effect the host's record says what is about to be done.
"""

import getpass
import threading
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any

from harness.benches.bench import BenchError, Progress
from harness.benches.ec2.engine.engine import Engine
from harness.benches.ec2.engine.resource_failures import EngineError
from harness.benches.ec2.engine.stack import StackOutputs, StackSettings
from harness.benches.ec2.instances import instance_poll
from harness.benches.ec2.instances.instance_poll import Cancelled, Instance, InstancePoll
from harness.benches.ec2.instances.launch_records import LaunchRecord, LaunchRecords
from harness.benches.ec2.instances.region import Region
from harness.benches.ec2.instances.run_keys import RunKeys
from harness.benches.ec2.market import launch_places, placement_groups
from harness.benches.ec2.market.launch_places import LaunchPlace

RUNS_WITHIN_S = 300.0
"""From the request for an instance until it runs: seconds where there is room."""

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchContext:
    """What all launches of a campaign share."""

    region: Region
    records: LaunchRecords
    engine: Engine
    watch: InstancePoll
    identity: RunKeys
    threads: Executor
    controller_cidr: str | None


@dataclass(slots=True, kw_only=True)
class HostLaunch:
    """One host on its way from nothing to running."""

    record: LaunchRecord
    workshop: LaunchContext
    progress: Progress
    up: Future[StackOutputs] | None = None  # also after `run`: Pulumi learns later than we do that the instance runs
    _news: str = field(default="", init=False)
    _ended: frozenset[str] = field(default=frozenset(), init=False)  # instances of earlier attempts

    def run(self) -> LaunchRecord:
        """Bring the host up: the record with its address. Raises BenchError; the record then tells what was made."""
        region, failures = self.workshop.region, []
        info = region.info(self.record.instance_type)
        for place in region.attempts(info):
            try:
                return self._try(place)
            except BenchError as error:
                if not launch_places.may_try_elsewhere(error):
                    raise
                self.progress(f"{place}: {error.message}")
                failures.append((place, error))
                token = self.record.token
                tried = instance_poll.describe(region.api, [str(token)], hosts=[token.host])
                self._ended = frozenset(one.id for one in tried)
        raise launch_places.combine_failures(info.name, failures)

    def _try(self, place: LaunchPlace) -> LaunchRecord:
        """One place. Whatever this attempt leaves, the stack holds it, and the next `up` replaces it."""
        region, wishes = self.workshop.region, self.workshop.region.wishes
        decision = region.decision(place.instance_type)
        image = region.image(region.info(place.instance_type).architecture)
        known = {"launched_type": place.instance_type, "zone": place.zone, "image": image.ami, "user": image.user}
        self._note(f"launching {place}", **known)
        token = self.record.token
        settings = StackSettings(
            instance_type=place.instance_type,
            region=region.api.region,
            zone=place.zone,
            subnet=place.subnet,
            image=image.ami,
            user=image.user,
            placement=decision.setting,
            access=wishes.access,
            controller_cidr=self.workshop.controller_cidr,
            instance_profile=wishes.instance_profile,
            public_key=self.workshop.identity.public_key,
            host_key=self.workshop.identity.first_host_key(token),
            market=wishes.market,
            lease_s=wishes.lease_s,
            expires=self.record.expires_utc,
            run=token.run,
            host=token.host,
            token=str(token),
            owner=wishes.owner or getpass.getuser(),
            volume_gib=max(wishes.volume_gib, image.volume_gib or 0),
            resource_name=self.record.resource_name,
        )
        seen = self._bring_up(settings)
        return self._note(
            "runs",
            instance_id=seen.id,
            volume_ids=seen.volumes,
            address=seen.public_address if wishes.access == "ssh" else seen.address,
            zone=seen.zone or place.zone,
            placement=placement_groups.observed_placement(decision, seen.placement_group),
        )

    def _bring_up(self, settings: StackSettings) -> Instance:
        """The running instance: as soon as EC2 shows it, which is before Pulumi looks again.

        Nobody looks for it before the engine asks for it: until then it may wait for room, or for other hosts. And
        nobody does once the engine was refused something, which it takes a while to say as a whole.
        """
        shop, name = self.workshop, self.record.stack
        stop, asked, refused = threading.Event(), threading.Event(), threading.Event()

        def hear(due: bool) -> None:
            (asked if due else refused).set()

        def ended(_: object) -> None:
            asked.set()
            refused.clear()

        self.up = shop.threads.submit(shop.engine.up, name, settings, self._hear, stop.is_set, hear)
        self.up.add_done_callback(ended)
        eyes = shop.threads.submit(
            self._look_for,
            asked,
            settings.token,
            host=settings.host,
            key_pair=self.record.resource_name or "",
            deadline_s=RUNS_WITHIN_S,
            cancelled=stop,
            public=settings.access == "ssh",
            without=self._ended,
            idle=refused.is_set,
        )
        try:
            while not eyes.done():
                waiting: list[Future[Any]] = [eyes, *([] if self.up.done() else [self.up])]
                wait(waiting, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                self.progress(self._news)
                if self.up.done() and (error := self.up.exception()) is not None:
                    raise _in_our_words(error, settings)
            return eyes.result()
        except BaseException:
            stop.set()
            both: list[Future[Any]] = [eyes, self.up]
            wait(both)
            raise

    def _look_for(self, asked: threading.Event, token: str, *, cancelled: threading.Event, **more: Any) -> Instance:
        while not asked.wait(_LOOK_S):
            if cancelled.is_set():
                raise Cancelled
        return self.workshop.watch.running(token, cancelled=cancelled, **more)

    def _hear(self, words: str) -> None:
        """News from the engine's thread; told by ours, which may be stopped by it."""
        self._news = words

    def _note(self, intent: str, **changes: object) -> LaunchRecord:
        self.progress(intent)
        self.record = self.workshop.records.write(self.record, intent=intent, **changes)
        return self.record


def _in_our_words(error: BaseException, settings: StackSettings) -> BaseException:
    """What the engine's failure means for the campaign: by the code of EC2 in what a resource's events say."""
    if not isinstance(error, EngineError):
        return error
    what = f"{settings.instance_type} in {settings.zone}"
    return error.cause(what) or BenchError(f"{what}: {error.message}", next_step=error.next_step)

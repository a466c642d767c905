"""Where do hosts come from that EC2 gives? From a Pulumi stack each; EC2 itself is asked whether they are gone."""

import datetime
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property

from harness.bench import Check, InstanceType, Progress
from harness.benches.ec2 import access, checks, identity, things
from harness.benches.ec2.api import Api
from harness.benches.ec2.engine import Engine
from harness.benches.ec2.launch import Launch, Workshop
from harness.benches.ec2.records import HostRecord, Records
from harness.benches.ec2.region import Region
from harness.benches.ec2.stack import StackOutputs
from harness.benches.ec2.watch import Watch
from harness.errors import CleanupError, HarnessError
from harness.model import Machine, Offer, Placement, Resource, Token
from harness.model.cloud import CloudWishes, TypeInfo
from harness.settings import Settings

_AT_ONCE = 128
"""Threads: two for each host that is on its way."""


class Ec2Bench:
    """Instances of one Region. Those of others, which our records name, can be found and released too."""

    name = "ec2"

    def __init__(self, settings: Settings, wishes: CloudWishes) -> None:
        self._settings, self.wishes = settings, wishes
        self.records = Records(settings.state_dir / "ec2" / "hosts")
        self._engine = Engine(settings)
        self._apis: dict[str | None, Api] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ec2")
        self._ups: dict[Token, Future[StackOutputs]] = {}

    # -- what there is

    @cached_property
    def region(self) -> Region:
        """The Region of the campaign. Raises FatalError when none is known."""
        return Region(self._api(self.wishes.region), self.wishes, self._settings.cache_dir)

    @cached_property
    def _watch(self) -> Watch:
        return Watch(self.region.api)

    @cached_property
    def _controller_cidr(self) -> str | None:
        """Who may connect: asked of the internet once, and nobody where Session Manager is the way in."""
        if self.wishes.access == "ssm":
            return None
        return self.wishes.controller_cidr or access.own_cidr()

    def types(self) -> Mapping[str, InstanceType]:
        found = self.region.catalogue.types
        return {name: InstanceType(name=name, summary=_summary(info)) for name, info in found.items()}

    def expand(self, names: Sequence[str]) -> Sequence[str]:
        return names

    def checks(self) -> Sequence[Check]:
        return checks.all_of(self._settings, self.wishes)

    # -- hosts

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        self._engine.check()
        progress(f"asking {self.region.api.region} for images, subnets and placement groups")
        self.region.check(types)
        assert self._controller_cidr or self.wishes.access == "ssm"

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        known = self.find(token)
        if known is not None:
            return known
        launch = Launch(record=self._begin(token, instance_type), workshop=self._workshop, progress=progress)
        try:
            return self._machine(launch.run())
        finally:
            if launch.up is not None:
                self._ups[token] = launch.up

    def find(self, token: Token) -> Machine | None:
        record = self.records.find(token)
        if record is None or record.instance_id is None:
            return None
        alive = [one for one in things.tagged(self._api(record.region), token) if one.id == record.instance_id]
        return self._machine(record) if any(one.state == "running" for one in alive) else None

    def release(self, token: Token) -> None:
        if (up := self._ups.pop(token, None)) is not None:
            wait([up])  # one command at a time can work on a stack
        record = self.records.find(token)
        words = "" if record is None else self._destroy(record)
        for region in [record.region] if record is not None else self._regions():
            left = things.remove(self._api(region), token)
            if left:
                names = [f"{thing.kind} {thing.id} in {region}" for thing in left]
                raise CleanupError(names, next_step=f"`ptp-harness sweep --bench ec2 --yes` tries again{words}")
        if record is not None:
            self._engine.remove(record.stack)
            self.records.forget(record)

    def resources(self) -> Sequence[Resource]:
        return [things.resource(thing) for region in self._regions() for thing in things.tagged(self._api(region))]

    # -- parts

    @cached_property
    def _workshop(self) -> Workshop:
        return Workshop(
            region=self.region,
            records=self.records,
            engine=self._engine,
            watch=self._watch,
            threads=self._threads,
            controller_cidr=self._controller_cidr,
        )

    def _begin(self, token: Token, instance_type: str) -> HostRecord:
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        record = HostRecord(
            token=token,
            instance_type=instance_type,
            folder=self.records.folder(token),
            region=self.region.api.region,
            stack=token.slug,
            intent="begin",
            created_utc=now.isoformat(),
            expires_utc=(now + datetime.timedelta(seconds=self.wishes.lease_s)).isoformat(),
            access=self.wishes.access,
            claim=self.region.catalogue.claim(instance_type),
        )
        return self.records.write(record)

    def _destroy(self, record: HostRecord) -> str:
        """Have Pulumi destroy the stack; what it could not do, in words: EC2 is asked for what is left either way."""
        try:
            self._engine.recover(record.stack)
            self._engine.destroy(record.stack, _silent)
        except HarnessError as error:
            return f"; Pulumi says: {error.message}"
        return ""

    def _machine(self, record: HostRecord) -> Machine:
        assert record.address is not None
        assert record.user is not None
        keys = identity.read(record.keys)
        return Machine(
            token=record.token,
            instance_type=record.launched_type or record.instance_type,
            address=record.address,
            port=22,
            user=record.user,
            private_key=str(keys.private_key_path),
            known_host=keys.known_host(record.address),
            ssh_options=access.ssh_options(record.access, record.instance_id, record.region),
            second_opinion=None,  # the roles' default: the link-local server that every instance has
            rotate_host_key=True,
            placement=record.placement or Placement(precise=None, detail="not observed"),
            claim=record.claim,
            offer=Offer(available=True, where=record.zone or record.region),
            region=record.region,
            zone=record.zone,
            image=record.image,
            detail=f"{record.instance_id} runs in {record.zone} at {record.address}",
        )

    def _regions(self) -> list[str]:
        """The campaign's or environment's Region, and every one in which our records have a host."""
        return sorted({self.region.api.region, *(record.region for record in self.records.all())})

    def _api(self, region: str | None) -> Api:
        with self._lock:
            if region not in self._apis:
                made = Api(region)
                self._apis[region] = self._apis.setdefault(made.region, made)
            return self._apis[region]


def _summary(info: TypeInfo) -> str:
    phc = {True: "PHC", False: "no PHC", None: "PHC unknown"}[info.phc]
    return f"{info.architecture}, {info.vcpus} vCPUs, {info.memory_mib / 1024:g} GiB, {phc} by the API"


def _silent(_words: str) -> None:
    """For what is done after the host's progress was told."""

"""Where do hosts come from that EC2 gives? From a Pulumi stack each; EC2 itself is asked whether they are gone."""

import datetime
import secrets
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from harness.benches.bench import BenchError, Check, FatalError, InstanceType, Progress
from harness.benches.ec2 import checks, price_terms
from harness.benches.ec2.account import signing, ssh_access, tagged_resources
from harness.benches.ec2.account.tagged_resources import TaggedResource
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.engine import engine_home
from harness.benches.ec2.engine.engine import Engine
from harness.benches.ec2.engine.resource_failures import EngineError, LockedError
from harness.benches.ec2.engine.stack import StackOutputs
from harness.benches.ec2.instances import instance_poll
from harness.benches.ec2.instances.instance_poll import InstancePoll
from harness.benches.ec2.instances.launch import HostLaunch, LaunchContext
from harness.benches.ec2.instances.launch_records import LaunchRecord, LaunchRecords
from harness.benches.ec2.instances.ownership_proofs import OwnershipProofs
from harness.benches.ec2.instances.region import Region
from harness.benches.ec2.instances.run_keys import RunKeys
from harness.benches.ec2.market import prices
from harness.errors import CleanupError, HarnessError
from harness.model import Machine, Offer, Placement, Resource, Token
from harness.model.cloud import CloudOptions, PriceTerms, TypeInfo
from harness.system.settings import Settings

_AT_ONCE = 128
"""Threads: two for each host that is on its way."""


class Ec2Bench:
    """Instances of one Region. Those of others, which our records name, can be found and released too."""

    name = "ec2"

    def __init__(self, settings: Settings, wishes: CloudOptions) -> None:
        self._settings, self.wishes = settings, wishes
        self.records = LaunchRecords(settings.state_dir / "ec2" / "hosts")
        self._engine = Engine(engine_home.load_engine_home(settings))
        self._apis: dict[str | None, Api] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ec2")
        self._ups: dict[Token, Future[StackOutputs]] = {}

    # -- what there is

    @cached_property
    def region(self) -> Region:
        """The Region of the campaign. Raises FatalError when none is known."""
        return Region(self._api(self.wishes.region), self.wishes, self._settings.cache_dir, self.proofs.signer)

    @cached_property
    def proofs(self) -> OwnershipProofs:
        """What tells our own from what only carries our tags. Raises SetupError."""
        return OwnershipProofs(signing.load(self._settings), self.records)

    @cached_property
    def _watch(self) -> InstancePoll:
        return InstancePoll(self.region.api)

    @cached_property
    def _controller_cidr(self) -> str | None:
        """Who may connect: asked of the internet once, and nobody where Session Manager is the way in."""
        if self.wishes.access == "ssm":
            return None
        return self.wishes.controller_cidr or ssh_access.own_cidr()

    def types(self) -> Mapping[str, InstanceType]:
        found = self.region.catalogue.types
        return {name: InstanceType(name=name, summary=_summary(info)) for name, info in found.items()}

    def expand(self, names: Sequence[str]) -> Sequence[str]:
        return names

    def checks(self) -> Sequence[Check]:
        wishes = self.wishes
        return checks.run_checks(
            wishes.region, engine_home.load_engine_home(self._settings), subnet=wishes.subnet, access=wishes.access
        )

    def terms(self, types: Sequence[str]) -> PriceTerms:
        return price_terms.load_terms(self.region, types)

    # -- hosts

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        self._engine.prepare(progress)
        progress(f"asking {self.region.api.region} for images, subnets and placement groups")
        self.region.check(types)
        assert self._controller_cidr or self.wishes.access == "ssm"

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        known = self.find(token)
        if known is not None:
            return known
        launch = HostLaunch(
            record=self._begin(token, instance_type), workshop=self._workshop(token.run), progress=progress
        )
        try:
            return self._machine(launch.run())
        finally:
            if launch.up is not None:
                self._ups[token] = launch.up

    def find(self, token: Token) -> Machine | None:
        record = self.records.find(token)
        if record is None or record.instance_id is None:
            return None
        seen = instance_poll.describe(self._api(record.region), [str(token)], hosts=[token.host])
        runs = any(one.id == record.instance_id and one.state == "running" for one in seen)
        return self._machine(record) if runs else None

    def release(self, token: Token) -> None:
        up = self._ups.pop(token, None)
        whole = up is not None and up.exception() is None  # waits: one operation at a time can work on a stack
        record = self.records.find(token)
        words = self._destroy(record, whole=whole) if record is not None and record.begun else ""
        try:
            for region in [record.region] if record is not None else self._regions():
                self._verify(token, region, words)
        except BenchError as error:  # nobody could look: it counts as left
            names = [f"what carries {token}, since EC2 cannot be asked ({error.message})"]
            raise CleanupError(names, next_step=f"`ptp-harness sweep --bench ec2 --yes` tries again{words}") from error
        if record is not None:
            if record.begun:
                self._forget_stack(record)
            self._forget(record)

    def resources(self) -> Sequence[Resource]:
        """Our stacks, in which an engine may still be making something, and all in EC2 that carries our tags.

        What only the tags tell to be ours says so.
        """
        stacks = [
            Resource(
                token=str(record.token),
                kind="stack",
                name=record.stack,
                detail=f"{record.region}, {record.intent}",
                expires=record.expires_utc,
            )
            for record in self.records.all()
        ]
        there = [self.proofs.resources(tagged_resources.find(self._api(region)), region) for region in self._regions()]
        return [*stacks, *(one for resources in there for one in resources)]

    def api_calls(self, token: Token | None = None) -> float:
        """Our own calls; what Pulumi's AWS plugin asks beside them, in a process of its own, nobody can count here."""
        with self._lock:
            apis = set(self._apis.values())
        return float(sum(api.asked(token.host if token else None) for api in apis))

    # -- parts

    def _workshop(self, run: str) -> LaunchContext:
        return LaunchContext(
            identity=self._identity(run),
            region=self.region,
            records=self.records,
            engine=self._engine,
            watch=self._watch,
            threads=self._threads,
            controller_cidr=self._controller_cidr,
        )

    def _begin(self, token: Token, instance_type: str) -> LaunchRecord:
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        expires = (now + datetime.timedelta(seconds=self.wishes.lease_s)).isoformat()
        title = f"ptp-harness-{token.slug}-{secrets.token_hex(4)}"  # another one for each attempt
        record = LaunchRecord(
            token=token,
            instance_type=instance_type,
            folder=self.records.folder(token),
            region=self.region.api.region,
            stack=token.slug,
            intent="begin",
            created_utc=now.isoformat(),
            expires_utc=expires,
            resource_name=self.proofs.signer.name(title, token=str(token), expires=expires),
            access=self.wishes.access,
            claim=self.region.catalogue.claim(instance_type),
        )
        return self.records.write(record)

    def _destroy(self, record: LaunchRecord, *, whole: bool) -> str:
        """Have Pulumi destroy the stack; what it could not do, in words: EC2 is asked for what is left either way.

        Where the stack did not come up as a whole, an instance may be in EC2 that no state knows: it goes first, since
        its placement group and firewall cannot go before it. Raises CleanupError where somebody else works on it.
        """
        try:
            if not whole:
                self._engine.recover(record.stack)
                found = self._ours(record.token, record.region)
                instances = [one for one in found if one.kind == "instance"]
                tagged_resources.remove(self._api(record.region), instances, host=record.token.host)
            self._engine.destroy(record.stack, _silent)
        except LockedError as error:
            raise CleanupError([f"all of {record.token} ({error.message})"], next_step=error.next_step) from error
        except HarnessError as error:
            return f"; Pulumi says: {error.message}"
        return ""

    def _verify(self, token: Token, region: str, words: str) -> None:
        """Ask EC2 what there is of a token that is ours, remove it, and ask once more. Raises CleanupError."""
        left = self._ours(token, region)
        if not left:
            return
        tagged_resources.remove(self._api(region), left, host=token.host)
        if still := self._ours(token, region):
            names = [f"{one} in {region}" for one in still]
            raise CleanupError(names, next_step=f"`ptp-harness sweep --bench ec2 --yes` tries again{words}")

    def _ours(self, token: Token, region: str) -> list[TaggedResource]:
        found = tagged_resources.find(self._api(region), token=str(token), host=token.host)
        return self.proofs.ours(found, region)

    def _forget_stack(self, record: LaunchRecord) -> None:
        """Remove the stack, whose state may name what EC2 says is gone. Raises CleanupError."""
        try:
            try:
                self._engine.remove(record.stack)
            except EngineError:
                self._engine.recover(record.stack)
                self._engine.destroy(record.stack, _silent)
                self._engine.remove(record.stack)
        except HarnessError as error:
            names = [f"stack {record.stack}, of which nothing is left in EC2 ({error.message})"]
            raise CleanupError(names, next_step="`ptp-harness sweep --bench ec2 --yes` tries again") from error

    def _forget(self, record: LaunchRecord) -> None:
        """Delete the host's keys and record, and with the run's last host the run's keys."""
        self._identity(record.token.run).forget_host(record.token)
        self.records.forget(record)
        if not any(other.token.run == record.token.run for other in self.records.all()):
            self._identity(record.token.run).forget()

    def _identity(self, run: str) -> RunKeys:
        return RunKeys(self._settings.state_dir / "ec2" / "keys" / run)

    def _machine(self, record: LaunchRecord) -> Machine:
        assert record.address is not None
        assert record.user is not None
        assert record.instance_id is not None
        identity = self._identity(record.token.run)
        return Machine(
            token=record.token,
            instance_type=record.launched_type or record.instance_type,
            address=record.address,
            port=22,
            user=record.user,
            private_key=str(identity.user_key),
            known_host=identity.known_host(record.token, record.address),
            ssh_options=ssh_access.ssh_options(record.access, record.instance_id, record.region),
            second_opinion=None,  # the roles' default: the link-local server that every instance has
            rotated_key=str(identity.rotated_key(record.token)),
            boots_within_s=ssh_access.boots_within_s(record.launched_type or record.instance_type),
            role_variables={"ena_driver_reboot": True},
            placement=record.placement or Placement(precise=None, detail="not observed"),
            claim=record.claim,
            offer=Offer(available=True, where=record.zone or record.region),
            region=record.region,
            zone=record.zone,
            image=record.image,
            usd_per_hour=self._usd_per_hour(record),
            detail=f"{record.instance_id} runs in {record.zone} at {record.address}",
        )

    def _usd_per_hour(self, record: LaunchRecord) -> float | None:
        known = prices.cached(self._api(record.region), self._settings.cache_dir, market=self.wishes.market)
        return known.get(record.launched_type or record.instance_type)

    def _regions(self) -> list[str]:
        """Every Region in which our records have a host, and the campaign's or environment's."""
        there = {record.region for record in self.records.all()}
        try:
            return sorted({self.region.api.region, *there})
        except FatalError:
            if not there:
                raise
            return sorted(there)

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

"""Provide instances of EC2 as hosts: one Pulumi stack per host, and EC2's own answer on whether a host is gone."""

import datetime
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property

from harness.benches.bench import (
    BenchError,
    Check,
    FatalError,
    InstanceType,
    Progress,
    ignore_progress,
    refuse_disturbance,
)
from harness.benches.ec2 import checks, price_terms
from harness.benches.ec2.account import lease_tags, resource_removal, signing, ssh_access, tagged_resources
from harness.benches.ec2.account.tagged_resources import TaggedResource
from harness.benches.ec2.api.account_limits import AccountLimits
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
from harness.model.disturbances import Disturbance
from harness.model.ec2_deadlines import InstanceDeadlines, deadlines_of, returns_within_s
from harness.model.ec2_enums import Access
from harness.system.settings import Settings

_AT_ONCE = 128
"""Threads: two for each host that is being launched."""


class Ec2Bench:
    """Instances of one Region. Hosts in other Regions, which the launch records name, can be found and released too."""

    name = "ec2"

    def __init__(
        self,
        settings: Settings,
        options: CloudOptions,
        *,
        regions: Collection[str] | None = None,
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
        limits: AccountLimits | None = None,
    ) -> None:
        """`regions`: those in which resources are listed, and searched for hosts without a launch record.

        None: that of the options, and those of all launch records. `pause` and `now`: the clock by which calls of AWS
        and the removal of resources wait. `limits`: shared with other processes that call EC2, if any do.
        """
        self._settings, self.options = settings, options
        self._regions = None if regions is None else {*regions}
        self._pause, self._now, self._limits = pause, now, limits
        self.records = LaunchRecords(settings.state_dir / "ec2" / "hosts")
        self._engine = Engine(engine_home.load_engine_home(settings))
        self._apis: dict[str | None, Api] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ec2")
        self.stack_ups: dict[Token, Future[StackOutputs]] = {}

    # -- Region, types and checks

    @cached_property
    def region(self) -> Region:
        """The Region of the campaign. Raises FatalError when none is known."""
        return Region(self._api(self.options.region), self.options, self._settings.cache_dir, self.proofs.signer)

    @cached_property
    def proofs(self) -> OwnershipProofs:
        """The proofs of which resources are ours, beyond their tags. Raises SetupError."""
        return OwnershipProofs(signing.load(self._settings), self.records)

    @cached_property
    def _watch(self) -> InstancePoll:
        return InstancePoll(self.region.api)

    @cached_property
    def _controller_cidr(self) -> str | None:
        """The network that may connect by SSH, looked up once; None where Session Manager gives the access."""
        if self.options.access is Access.SSM:
            return None
        return self.options.controller_cidr or ssh_access.own_cidr()

    def types(self) -> Mapping[str, InstanceType]:
        infos = self.region.catalogue.types
        return {name: InstanceType(name=name, summary=_describe_type(info)) for name, info in infos.items()}

    def expand(self, names: Sequence[str]) -> Sequence[str]:
        return names

    def checks(self) -> Sequence[Check]:
        options = self.options
        return checks.run_checks(
            options.region, engine_home.load_engine_home(self._settings), subnet=options.subnet, access=options.access
        )

    def terms(self, types: Sequence[str]) -> PriceTerms:
        return price_terms.load_terms(self.region, types)

    # -- hosts

    def prepare(self, types: Sequence[str], progress: Progress) -> None:
        through_sessions = self.options.access is Access.SSM
        if through_sessions:
            ssh_access.check_session_programs()
        self._engine.prepare(progress)
        progress(f"asking {self.region.api.region} for images, subnets and placement groups")
        self.region.check(types)
        for remark in self.region.remarks_on_agents() if through_sessions else ():
            progress(remark)
        _ = self._controller_cidr  # looked up now: raises before anything is made

    def provision(self, token: Token, instance_type: str, progress: Progress) -> Machine:
        machine = self.find(token)
        if machine is not None:
            return machine
        launch = HostLaunch(
            record=self.begin_record(token, instance_type),
            context=self.make_launch_context(token.run),
            progress=progress,
        )
        try:
            return self.make_machine(launch.run())
        finally:
            if launch.up is not None:
                self.stack_ups[token] = launch.up

    def find(self, token: Token) -> Machine | None:
        record = self.records.find(token)
        if record is None or record.instance_id is None:
            return None
        instances = instance_poll.describe(self._api(record.region), [str(token)], hosts=[token.host])
        runs = any(instance.id == record.instance_id and instance.state == "running" for instance in instances)
        return self.make_machine(record) if runs else None

    def extend_lease(self, token: Token, until: datetime.datetime) -> None:
        """Write the new end of the lease into the tags of the host's instance, signed, and into our record."""
        record = self.records.find(token)
        if record is None:
            raise BenchError(f"{token} is in no record here", next_step="extend its lease where it was made")
        expires = until.isoformat()
        for resource in self._removable_resources(token, record.region):
            if resource.kind == "instance":
                lease_tags.write(self._api(record.region), resource, expires, self.proofs.signer, host=token.host)
        self.records.write(replace(record, expires_utc=expires))

    def disturb(self, token: Token, disturbance: Disturbance, seconds: float, pause: Callable[[float], None]) -> None:
        """Refuse: nothing outside of the host reaches its clock."""
        raise refuse_disturbance(disturbance)

    def release(self, token: Token, progress: Progress = ignore_progress) -> None:
        stack_up = self.stack_ups.pop(token, None)
        # `exception()` waits for the end of `up`: a stack allows one operation at a time.
        complete = stack_up is not None and stack_up.exception() is None
        record = self.records.find(token)
        remark = self._destroy(record, progress, whole=complete) if record is not None and record.begun else ""
        try:
            for region in [record.region] if record is not None else self.list_regions():
                self._verify(token, region, remark)
        except BenchError as error:  # EC2 could not be asked: the host counts as not removed
            names = [f"what carries {token}, since EC2 cannot be asked ({error.message})"]
            raise CleanupError(names, next_step=f"`ptp-harness sweep --bench ec2 --yes` tries again{remark}") from error
        if record is not None:
            if record.begun:
                self._forget_stack(record, progress)
            self._forget(record)

    def resources(self) -> Sequence[Resource]:
        """List our stacks, in which an engine may still be at work, and all resources in EC2 that carry our tags.

        An instance that is shutting down is not listed: it is not billed any more, and needs nobody to end it. A
        resource that only its tags show to be ours says so in `unproven`.
        """
        stacks = [
            Resource(
                token=str(record.token),
                kind="stack",
                name=record.stack,
                detail=f"{record.region}, {record.intent}",
                expires=record.expires_utc,
                created_utc=record.created_utc,
            )
            for record in self.records.all()
            if self._regions is None or record.region in self._regions
        ]
        by_region = [self._list_tagged(region) for region in self.list_regions()]
        return [*stacks, *(resource for resources in by_region for resource in resources)]

    def _list_tagged(self, region: str) -> list[Resource]:
        tagged = tagged_resources.find(self._api(region))
        resources = self.proofs.resources(tagged, region)
        usd_per_hour = self._load_prices(region) if any(orphan.kind == "instance" for orphan in tagged) else {}
        return [
            replace(resource, usd_per_hour=usd_per_hour.get(orphan.instance_type))
            for resource, orphan in zip(resources, tagged, strict=True)
            if not orphan.ending
        ]

    def api_calls(self, token: Token | None = None) -> float:
        """Count the harness's own calls. Calls of Pulumi's AWS plugin, a separate process, cannot be counted here."""
        with self._lock:
            apis = set(self._apis.values())
        return float(sum(api.count_calls(token.host if token else None) for api in apis))

    # -- parts

    def make_launch_context(self, run: str) -> LaunchContext:
        return LaunchContext(
            identity=self._load_run_keys(run),
            region=self.region,
            records=self.records,
            engine=self._engine,
            watch=self._watch,
            threads=self._threads,
            controller_cidr=self._controller_cidr,
        )

    def begin_record(self, token: Token, instance_type: str) -> LaunchRecord:
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        expires = (now + datetime.timedelta(seconds=self.options.lease_s)).isoformat()
        title = f"ptp-harness-{token.slug}-{secrets.token_hex(4)}"  # a new name for each attempt
        record = LaunchRecord(
            token=token,
            instance_type=instance_type,
            folder=self.records.folder(token),
            region=self.region.api.region,
            stack=token.slug,
            intent="begin",
            created_utc=now.isoformat(),
            expires_utc=expires,
            resource_name=self.proofs.signer.sign_name(title, token=str(token), expires=expires),
            access=self.options.access,
            claim=self.region.catalogue.claim(instance_type),
        )
        return self.records.write(record)

    def _destroy(self, record: LaunchRecord, progress: Progress, *, whole: bool) -> str:
        """Let Pulumi destroy the stack. Returns Pulumi's error as text, or "": in both cases EC2 is asked next.

        After an incomplete `up`, EC2 may have an instance that no stack state contains. That instance is removed first,
        since its placement group and security group cannot be removed before it. Raises CleanupError while another
        process works on the stack.
        """
        try:
            if not whole:
                self._engine.recover(record.stack, progress)
                resources = self._removable_resources(record.token, record.region)
                instances = [resource for resource in resources if resource.kind == "instance"]
                self._remove(instances, record.token, record.region)
            self._engine.destroy(record.stack, progress, _deadlines(record))
        except LockedError as error:
            raise CleanupError([f"all of {record.token} ({error.message})"], next_step=error.next_step) from error
        except HarnessError as error:
            return f"; Pulumi says: {error.message}"
        return ""

    def _verify(self, token: Token, region: str, suffix: str) -> None:
        """Ask EC2 for our resources of a token, remove them, and ask again. Raises CleanupError for what remains."""
        leftovers = self._removable_resources(token, region)
        if not leftovers:
            return
        refusals = self._remove(leftovers, token, region)
        remaining = resource_removal.list_remaining(lambda: self._removable_resources(token, region), pause=self._pause)
        if remaining:
            reasons = {text: f" ({reason})" for text, reason in refusals.items()}
            names = [f"{resource} in {region}{reasons.get(str(resource), '')}" for resource in remaining]
            raise CleanupError(names, next_step=f"`ptp-harness sweep --bench ec2 --yes` tries again{suffix}")

    def _remove(self, resources: Sequence[TaggedResource], token: Token, region: str) -> Mapping[str, str]:
        return resource_removal.remove(self._api(region), resources, host=token.host, pause=self._pause, now=self._now)

    def _removable_resources(self, token: Token, region: str) -> list[TaggedResource]:
        resources = tagged_resources.find(self._api(region), token=str(token), host=token.host)
        return self.proofs.removable(resources, region)

    def _forget_stack(self, record: LaunchRecord, progress: Progress) -> None:
        """Remove the stack, even if its state still names resources that are gone from EC2. Raises CleanupError."""
        try:
            try:
                self._engine.remove(record.stack)
            except EngineError:
                self._engine.recover(record.stack, progress)
                self._engine.destroy(record.stack, progress, _deadlines(record))
                self._engine.remove(record.stack)
        except HarnessError as error:
            names = [f"stack {record.stack}, which has no resource left in EC2 ({error.message})"]
            raise CleanupError(names, next_step="`ptp-harness sweep --bench ec2 --yes` tries again") from error

    def _forget(self, record: LaunchRecord) -> None:
        """Delete the host's keys and record; with the last host of the run, delete the run's keys too."""
        self._load_run_keys(record.token.run).forget_host(record.token)
        self.records.forget(record)
        if not any(remaining.token.run == record.token.run for remaining in self.records.all()):
            self._load_run_keys(record.token.run).forget()

    def _load_run_keys(self, run: str) -> RunKeys:
        return RunKeys(self._settings.state_dir / "ec2" / "keys" / run)

    def make_machine(self, record: LaunchRecord) -> Machine:
        if record.address is None or record.user is None or record.instance_id is None:
            raise BenchError(f"{record.token} has no address")
        identity, deadlines = self._load_run_keys(record.token.run), _deadlines(record)
        returns_s = returns_within_s(deadlines, record.access)
        return Machine(
            token=record.token,
            instance_type=record.launched_type or record.instance_type,
            address=record.address,
            port=22,
            user=record.user,
            private_key=str(identity.user_key),
            known_host=identity.known_host(record.token, record.address),
            ssh_options=ssh_access.ssh_options(record.access, record.instance_id, record.region),
            second_opinion=None,  # None: the roles' default, the link-local server that every instance has
            rotated_key=str(identity.rotated_key(record.token)),
            boots_within_s=deadlines.boots_s,
            reboots_within_s=returns_s,
            role_variables={"ena_driver_reboot": True, "ena_driver_return_timeout_s": int(returns_s)},
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
        return self._load_prices(record.region).get(record.launched_type or record.instance_type)

    def _load_prices(self, region: str) -> Mapping[str, float]:
        """Load the prices of a Region that are cached, in dollars an hour by type."""
        return prices.cached(self._api(region), self._settings.cache_dir, market=self.options.market)

    def list_regions(self) -> list[str]:
        """List the Regions to search, else those of the launch records and that of the campaign or the environment.

        Raises FatalError when none is known.
        """
        if self._regions is not None:
            return sorted(self._regions)
        recorded = {record.region for record in self.records.all()}
        try:
            return sorted({self.region.api.region, *recorded})
        except FatalError:
            if not recorded:
                raise
            return sorted(recorded)

    def _api(self, region: str | None) -> Api:
        with self._lock:
            if region not in self._apis:
                api = Api(region, pause=self._pause, now=self._now, limits=self._limits)
                self._apis[region] = self._apis.setdefault(api.region, api)
            return self._apis[region]


def _describe_type(info: TypeInfo) -> str:
    phc = {True: "PHC", False: "no PHC", None: "PHC unknown"}[info.phc]
    return f"{info.architecture}, {info.vcpus} vCPUs, {info.memory_mib / 1024:g} GiB, {phc} by the API"


def _deadlines(record: LaunchRecord) -> InstanceDeadlines:
    """Return the deadlines of a host's instances: another size of the family may have been tried."""
    return deadlines_of(record.instance_type, record.launched_type or "")

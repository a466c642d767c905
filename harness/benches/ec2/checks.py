"""Check what the ec2 bench needs of this machine and of the account: the lines of `doctor --bench ec2`."""

import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from harness.benches.bench import BenchError, Check, FatalError
from harness.benches.ec2.account import networks, permissions, quotas, ssh_access
from harness.benches.ec2.account.networks import Subnet
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.images import boot_image
from harness.benches.ec2.market import placement_groups
from harness.errors import HarnessError
from harness.model.cloud import DEFAULT_IMAGE
from harness.model.ec2_enums import Access, Architecture, Market
from harness.untrusted.nearest import nearest_names

IMAGE, ARCHITECTURE = DEFAULT_IMAGE, Architecture.X86_64
TRIED_TYPE, TRIED_FAMILY = "m7i.large", "m7i"
_CLOCK_MAY_BE_OFF_S = 60.0
"""AWS refuses requests signed five minutes away from its own time."""
_ALL_ACCOUNTS = {"cn-": "cn-north-1", "us-gov-": "us-gov-west-1", "eusc-": "eusc-de-east-1"}
"""A Region that is enabled in every account of a partition: other Regions, perhaps disabled or misspelt, are looked up
there."""


class EngineCommand(Protocol):
    """The pulumi command as `doctor` sees it. Both methods raise SetupError, which says how to install the command."""

    def version(self) -> str: ...

    def plugin(self) -> str | None: ...


def run_checks(
    region: str | None, engine: EngineCommand, *, subnet: str | None = None, access: Access = Access.SSH
) -> Sequence[Check]:
    """Run every check but those that an earlier failure makes pointless: without credentials nothing can be asked."""
    checks = [*check_engine(engine), check_session_programs(access)]
    try:
        api = Api(region)
    except BenchError as error:
        return [*checks, _make_failed_check("region", error)]
    home = find_home(api.region)
    credentials, answer = check_credentials(api, home)
    checks.append(credentials)
    if answer is None:
        return checks
    region_check = check_region(api, home)
    checks += [check_clock(answer, time.time()), region_check]
    return [*checks, *_check_region_services(api, subnet, access)] if region_check.ok else checks


def find_home(region: str) -> str:
    """Return the Region of the same partition that is enabled in every account."""
    return next((home for prefix, home in _ALL_ACCOUNTS.items() if region.startswith(prefix)), "us-east-1")


def _check_region_services(api: Api, subnet: str | None, access: Access) -> Sequence[Check]:
    """Check network, image, placement groups, quota and permissions in the Region."""
    subnets: list[Subnet] = []
    images: list[boot_image.BootImage] = []

    def network() -> str:
        usable = networks.usable_subnets(networks.load(api, subnet), access=access)
        subnets.extend(usable.values())
        return f"{subnets[0].vpc}: {', '.join(f'{subnet_found.id} in {subnet_found.zone}' for subnet_found in subnets)}"

    def image() -> str:
        images.append(boot_image.resolve(api, IMAGE, ARCHITECTURE))
        return f"{images[0].title or images[0].ami}, user {images[0].user}"

    def room() -> str:
        return f"{len(placement_groups.load(api))} of at most {placement_groups.LIMIT}"

    checks = [
        _run_check("network", network),
        _run_check("image", image),
        _run_check("placement groups", room),
        check_quota(api),
    ]
    return [*checks, *_check_permissions(api, images[0], subnets[0])] if subnets and images else checks


def check_credentials(api: Api, home: str) -> tuple[Check, Mapping[str, Any] | None]:
    """Return the check of the credentials, and AWS's answer about the caller; None when AWS did not answer."""
    try:
        answer = api.call("sts", "get_caller_identity", task="asking AWS who we are", region=home)
    except BenchError as error:
        return _make_failed_check("credentials", error), None
    return Check(name="credentials", ok=True, observed=f"{answer['Arn']}, account {answer['Account']}"), answer


def check_session_programs(access: Access) -> Check:
    """Check the programs for Session Manager. Where SSH connects directly, their absence is no failure."""
    missing = ssh_access.missing_session_programs()
    if not missing:
        return Check(name="Session Manager", ok=True, observed=f"{' and '.join(ssh_access.SESSION_PROGRAMS)} are there")
    return Check(
        name="Session Manager",
        ok=access is Access.SSH,
        observed=f"{' and '.join(missing)} not found on PATH, which only `access: ssm` needs",
        remedy=ssh_access.describe_installation(missing),
    )


def check_clock(answer: Mapping[str, Any], now: float) -> Check:
    """Compare this machine's clock with the Date header of AWS's answer."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if date is None:
        return Check(name="clock", ok=True, observed="AWS's answer has no date")
    offset_s = now - parsedate_to_datetime(date).timestamp()
    return Check(
        name="clock",
        ok=abs(offset_s) < _CLOCK_MAY_BE_OFF_S,
        observed=f"{abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} AWS's",
        remedy="set this machine's clock (chrony, systemd-timesyncd): AWS refuses requests from another time",
    )


def check_region(api: Api, home: str) -> Check:
    """Check that the Region exists and is enabled in the account, by asking `home`, which every account has."""
    try:
        answer = api.call("ec2", "describe_regions", task="listing the Regions", region=home, AllRegions=True)
    except BenchError as error:
        return _make_failed_check("region", error)
    opt_in_by_region = {
        description["RegionName"]: description.get("OptInStatus", "opt-in-not-required")
        for description in answer["Regions"]
    }
    if api.region not in opt_in_by_region:
        near = nearest_names(api.region, opt_in_by_region, likeness=0.5) or sorted(opt_in_by_region)[:5]
        message = f"there is no Region {api.region!r}"
        return Check(name="region", ok=False, observed=message, remedy=f"nearest: {', '.join(near)}")
    if opt_in_by_region[api.region] == "not-opted-in":
        return Check(
            name="region",
            ok=False,
            observed=f"{api.region} is an opt-in Region that this account has not enabled",
            remedy=f"`aws account enable-region --region-name {api.region}`, and some minutes' patience",
        )
    return Check(name="region", ok=True, observed=f"{api.region}, {opt_in_by_region[api.region]}")


def _check_permissions(api: Api, image: boot_image.BootImage, subnet: Subnet) -> Sequence[Check]:
    """Make a line for each call that a stack makes. An answer that does not tell is not a failure."""
    trials = permissions.try_permissions(
        api, image=image.ami, instance_type=TRIED_TYPE, subnet=subnet.id, vpc=subnet.vpc
    )
    return [
        Check(
            name=trial.action.removeprefix("ec2:"),
            ok=trial.allowed is not False,
            observed=_describe_trial(trial),
            remedy="docs/iam-policy.json lists every permission that is needed",
        )
        for trial in trials
    ]


def _describe_trial(trial: permissions.PermissionTrial) -> str:
    if trial.allowed:
        return "allowed"
    return trial.answer if trial.allowed is False else f"not known: {trial.answer}"


def check_quota(api: Api, family: str = TRIED_FAMILY) -> Check:
    """Check how many vCPUs of a family's kind the account may run on demand. An unknown limit is not a failure."""
    kind = quotas.quota_kind(family, Market.ON_DEMAND)
    if kind is None:
        return Check(name="quota", ok=True, observed=f"no quota of vCPUs limits {family}")
    limit, reason = quotas.quota_limit(api, kind[0])
    finding = f"{kind[1]}: {'not known: ' + reason if limit is None else f'{limit} vCPUs'}"
    remedy = f"the quota is zero: ask for more in Service Quotas ({kind[0]}), which takes hours"
    return Check(name="quota", ok=limit != 0, observed=finding, remedy=remedy)


def check_engine(engine: EngineCommand) -> Sequence[Check]:
    """Return the checks of the pulumi command and its AWS plugin; the plugin only if the command is there."""

    def plugin() -> str:
        return engine.plugin() or "not there yet: the first run fetches it"

    command = _run_check("pulumi", engine.version)
    return [command, _run_check("AWS plugin", plugin)] if command.ok else [command]


def _run_check(name: str, read_state: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, observed=read_state())
    except HarnessError as error:
        return _make_failed_check(name, error)


def _make_failed_check(name: str, error: HarnessError) -> Check:
    remedy = error.next_step
    if isinstance(error, FatalError) and "doctor" in remedy:  # the remedy would be this command itself
        remedy = "docs/troubleshooting.md says what EC2's codes mean"
    return Check(name=name, ok=False, observed=error.message, remedy=remedy)

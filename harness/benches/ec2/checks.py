"""What does the ec2 bench need of this machine and of the account? The lines of `doctor --bench ec2`."""

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from harness.benches.bench import BenchError, Check, FatalError
from harness.benches.ec2.account import networks, permissions, quotas
from harness.benches.ec2.account.networks import Access, Subnet
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.images import boot_image
from harness.benches.ec2.market import placement_groups
from harness.errors import HarnessError

IMAGE, ARCHITECTURE = "al2023", "x86_64"
TRIED_TYPE, TRIED_FAMILY = "m7i.large", "m7i"
_CLOCK_MAY_BE_OFF_S = 60.0
"""AWS refuses requests signed five minutes away from its own time."""
_ALL_ACCOUNTS = {"cn-": "cn-north-1", "us-gov-": "us-gov-west-1"}
"""A Region that every account of a partition has: it is asked about the others, which may be disabled or misspelt."""


class EngineCommand(Protocol):
    """The pulumi command as `doctor` sees it. Both raise SetupError, which says how to get it."""

    def version(self) -> str: ...

    def plugin(self) -> str | None: ...


def run_checks(
    region: str | None, engine: EngineCommand, *, subnet: str | None = None, access: Access = "ssh"
) -> Sequence[Check]:
    """Every line. What an earlier failure makes pointless is left out: without credentials nothing can be asked."""
    checks = [*_pulumi(engine)]
    try:
        api = Api(region)
    except BenchError as error:
        return [*checks, _missing("region", error)]
    home = next((one for start, one in _ALL_ACCOUNTS.items() if api.region.startswith(start)), "us-east-1")
    known, answer = _credentials(api, home)
    checks.append(known)
    if answer is None:
        return checks
    there = _region(api, home)
    checks += [_clock(answer, time.time()), there]
    return [*checks, *_inside(api, subnet, access)] if there.ok else checks


def _inside(api: Api, subnet: str | None, access: Access) -> Sequence[Check]:
    """What is there in the Region."""
    seen: list[Subnet] = []
    found: list[boot_image.BootImage] = []

    def network() -> str:
        usable = networks.usable_subnets(networks.load(api, subnet), access=access)
        seen.extend(usable.values())
        return f"{seen[0].vpc}: {', '.join(f'{one.id} in {one.zone}' for one in seen)}"

    def image() -> str:
        found.append(boot_image.resolve(api, IMAGE, ARCHITECTURE))
        return f"{found[0].title or found[0].ami}, user {found[0].user}"

    def room() -> str:
        return f"{len(placement_groups.load(api))} of at most {placement_groups.LIMIT}"

    checks = [_told("network", network), _told("image", image), _told("placement groups", room), quota(api)]
    return [*checks, *_permissions(api, found[0], seen[0])] if seen and found else checks


def _credentials(api: Api, home: str) -> tuple[Check, Mapping[str, Any] | None]:
    """Who AWS says we are, and its answer."""
    try:
        answer = api.call("sts", "get_caller_identity", what="asking AWS who we are", region=home)
    except BenchError as error:
        return _missing("credentials", error), None
    return Check(name="credentials", ok=True, seen=f"{answer['Arn']}, account {answer['Account']}"), answer


def _clock(answer: Mapping[str, Any], now: float) -> Check:
    """This machine's clock against the Date of AWS's answer."""
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if said is None:
        return Check(name="clock", ok=True, seen="AWS's answer has no date")
    off_s = now - parsedate_to_datetime(said).timestamp()
    return Check(
        name="clock",
        ok=abs(off_s) < _CLOCK_MAY_BE_OFF_S,
        seen=f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} AWS's",
        remedy="set this machine's clock (chrony, systemd-timesyncd): AWS refuses requests from another time",
    )


def _region(api: Api, home: str) -> Check:
    """Whether the Region exists and the account has it, asked of one that every account has."""
    try:
        answer = api.call("ec2", "describe_regions", what="listing the Regions", region=home, AllRegions=True)
    except BenchError as error:
        return _missing("region", error)
    opted = {one["RegionName"]: one.get("OptInStatus", "opt-in-not-required") for one in answer["Regions"]}
    if api.region not in opted:
        near = difflib.get_close_matches(api.region, opted, n=3, cutoff=0.5) or sorted(opted)[:5]
        words = f"there is no Region {api.region!r}"
        return Check(name="region", ok=False, seen=words, remedy=f"nearest: {', '.join(near)}")
    if opted[api.region] == "not-opted-in":
        return Check(
            name="region",
            ok=False,
            seen=f"{api.region} is an opt-in Region that this account has not enabled",
            remedy=f"`aws account enable-region --region-name {api.region}`, and some minutes' patience",
        )
    return Check(name="region", ok=True, seen=f"{api.region}, {opted[api.region]}")


def _permissions(api: Api, image: boot_image.BootImage, subnet: Subnet) -> Sequence[Check]:
    """One line for each call that a stack makes. What EC2 cannot say beforehand is no failure."""
    trials = permissions.try_permissions(
        api, image=image.ami, instance_type=TRIED_TYPE, subnet=subnet.id, vpc=subnet.vpc
    )
    return [
        Check(
            name=trial.action.removeprefix("ec2:"),
            ok=trial.allowed is not False,
            seen="allowed" if trial.allowed else trial.words if trial.allowed is False else f"not known: {trial.words}",
            remedy="docs/iam-policy.json lists every permission that is needed",
        )
        for trial in trials
    ]


def quota(api: Api, family: str = TRIED_FAMILY) -> Check:
    """How many vCPUs of a family's kind the account may run on demand; not known is no failure."""
    kind = quotas.quota_kind(family, "on-demand")
    assert kind is not None
    limit, why = quotas.quota_limit(api, kind[0])
    seen = f"{kind[1]}: {'not known: ' + why if limit is None else f'{limit} vCPUs'}"
    remedy = f"the quota is zero: ask for more in Service Quotas ({kind[0]}), which takes hours"
    return Check(name="quota", ok=limit != 0, seen=seen, remedy=remedy)


def _pulumi(engine: EngineCommand) -> Sequence[Check]:
    """The command and its AWS plugin; the plugin is looked for where there is a command."""

    def plugin() -> str:
        return engine.plugin() or "not there yet: the first run fetches it"

    command = _told("pulumi", engine.version)
    return [command, _told("AWS plugin", plugin)] if command.ok else [command]


def _told(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, seen=look())
    except HarnessError as error:
        return _missing(name, error)


def _missing(name: str, error: HarnessError) -> Check:
    remedy = error.next_step
    if isinstance(error, FatalError) and "doctor" in remedy:  # which is us
        remedy = "docs/troubleshooting.md says what EC2's codes mean"
    return Check(name=name, ok=False, seen=error.message, remedy=remedy)

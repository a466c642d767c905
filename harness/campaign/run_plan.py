"""Plan a campaign: its hosts in the order given, their names, the end of their leases, and warnings."""

import datetime
import heapq
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness import units
from harness.campaign.campaign import Campaign
from harness.campaign.choices import Keep
from harness.campaign.mistakes import Mistake, MistakesError, Places, refuse
from harness.errors import RequestError
from harness.model import Depth
from harness.model.bench_traits import BenchName, traits_of
from harness.model.disturbances import planned_s
from harness.untrusted.input_checks import MOST_MISTAKES
from harness.untrusted.nearest import nearest_names


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedHost:
    """A planned host: `name` is its type, with -2, -3, ... when the type was requested more than once."""

    name: str
    instance_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All data that a run needs before its first effect. The same request at the same time gives the same plan."""

    campaign: Campaign
    hosts: tuple[PlannedHost, ...]
    parallel: int
    expires: datetime.datetime
    estimated_s: float
    warnings: tuple[str, ...]


class UnknownTypesError(RequestError):
    """Types of a campaign that its bench does not have. `mistakes`: the first of them. `more`: how many follow."""

    def __init__(self, mistakes: Mapping[str, Mistake], *, more: int, next_step: str) -> None:
        self.mistakes, self.more = mistakes, more
        messages = [f"{mistake.problem}; {mistake.remedy}" for mistake in mistakes.values()]
        super().__init__("\n".join([*messages, *([f"and {more} more"] if more else [])]), next_step=next_step)


MOST_TYPES_UNWARNED = 3
"""A plan that runs more cloud types at once than this gets a warning."""

_EC2_TYPE = re.compile(r"[a-z][a-z0-9-]{0,30}\.(nano|micro|small|medium|large|[0-9]{0,3}xlarge|metal[a-z0-9-]{0,12})")
"""The form of EC2's instance types: family, dot, size."""


def make_plan(
    campaign: Campaign, types: Mapping[str, object], *, now: datetime.datetime, parallel: int | None = None
) -> Plan:
    """Plan a campaign with the types that its bench has; `parallel` is the bench's own limit.

    Raises UnknownTypesError that names the first unknown types, each with the nearest known names.
    """
    check_types(campaign.instance_types, list(types), campaign.bench)
    hosts = _hosts(campaign.instance_types)
    at_once = min(campaign.parallel or parallel or traits_of(campaign.bench).parallel, len(hosts))
    seconds = estimate_host_s(campaign) * -(-len(hosts) // at_once)
    return Plan(
        campaign=campaign,
        hosts=hosts,
        parallel=at_once,
        expires=now + datetime.timedelta(seconds=campaign.cloud.lease_s),
        estimated_s=seconds,
        warnings=_warnings(campaign, at_once, seconds),
    )


def check_types(names: Sequence[str], available: Sequence[str], bench: str) -> None:
    """Check that a bench has the types. Raises UnknownTypesError."""
    available_names = set(available)
    unknown = [name for name in dict.fromkeys(names) if name not in available_names]
    if unknown:
        raise UnknownTypesError(
            {name: _unknown_type(name, available, bench) for name in unknown[:MOST_MISTAKES]},
            more=max(len(unknown) - MOST_MISTAKES, 0),
            next_step=f"there are {len(available)} types on bench {bench}" + _list_available(available),
        )


def place_unknown_types(error: UnknownTypesError, instance_types: Sequence[str], places: Places) -> MistakesError:
    """Make the error that names unknown types with their places among the types that a campaign names."""
    named = list(instance_types)
    mistakes = [
        replace(mistake, path=("instance_types", named.index(unknown))) if unknown in named else mistake
        for unknown, mistake in error.mistakes.items()
    ]
    return refuse(mistakes, places, next_step=error.next_step, unnamed=error.more)


def _hosts(instance_types: Sequence[str]) -> tuple[PlannedHost, ...]:
    """Name one host per requested type, in that order. Names are unique, even when a type is called `x-2`."""
    used_names = set(instance_types)
    requests: Counter[str] = Counter()
    hosts: list[PlannedHost] = []
    for instance_type in instance_types:
        requests[instance_type] += 1
        name = instance_type
        while requests[instance_type] > 1 and name in used_names:
            name = f"{instance_type}-{requests[instance_type]}"
            requests[instance_type] += name in used_names
        used_names.add(name)
        hosts.append(PlannedHost(name=name, instance_type=instance_type))
    return tuple(hosts)


def estimate_host_s(campaign: Campaign) -> float:
    """Estimate how long one host is needed, in seconds."""
    measured = 0.0 if campaign.depth is Depth.QUICK else campaign.measure_duration_s
    pass_s = traits_of(campaign.bench).overhead_s + measured
    return pass_s * 2 + planned_s(campaign.disturbances) if campaign.depth is Depth.FULL else pass_s


def estimate_run_s(campaign: Campaign, typical_s: Mapping[str, float] = MappingProxyType({})) -> float:
    """Estimate how long a campaign takes, in seconds, where its hosts begin as a slot is free, the longest first.

    `typical_s`: how long a host of a type took before; the others are estimated. A campaign that only selects types is
    taken as one host.
    """
    estimate = estimate_host_s(campaign)
    seconds = sorted((typical_s.get(name, estimate) for name in campaign.instance_types), reverse=True) or [estimate]
    slots = [0.0] * min(campaign.parallel or traits_of(campaign.bench).parallel, len(seconds))
    for each in seconds:
        heapq.heapreplace(slots, slots[0] + each)
    return max(slots)


def _warnings(campaign: Campaign, at_once: int, seconds: float) -> tuple[str, ...]:
    warnings: list[str] = []
    types = min(len(set(campaign.instance_types)), at_once)
    if traits_of(campaign.bench).cloud and types > MOST_TYPES_UNWARNED:
        warnings.append(
            f"{types} cloud types run at once, and each costs until it is released; "
            f"parallel: {MOST_TYPES_UNWARNED} has fewer at a time"
        )
    samples = int(campaign.measure_duration_s / campaign.measure_interval_s)
    few = [limit for limit in campaign.requirements if limit.quantity == "offset_ns" and samples < limit.min_samples]
    if few and campaign.depth is not Depth.QUICK:
        warnings.append(f"{samples} samples are fewer than the {few[0].min_samples} that limits need: no host can pass")
    for profile in campaign.profiles:
        least_s = max(limit.least_s for limit in profile.limits)
        if campaign.measure_duration_s < least_s and campaign.depth is not Depth.QUICK:
            warnings.append(
                f"profile {profile.name} can be met from {units.duration(least_s)} of measuring on, and each host is "
                f"measured for {units.duration(campaign.measure_duration_s)}: no host can pass"
            )
    if seconds > campaign.cloud.lease_s:
        warnings.append(f"the run may take {seconds:.0f} s, longer than its lease of {campaign.cloud.lease_s:.0f} s")
    if campaign.keep is Keep.SUPPORTED and traits_of(campaign.bench).makes_hosts:
        warnings.append("hosts that pass are kept and cost until they are released or their lease ends")
    return tuple(warnings)


def _unknown_type(name: str, available: Sequence[str], bench: str) -> Mistake:
    near = nearest_names(name, available)
    if bench != BenchName.EC2 and not name.startswith("lab.") and _EC2_TYPE.fullmatch(name):
        remedy = "it is an EC2 type: add --region NAME, or write `bench: ec2` in the campaign file"
    elif bench != BenchName.LAB and name.startswith("lab."):
        remedy = "it is a type of the lab: add --bench lab, or write `bench: lab` in the campaign file"
    elif near:
        remedy = f"did you mean {' or '.join(near)}?"
    else:
        remedy = "no type of this bench has a similar name"
    return Mistake(path=("instance_types",), problem=f"there is no type {name!r} on bench {bench}", remedy=remedy)


def _list_available(available: Sequence[str]) -> str:
    return f": {', '.join(available)}" if 0 < len(available) <= 20 else ""

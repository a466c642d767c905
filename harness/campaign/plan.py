"""What would a campaign do? Its hosts in the order given, their names, when they end, and what to mind beforehand."""

import datetime
import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.campaign.campaign import Campaign, Keep
from harness.errors import RequestError
from harness.model import Depth
from harness.model.bench_traits import traits_of
from harness.untrusted.input_checks import MOST_MISTAKES


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedHost:
    """One host to be: `name` is its type, with -2, -3, ... when the type was asked for more than once."""

    name: str
    instance_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a run needs to know before its first effect. Pure data: the same request gives the same plan."""

    campaign: Campaign
    hosts: tuple[PlannedHost, ...]
    parallel: int
    expires: datetime.datetime
    estimated_s: float
    warnings: tuple[str, ...]


MOST_TYPES_UNWARNED = 3
"""More cloud types than these at once are worth a word beforehand."""


_EC2_TYPE = re.compile(r"[a-z][a-z0-9-]{0,30}\.(nano|micro|small|medium|large|[0-9]{0,3}xlarge|metal[a-z0-9-]{0,12})")
"""The form of EC2's instance types: family, dot, size."""


def make_plan(
    campaign: Campaign, types: Mapping[str, object], *, now: datetime.datetime, parallel: int | None = None
) -> Plan:
    """Lay out a campaign over the types that its bench has; `parallel` is the bench's own limit.

    Raises RequestError that names unknown types, the first of many, with their nearest known names.
    """
    unknown = [name for name in dict.fromkeys(campaign.instance_types) if name not in types]
    if unknown:
        told = [_unknown(name, list(types), campaign.bench) for name in unknown[:MOST_MISTAKES]]
        more = [f"and {len(unknown) - len(told)} more"] if len(unknown) > len(told) else []
        raise RequestError(
            "; ".join([*told, *more]),
            next_step=f"there are {len(types)} types on bench {campaign.bench}" + _listed(list(types)),
        )
    hosts = _hosts(campaign.instance_types)
    at_once = min(campaign.parallel or parallel or traits_of(campaign.bench).parallel, len(hosts))
    seconds = host_s(campaign) * -(-len(hosts) // at_once)
    return Plan(
        campaign=campaign,
        hosts=hosts,
        parallel=at_once,
        expires=now + datetime.timedelta(seconds=campaign.lease_s),
        estimated_s=seconds,
        warnings=_warnings(campaign, at_once, seconds),
    )


def _hosts(instance_types: Sequence[str]) -> tuple[PlannedHost, ...]:
    """One host per type asked for, in that order; no two of one name, even when a type is called `x-2`."""
    taken = set(instance_types)
    asked: Counter[str] = Counter()
    hosts: list[PlannedHost] = []
    for one in instance_types:
        asked[one] += 1
        name = one
        while asked[one] > 1 and name in taken:
            name = f"{one}-{asked[one]}"
            asked[one] += name in taken
        taken.add(name)
        hosts.append(PlannedHost(name=name, instance_type=one))
    return tuple(hosts)


def host_s(campaign: Campaign) -> float:
    """Roughly how long one host is needed."""
    measured = 0.0 if campaign.depth is Depth.QUICK else campaign.measure_duration_s
    once = traits_of(campaign.bench).overhead_s + measured
    return once * 2 if campaign.depth is Depth.FULL else once


def _warnings(campaign: Campaign, at_once: int, seconds: float) -> tuple[str, ...]:
    found: list[str] = []
    types = min(len(set(campaign.instance_types)), at_once)
    if traits_of(campaign.bench).cloud and types > MOST_TYPES_UNWARNED:
        found.append(
            f"{types} cloud types run at once, and each costs until it is released; "
            f"parallel: {MOST_TYPES_UNWARNED} has fewer at a time"
        )
    samples = int(campaign.measure_duration_s / campaign.measure_interval_s)
    few = [limit for limit in campaign.requirements if limit.quantity == "offset_ns" and samples < limit.min_samples]
    if few and campaign.depth is not Depth.QUICK:
        found.append(f"{samples} samples are fewer than the {few[0].min_samples} that limits need: no host can pass")
    if seconds > campaign.lease_s:
        found.append(f"the run may take {seconds:.0f} s, longer than its lease of {campaign.lease_s:.0f} s")
    if campaign.keep is Keep.SUPPORTED:
        found.append("hosts that pass are kept and cost until they are released or their lease ends")
    return tuple(found)


def _unknown(name: str, known: Sequence[str], bench: str) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f" (nearest: {', '.join(near)})" if near else ""
    if bench != "ec2" and not name.startswith("lab.") and _EC2_TYPE.fullmatch(name):
        hint = ": it is an EC2 type (add --region NAME)"
    elif bench != "lab" and name.startswith("lab."):
        hint = ": it is a type of the lab (--bench lab)"
    return f"there is no type {name!r} on bench {bench}{hint}"


def _listed(known: Sequence[str]) -> str:
    return f": {', '.join(known)}" if 0 < len(known) <= 20 else ""

"""Group the hosts of a campaign into suites: those that may run beside all others, then the exclusive ones in turn."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from harness.campaign.campaign import Campaign
from harness.model.bench_traits import traits_of
from harness.model.ec2_deadlines import is_metal


class SuiteKind(StrEnum):
    """Kinds of suites, in the order in which they run. All but the first are exclusive: one runs at a time."""

    SHARED = "shared"
    METAL = "metal"
    SCARCE = "scarce"
    DISTURBED = "disturbed"


@dataclass(frozen=True, slots=True)
class Suite:
    """Hosts that pods claim until none is left. `types`: their instance types, sorted."""

    kind: SuiteKind
    types: tuple[str, ...]

    @property
    def exclusive(self) -> bool:
        """Whether no other suite may run meanwhile."""
        return self.kind is not SuiteKind.SHARED


_STANDARD_QUOTA = re.compile(r"(a|c|d|h|i|im|is|m|r|t|z)[0-9]")
"""The families that share EC2's quota of standard instances; each other group has a quota of its own, often 0."""


def make_suites(campaign: Campaign, instance_types: Iterable[str]) -> list[Suite]:
    """Group the types of a campaign's hosts into suites, in the order in which they run."""
    of_kind: dict[SuiteKind, list[str]] = {}
    for name in sorted({*instance_types}):
        of_kind.setdefault(_choose_kind(campaign, name), []).append(name)
    return [Suite(kind, tuple(of_kind[kind])) for kind in SuiteKind if kind in of_kind]


def _choose_kind(campaign: Campaign, instance_type: str) -> SuiteKind:
    traits = traits_of(campaign.bench)
    if campaign.disturbances and traits.disturbs:  # they load the machine that other hosts share
        return SuiteKind.DISTURBED
    if not traits.cloud:
        return SuiteKind.SHARED
    if is_metal(instance_type):
        return SuiteKind.METAL
    return SuiteKind.SHARED if _STANDARD_QUOTA.match(instance_type) else SuiteKind.SCARCE

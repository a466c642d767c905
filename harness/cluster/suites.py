"""Group the hosts of a campaign into suites: those that may run beside all others, then the exclusive ones in turn.

Suites of tests run in the same order (`tiers.py`).
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from harness.campaign.campaign import Campaign
from harness.model.bench_traits import traits_of
from harness.model.ec2_deadlines import is_metal


class SuiteKind(StrEnum):
    """Kinds of suites, in the order in which they run. All but the first are exclusive: one runs at a time.

    GUESTS and QUIET are kinds of tests: those that start guests, and those whose figures need a quiet machine.
    """

    SHARED = "shared"
    METAL = "metal"
    SCARCE = "scarce"
    DISTURBED = "disturbed"
    GUESTS = "guests"
    QUIET = "quiet"

    @property
    def exclusive(self) -> bool:
        """Whether no other suite may run meanwhile."""
        return self is not SuiteKind.SHARED

    @property
    def destructive(self) -> bool:
        """Whether such hosts harm what they run beside: where that is asked for, they get a namespace of their own."""
        return self is SuiteKind.DISTURBED


class HasKind(Protocol):
    """Hosts or tests that are run as a suite."""

    @property
    def kind(self) -> SuiteKind: ...


AnySuite = TypeVar("AnySuite", bound=HasKind)


def choose_next(waiting: Sequence[AnySuite], running: Collection[AnySuite], parallel: int) -> list[AnySuite]:
    """Choose the suites that begin now, in the order of `waiting`: the shared ones, at most `parallel` at once.

    An exclusive one begins alone, once no shared one waits or runs.
    """
    if any(suite.kind.exclusive for suite in running):
        return []
    shared = [suite for suite in waiting if not suite.kind.exclusive]
    if shared:
        return shared[: max(0, parallel - len(running))]
    exclusive = sorted(waiting, key=lambda suite: [*SuiteKind].index(suite.kind))
    return [] if running else exclusive[:1]


@dataclass(frozen=True, slots=True)
class Suite:
    """Hosts that pods claim until none is left. `types`: their instance types, sorted."""

    kind: SuiteKind
    types: tuple[str, ...]


def does_harm(campaign: Campaign) -> bool:
    """Whether a campaign has hosts that harm what they run beside: disturbances load the machine that hosts share."""
    return bool(campaign.disturbances) and traits_of(campaign.bench).disturbs


_STANDARD_QUOTA = re.compile(r"(a|c|d|h|i|im|is|m|r|t|z)[0-9]")
"""The families that share EC2's quota of standard instances; each other group has a quota of its own, often 0."""


def make_suites(campaign: Campaign, instance_types: Iterable[str]) -> list[Suite]:
    """Group the types of a campaign's hosts into suites, in the order in which they run."""
    of_kind: dict[SuiteKind, list[str]] = {}
    for name in sorted({*instance_types}):
        of_kind.setdefault(_choose_kind(campaign, name), []).append(name)
    return [Suite(kind, tuple(of_kind[kind])) for kind in SuiteKind if kind in of_kind]


def _choose_kind(campaign: Campaign, instance_type: str) -> SuiteKind:
    if does_harm(campaign):
        return SuiteKind.DISTURBED
    if not traits_of(campaign.bench).cloud:
        return SuiteKind.SHARED
    if is_metal(instance_type):
        return SuiteKind.METAL
    return SuiteKind.SHARED if _STANDARD_QUOTA.match(instance_type) else SuiteKind.SCARCE

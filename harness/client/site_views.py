"""Define what a hub tells about its sites."""

import datetime
from dataclasses import dataclass

from harness.model.sites import Freshness


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """A site of a hub. `state`: reachable, away, unfit or unknown; `since` when, and `problem` why.

    `waiting`, `running`: numbers of tasks that the hub has for it.
    """

    name: str
    url: str
    benches: tuple[str, ...]
    state: str
    since: datetime.datetime | None
    problem: str | None
    version: str | None
    answered: datetime.datetime | None
    waiting: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteListing:
    """The sites of a hub by its registry, which was read `age_s` ago. `problem`: why it cannot be read now."""

    registry: str
    freshness: Freshness
    age_s: float | None
    problem: str | None
    problem_since: datetime.datetime | None
    sites: tuple[SiteStatus, ...]

"""Define sites: other services, to which a hub gives campaigns."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A service that carries out campaigns for a hub. `benches`: names of those that it has."""

    name: str
    url: str
    benches: tuple[str, ...]


class Freshness(StrEnum):
    """How well the list of sites is known.

    `FRESH`: the registry was read within two periods. `STALE`: it is away, or was read before that; its list counts.
    `UNAVAILABLE`: it was never read, or too long ago: the last known list is told, and no new campaign goes by it.
    """

    FRESH = "fresh"
    STALE = "stale"
    UNAVAILABLE = "unavailable"

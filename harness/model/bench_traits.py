"""Define the benches and their properties in one table: a bench is one entry here, and a file or folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class BenchName(StrEnum):
    """The benches that a campaign may name."""

    EC2 = "ec2"
    LAB = "lab"
    HOSTS = "hosts"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTraits:
    """Defaults and properties of a bench.

    `hosts_are`: what its hosts are, in a few words for people. `measure_s`: how long each host is measured where the
    campaign sets no duration. `overhead_s`: roughly how long a host takes beside measuring (provision, reach,
    configure, judge, release). `parallel`: how many hosts run at once where no number is set. `limits`: the name of its
    table of limits (campaign.limits.TABLES). `cloud`: hosts cost money while they run, and end themselves with their
    lease. `makes_hosts`: hosts are made for a run and removed after it; otherwise hosts exist before a run and stay.
    `disturbs`: it can disturb a host's clock from outside of the host.
    """

    hosts_are: str
    measure_s: float
    overhead_s: float
    parallel: int
    limits: str
    cloud: bool = False
    makes_hosts: bool = True
    disturbs: bool = False

    @property
    def local(self) -> bool:
        """Whether its hosts run on the machine that makes them, from where alone they can be removed."""
        return self.makes_hosts and not self.cloud


BENCHES: Mapping[BenchName, BenchTraits] = {
    BenchName.EC2: BenchTraits(
        hosts_are="instances", measure_s=300.0, overhead_s=180.0, parallel=8, limits="ec2", cloud=True
    ),
    # The lab's hosts disturb each other's clocks when they share few cores.
    BenchName.LAB: BenchTraits(
        hosts_are="virtual machines on this machine",
        measure_s=60.0,
        overhead_s=90.0,
        parallel=2,
        limits="lab",
        disturbs=True,
    ),
    BenchName.HOSTS: BenchTraits(
        hosts_are="an inventory", measure_s=300.0, overhead_s=90.0, parallel=8, limits="ec2", makes_hosts=False
    ),
}


def traits_of(bench: str) -> BenchTraits:
    """Find the traits of a bench by its name. Raises ValueError for an unknown name."""
    return BENCHES[BenchName(bench)]


def traits_of_recorded(bench: str) -> BenchTraits:
    """Find the traits of a bench that a record names; those of the lab for a bench that only another version has."""
    return BENCHES[BenchName(bench) if bench in set(BenchName) else BenchName.LAB]

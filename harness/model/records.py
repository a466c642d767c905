"""Define tokens, resources, machines, and the records of hosts and runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness import units
from harness.model.disturbances import DisturbanceFigures
from harness.model.enums import Depth, HostState, Stage
from harness.model.evidence import Claim, Offer, Placement, Verdict
from harness.model.observed import Facts
from harness.model.quality import ClockQuality
from harness.untrusted.names import TOKEN

LEAST_BILLED_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Names everything made for one attempt at one host: `run/host/attempt`."""

    run: str
    host: str
    attempt: int = 1

    def __str__(self) -> str:
        return f"{self.run}/{self.host}/{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Parse the text that `str()` wrote. Raises ValueError on any other text, such as a forged tag."""
        match = TOKEN.fullmatch(text)
        if match is None:
            raise ValueError(f"not a token: {text[:100]!r}")
        return cls(run=match[1], host=match[2], attempt=int(match[3]))

    @property
    def slug(self) -> str:
        """The token as a file name."""
        return f"{self.run}-{self.host}-{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that the harness created and that costs something: a machine, a process, a disk overlay."""

    token: str
    kind: str
    name: str
    detail: str
    expires: str | None = None  # ISO 8601: until then it may belong to a run of another ledger
    unproven: str | None = None  # why it is not proven ours, although it has a token; it is then never ended
    created_utc: str | None = None  # ISO 8601; None where nothing tells it
    owner: str | None = None  # the person or team for whom it was made
    usd_per_hour: float | None = None  # of what costs by time, where its price is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A running host and how to connect to it. `known_host` holds the lines of known_hosts(5) with its pinned keys."""

    token: Token
    instance_type: str
    address: str
    port: int
    user: str
    private_key: str | None  # path; None: a key that ssh or an agent finds
    known_host: str
    rotated_key: str | None = (
        None  # path of the file that holds the lines of the host key after its rotation at first contact
    )
    boots_within_s: float = 0.0  # time after its start in which its SSH server may not answer yet
    reboots_within_s: float = 300.0  # time from a reboot until it must answer again
    ssh_options: tuple[str, ...] = ()  # further arguments of ssh, such as a jump host
    second_opinion: str | None  # "address port" of an NTP server that is not the PHC
    second_opinion_poll: int = 4  # its poll interval: log2 of seconds
    role_variables: Mapping[str, Any] = field(default_factory=dict)
    placement: Placement
    claim: Claim | None
    offer: Offer
    region: str | None = None  # None where its bench has no Regions ...
    zone: str | None = None  # ... or no zones
    image: str | None = None  # the image that it was started from, as its bench names it
    usd_per_hour: float | None = None  # None: unknown, or free
    evidence_files: tuple[str, ...] = ()  # to be copied into the run's evidence at release
    detail: str = ""

    def cost_usd(self, seconds: float) -> float | None:
        """Cost of `seconds` since the request, slightly more than what is billed; at least a minute counts."""
        if self.usd_per_hour is None:
            return None
        return round(self.usd_per_hour * max(seconds, LEAST_BILLED_S) / 3600, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecord:
    """The final record of one host: verdict, facts, duration of each stage in seconds, and state."""

    name: str
    instance_type: str
    verdict: Verdict
    facts: Facts | None
    stages: Mapping[Stage, float]
    state: HostState
    address: str | None
    zone: str | None = None  # this and the following: not in the records of early versions
    region: str | None = None
    image: str | None = None
    claim: Claim | None = None
    api_calls: float | None = None  # calls of a cloud's API for this host; a call for several hosts counts in part
    cost_usd: float | None = None  # of the instance until the end of the record, where its price is known
    attempt: int = 1  # of its token: a host that was begun anew has a later one
    quality: ClockQuality | None = None  # the figures of its clock; None: too little was measured
    expected: str | None = None  # the outcome or reason that the campaign expects of its type
    disturbances: tuple[DisturbanceFigures, ...] = ()  # how its clock fared under each


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The final record of a run: its hosts in the requested order, and the resources that could not be removed."""

    run: str
    bench: str
    started: str  # UTC, ISO 8601
    seconds: float
    interrupted: bool
    hosts: tuple[HostRecord, ...]
    leftovers: tuple[Resource, ...]
    api_calls: int | None = None  # in all; not in the records of early versions
    failures: tuple[str, ...] = ()  # failures of the harness to write, record or release something
    version: str | None = None  # of the harness; this and the following: not in the records of early versions
    depth: Depth | None = None  # as the campaign asked
    measure_duration_s: float | None = None  # of each host, ...
    measure_interval_s: float | None = None  # ... and between its samples
    evidence_unsent: str | None = None  # why the evidence is not in the evidence store yet; None: sent, or no store

    @classmethod
    def of_ended_run(
        cls,
        run: str,
        *,
        bench: str,
        started_ns: int,
        ended_ns: int,
        interrupted: bool,
        hosts: tuple[HostRecord, ...],
        leftovers: tuple[Resource, ...],
        api_calls: int | None = None,
        failures: tuple[str, ...] = (),
        version: str | None = None,
        depth: Depth | None = None,
        measure_duration_s: float | None = None,
        measure_interval_s: float | None = None,
    ) -> "RunRecord":
        """Build the record of a run from its start and end in nanoseconds since the epoch."""
        return cls(
            run=run,
            bench=bench,
            started=units.utc(started_ns),
            seconds=round((ended_ns - started_ns) / 1e9, 1),
            interrupted=interrupted,
            hosts=hosts,
            leftovers=leftovers,
            api_calls=api_calls,
            failures=failures,
            version=version,
            depth=depth,
            measure_duration_s=measure_duration_s,
            measure_interval_s=measure_interval_s,
        )

    @property
    def cost_usd(self) -> float | None:
        """Cost of all hosts that ran; None when the cost of any of them is unknown."""
        costs = [host.cost_usd for host in self.hosts if host.address is not None]
        known_costs = [cost for cost in costs if cost is not None]
        return sum(known_costs) if known_costs and len(known_costs) == len(costs) else None

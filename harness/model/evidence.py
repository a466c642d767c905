"""Define the evidence about one host, the rungs of the ladder, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.model.disturbances import DisturbanceWindow
from harness.model.enums import Outcome, Reason, RungName, RungStatus
from harness.model.observed import Facts, Sample, Unparsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Whether the type is available in the requested place."""

    available: bool
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The claim of an API about the type's clock, and the date of the query."""

    phc_supported: bool
    source: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Result of provisioning. `failure`: None for a running host, else CAPACITY, QUOTA, LAUNCH_FAILED, NOT_OFFERED."""

    failure: Reason | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The result of SSH with the pinned host key."""

    reached: bool
    tries: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Whether the host is placed where the precision service is provided; `precise` is None where this is unknown."""

    precise: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All evidence about one host. Every part may be absent; absence never counts in favour of a clock."""

    offer: Offer | None = None
    claim: Claim | None = None
    launch: Launch | None = None
    reach: Reach | None = None
    placement: Placement | None = None
    facts: Facts | None = None
    first_facts: Facts | None = None  # of depth quick, where they refuted chrony's bound before chronyd had settled
    samples: Sequence[Sample] | None = None  # a SampleTable where they were read from the sampler's lines
    slots: int | None = None  # number of intervals that the sampler went through; None: its closing line was not read
    final_facts: Facts | None = None  # collected after the last sample
    disturbed: "Evidence | None" = None  # the samples while it was disturbed; depth full, where the campaign asks
    disturbances: tuple[DisturbanceWindow, ...] = ()  # in these samples
    rebooted: "Evidence | None" = None
    unparsed: tuple[Unparsed, ...] = ()
    lost: str | None = None  # when and how a reachable host stopped answering, in one sentence
    trouble: str | None = None  # why a stage could not be carried out, in one sentence
    trouble_reason: Reason = Reason.HARNESS_ERROR
    trouble_remedy: str | None = None  # what to do about the trouble, where its cause is known
    read_only_files: bool = False  # the trouble: the host's files cannot be changed
    interrupted: bool = False
    interrupted_while: str = ""  # the stage and its time by then: "being configured, after 4 min 32 s"

    @property
    def samples_complete(self) -> bool:
        """Whether the sampler's closing line was read, so that no sample is missing at the end unnoticed."""
        return self.slots is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A rung of the ladder for one host, and the evidence in one sentence."""

    name: RungName
    status: RungStatus
    evidence: str
    reason: Reason | None = None  # why it failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A measured quantity against a limit: enough to rebuild the report's sentence from the record alone."""

    quantity: str
    statistic: str
    observed: float | None
    comparison: str  # "<=" or ">="
    limit: float
    unit: str
    source: str  # where the limit comes from
    samples: int
    held: bool | None  # None: not enough samples, or not observed
    min_samples: int = 1
    note: str = ""  # how the value was observed, or why not
    uncertainty: float | None = (
        None  # the true value may differ by so much either way, in the same unit; None: not known
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome for one host, with its reason, the rungs and the findings."""

    outcome: Outcome
    reason: Reason
    sentence: str
    rungs: tuple[Rung, ...]
    findings: tuple[Finding, ...]
    contradictions: tuple[str, ...]
    unobserved: tuple[str, ...]
    remarks: tuple[str, ...]  # facts worth telling, "ptp4l: not applicable, ..."
    remedy: str | None

"""The words that all parts speak in: frozen data and enums, nothing else.

Absent is None and means "not observed"; it never stands for 0, "no" or a pass. Times are integers of nanoseconds
(`_ns`) or floats of seconds (`_s`) as the name says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """A verdict's outcome, from best to worst as reports order them."""

    PASS = "PASS"
    UNSUPPORTED = "UNSUPPORTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"


class RungName(StrEnum):
    """The ladder of proof, in order."""

    OFFERED = "offered"
    CLAIMED = "claimed"
    LAUNCHED = "launched"
    REACHABLE = "reachable"
    PRECISION_HOST = "precision_host"
    DRIVER_CAPABLE = "driver_capable"
    DRIVER_ON = "driver_on"
    CLOCK_PRESENT = "clock_present"
    CLOCK_READABLE = "clock_readable"
    CHRONY_FOLLOWS = "chrony_follows"
    WITHIN_LIMITS = "within_limits"
    SURVIVES_REBOOT = "survives_reboot"


class RungStatus(StrEnum):
    """What is known about a rung."""

    PROVEN = "proven"
    FAILED = "failed"
    NOT_OBSERVED = "not_observed"
    NOT_REACHED = "not_reached"
    RECORDED = "recorded"
    NOT_REQUIRED = "not_required"


class Reason(StrEnum):
    """Why a verdict is what it is."""

    SYNCHRONISED = "synchronised"
    NOT_OFFERED = "not_offered"
    CAPACITY = "capacity"
    QUOTA = "quota"
    LAUNCH_FAILED = "launch_failed"
    UNREACHABLE = "unreachable"
    HOST_NOT_PRECISION = "host_not_precision"
    DRIVER_NOT_CAPABLE = "driver_not_capable"
    DRIVER_OFF = "driver_off"
    NO_PHC = "no_phc"
    PHC_UNREADABLE = "phc_unreadable"
    PHC_IMPLAUSIBLE = "phc_implausible"
    NOT_SYNCHRONISED = "not_synchronised"
    CLOCK_INTERFERENCE = "clock_interference"
    OUT_OF_LIMITS = "out_of_limits"
    TOO_FEW_SAMPLES = "too_few_samples"
    NOT_PERSISTENT = "not_persistent"
    NOT_OBSERVED = "not_observed"
    INTERRUPTED = "interrupted"
    HARNESS_ERROR = "harness_error"


class Stage(StrEnum):
    """One host's way, in order."""

    PROVISION = "provision"
    REACH = "reach"
    CONFIGURE = "configure"
    MEASURE = "measure"
    JUDGE = "judge"
    RELEASE = "release"


class HostState(StrEnum):
    """What became of a host after its verdict. FAILED: its release failed, something may still run."""

    RELEASED = "released"
    KEPT = "kept"
    FAILED = "failed"


class Depth(StrEnum):
    """How far a host is taken: quick stops after chrony follows, full reboots and does it all again."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"


DEFAULT_CLOCK_NAMES = ("ena-ptp-*",)
"""Patterns of the clock names that count, where a campaign names no other."""


# --- what a tool said, and what we read in it ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One command or file read on a host, in its own words. `rc` is None when it could not be started."""

    command: str
    rc: int | None
    out: str
    err: str = ""


Captures = Mapping[str, Capture]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unparsed:
    """A line that no probe understood: it makes what it would have shown "not observed"."""

    where: str
    line_number: int
    line: str
    expected: str


class DriverWord(StrEnum):
    """What the ENA driver itself says about the clock feature (kernel log at debug level, devlink's refusal)."""

    ACTIVE = "active"
    NOT_SUPPORTED_BY_DEVICE = "not_supported_by_device"
    NOT_ENABLED = "not_enabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The network driver of one ENA device and what it can do about a clock."""

    pci: str
    interface: str | None
    name: str
    version: str | None
    phc_parameter: bool | None  # modinfo lists phc_enable
    phc_parameter_on: bool | None
    devlink_parameter: bool | None  # devlink lists enable_phc
    devlink_on: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """One /dev/ptpN."""

    device: str  # "ptp0"
    name: str  # clock_name, "ena-ptp-05"
    pci: str | None
    max_adjustment_ppb: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """`chronyc -c tracking`. Offsets: positive is system clock ahead, in the tool's sense of "fast"."""

    reference: str
    stratum: int
    reference_time_s: float
    system_offset_ns: int
    last_offset_ns: int
    rms_offset_ns: int
    frequency_ppm: float
    residual_frequency_ppm: float
    skew_ppm: float
    root_delay_ns: int
    root_dispersion_ns: int
    update_interval_s: float
    leap: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A line of `chronyc -c sources`: mode `#` refclock, `^` server; state `*` selected, `?` unusable, ..."""

    mode: str
    state: str
    name: str
    stratum: int
    poll: int
    reach: int
    last_rx_s: int | None
    offset_ns: int
    measured_offset_ns: int
    error_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhcRead:
    """One reading by PTP_SYS_OFFSET_EXTENDED: system clock before, PHC, system clock after."""

    before_ns: int
    phc_ns: int
    after_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhcCounters:
    """The driver's own statistics since it last started (ethtool -S or debugfs phc_stats). None: not in this driver."""

    cnt: int
    exp: int
    skp: int
    err_dv: int
    err_ts: int
    err_eb: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was seen in one second. A part that could not be read or parsed is None."""

    seq: int
    mono_ns: int
    utc_ns: int
    tracking: Tracking | None
    sources: tuple[Source, ...] | None
    reads: tuple[PhcRead, ...] | None
    read_errors: int | None
    error_bound_ns: int | None
    counters: PhcCounters | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one collection showed. None: not observed. An empty `clocks` is evidence: /sys/class/ptp was empty."""

    kernel: str | None
    os: str | None
    kernel_has_ptp: bool | None
    drivers: tuple[Driver, ...] | None
    clocks: tuple[Clock, ...] | None
    phc_link: str | None  # what /dev/ptp_ena points to, "ptp0"
    driver_word: DriverWord | None
    driver_word_text: str | None
    remedy: str | None  # what the ena_driver role says would help
    error_bound_published: bool | None
    counters_published: bool | None  # False: looked for in ethtool -S and debugfs, and in neither
    reads: tuple[PhcRead, ...] | None  # one burst of 10
    read_errors: int | None
    chrony_version: str | None
    tracking: Tracking | None
    sources: tuple[Source, ...] | None
    competitors: tuple[str, ...] | None  # running daemons that also steer the clock
    interference: bool | None
    converged: bool | None  # how the role's wait ended; None: it did not wait
    converged_after_s: float | None
    ntp_stratum: int | None
    hardware_timestamping: bool | None  # transmit, receive and raw clock: ptp4l can run
    boot_id: str | None


# --- evidence, rungs, verdict -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Whether the type can be had where it was asked for."""

    available: bool
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an API claims about the type's clock, and when it was asked."""

    phc_supported: bool
    source: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How provisioning ended. `failure` is None when a host runs, else CAPACITY, QUOTA, LAUNCH_FAILED, NOT_OFFERED."""

    failure: Reason | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How SSH with the pinned host key ended."""

    reached: bool
    tries: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Whether the host stands where the precision service is given; None where nobody can know."""

    precise: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known about one host. Every part may be absent; absence never counts in a clock's favour."""

    offer: Offer | None = None
    claim: Claim | None = None
    launch: Launch | None = None
    reach: Reach | None = None
    placement: Placement | None = None
    facts: Facts | None = None
    samples: tuple[Sample, ...] | None = None
    samples_complete: bool = False  # the sampler's closing line was read: no sample is missing at the end
    final_facts: Facts | None = None  # collected after the last sample
    rebooted: "Evidence | None" = None
    unparsed: tuple[Unparsed, ...] = ()
    trouble: str | None = None  # a stage that could not be carried out, in one sentence
    interrupted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung of the ladder for one host, and the evidence in one sentence."""

    name: RungName
    status: RungStatus
    evidence: str
    reason: Reason | None = None  # why it failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One measured quantity against one limit: enough to rebuild the report's sentence from the record alone."""

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
    note: str = ""  # how it was seen, or why not


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The first rung that is not proven, and what was seen."""

    outcome: Outcome
    reason: Reason
    sentence: str
    rungs: tuple[Rung, ...]
    findings: tuple[Finding, ...]
    contradictions: tuple[str, ...]
    unobserved: tuple[str, ...]
    remarks: tuple[str, ...]  # facts worth telling, "ptp4l: not applicable, ..."
    remedy: str | None


# --- hosts ----------------------------------------------------------------------------------------------------------


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
        """The token that `str()` wrote. Raises ValueError on other text."""
        run, host, attempt = text.split("/")
        return cls(run=run, host=host, attempt=int(attempt))

    @property
    def slug(self) -> str:
        """The same as a file name."""
        return f"{self.run}-{self.host}-{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that exists because of us and costs something: a machine, a process, a disk overlay."""

    token: str
    kind: str
    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A host that runs and how to speak to it. `known_host` is the pinned key line of known_hosts(5)."""

    token: Token
    instance_type: str
    address: str
    port: int
    user: str
    private_key: str  # path
    known_host: str
    second_opinion: str | None  # "address port" of an NTP server that is not the PHC
    second_opinion_poll: int = 4  # how often it may be asked: log2 of seconds
    placement: Placement
    claim: Claim | None
    offer: Offer
    evidence_files: tuple[str, ...] = ()  # to be copied into the run's evidence at release
    detail: str = ""


# --- what a run leaves behind ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecord:
    """One host of a run, ended: its verdict, what was seen, how long each stage took (seconds), what became of it."""

    name: str
    instance_type: str
    verdict: Verdict
    facts: Facts | None
    stages: Mapping[Stage, float]
    state: HostState
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run, ended: its hosts in the order in which they were asked for, and whatever could not be removed."""

    run: str
    bench: str
    started: str  # UTC, ISO 8601
    seconds: float
    interrupted: bool
    hosts: tuple[HostRecord, ...]
    leftovers: tuple[Resource, ...]

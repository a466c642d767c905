"""Captured output of tools on a host, and the data parsed from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Unchanged output of a command or text of a file on a host. `rc` is None when the command could not be started."""

    command: str
    rc: int | None
    out: str
    err: str = ""


Captures = Mapping[str, Capture]

READINGS, MOST_READINGS = 5, 10
"""Readings of the clock in a sample: as a rule, and at most. An ENA clock serves 125 a second to all its readers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unparsed:
    """A line that no probe understood. The facts that the line would have shown are "not observed"."""

    where: str
    line_number: int
    line: str
    expected: str
    more: int = 0  # number of further lines of the same file that were not understood and are not stored


class DriverWord(StrEnum):
    """The report of the ENA driver itself about the clock feature (kernel log at debug level, devlink's refusal)."""

    ACTIVE = "active"
    NOT_SUPPORTED_BY_DEVICE = "not_supported_by_device"
    NOT_ENABLED = "not_enabled"
    VERSION_UNKNOWN = "version_unknown"  # the device's clock is of a version that the driver does not know
    REFUSED_BY_DEVICE = "refused_by_device"  # the device did not start its clock
    NO_MEMORY = "no_memory"
    NOT_REGISTERED = "not_registered"  # the kernel did not take the clock
    START_FAILED = "start_failed"  # without a cause


class ReadFailure(StrEnum):
    """Why a reading of the clock failed, as the ENA driver reports it."""

    NOT_ACTIVE = "not_active"  # the device's clock is not started
    NO_ANSWER = "no_answer"
    TIMESTAMP = "timestamp"  # refused, as where there are too many requests
    ERROR_BOUND = "error_bound"  # the device does not know how far it is from UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The network driver of one ENA device, and its support for a clock."""

    pci: str
    interface: str | None
    name: str
    version: str | None
    phc_parameter: bool | None  # modinfo lists phc_enable
    phc_parameter_on: bool | None
    devlink_parameter: bool | None  # devlink lists enable_phc
    devlink_on: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongSetting:
    """A setting of the module ena about the clock that has no effect, or switches it off."""

    name: str  # "enable_phc"
    line: str | None  # "options ena enable_phc=1"; None where only the kernel log shows the setting
    file: str | None  # "/etc/modprobe.d/ena.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A PTP clock, /dev/ptpN."""

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
class ChronySource:
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
    """A reading by PTP_SYS_OFFSET_EXTENDED: system clock before, PHC, system clock after."""

    before_ns: int
    phc_ns: int
    after_ns: int

    @property
    def window_ns(self) -> int:
        """The time that the reading took."""
        return self.after_ns - self.before_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class PhcCounters:
    """The driver's statistics since its last start (ethtool -S or debugfs phc_stats). None: not in this driver."""

    cnt: int
    exp: int
    skp: int
    err_dv: int
    err_ts: int
    err_eb: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The observations of one slot, the interval with this number. A part that could not be read or parsed is None."""

    slot: int
    mono_ns: int
    utc_ns: int
    tracking: Tracking | None
    sources: tuple[ChronySource, ...] | None
    reads: tuple[PhcRead, ...] | None
    read_errors: int | None
    error_bound_ns: int | None
    counters: PhcCounters | None
    raw_ns: int | None = None  # CLOCK_MONOTONIC_RAW, the free oscillator, read beside utc_ns
    cpu_ns: int | None = None  # processor time of the sampler since its start in this boot, its programs included
    boot: int = 0  # number of the host's boot since the beginning of the samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts from one collection. None: not observed. An empty `clocks` is evidence: /sys/class/ptp was empty."""

    kernel: str | None
    os: str | None
    kernel_has_ptp: bool | None
    drivers: tuple[Driver, ...] | None
    clocks: tuple[Clock, ...] | None
    phc_link: str | None  # target of /dev/ptp_ena, "ptp0"
    driver_word: DriverWord | None
    driver_word_text: str | None
    remedy: str | None  # remedy proposed by the role ena_driver
    error_bound_published: bool | None
    counters_published: bool | None  # False: neither in ethtool -S nor in debugfs
    reads: tuple[PhcRead, ...] | None  # one burst of 10
    read_errors: int | None
    chrony_version: str | None
    tracking: Tracking | None
    sources: tuple[ChronySource, ...] | None
    chronyd_runs: bool | None
    competitors: tuple[str, ...] | None  # running daemons that also steer the clock
    interference: bool | None
    converged: bool | None  # result of the role's wait; None: no wait
    converged_after_s: float | None  # since the last of chronyd's starts
    chronyd_starts: int | None  # by the role: more than 1 where chronyd's first readings misled it
    why_not_converged: str | None  # reason, where chronyd could not try
    ntp_stratum: int | None
    ntp_offset_ns: int | None  # how far the system clock is ahead of NTP, by one query
    hardware_timestamping: bool | None  # transmit, receive and raw clock: ptp4l can run
    boot_id: str | None
    read_failure: ReadFailure | None = None  # the driver's last message about a reading that failed
    read_failure_text: str | None = None
    wrong_setting: WrongSetting | None = None  # a setting that should switch the clock on, and does not
    restarting: tuple[str, ...] = ()  # daemons of linuxptp that do not stay up
    missing_tools: tuple[str, ...] = ()  # of linuxptp, by the role's record
    leap_announced: bool = False  # the kernel inserts or deletes a leap second, or has just done so
    error_bound_trouble: str | None = None  # the driver's message that it cannot publish its error bound

    @property
    def versioned_driver(self) -> Driver | None:
        """The first driver of the host that tells its version."""
        return next((driver for driver in self.drivers or () if driver.version), None)

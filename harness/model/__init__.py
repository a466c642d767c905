"""Shared data types of all parts: frozen dataclasses and enums, nothing else.

Absent is None and means "not observed"; it never stands for 0, "no" or a pass. Times are integers of nanoseconds
(`_ns`) or floats of seconds (`_s`) as the name says.
"""

from harness.model.enums import (
    DEFAULT_CLOCK_NAMES,
    DOING,
    Depth,
    HostState,
    Outcome,
    Reason,
    RungName,
    RungStatus,
    Stage,
)
from harness.model.events import Event, Listener
from harness.model.evidence import Claim, Evidence, Finding, Launch, Offer, Placement, Reach, Rung, Verdict
from harness.model.observed import (
    Capture,
    Captures,
    ChronySource,
    Clock,
    Driver,
    DriverWord,
    Facts,
    PhcCounters,
    PhcRead,
    ReadFailure,
    Sample,
    Tracking,
    Unparsed,
    WrongSetting,
)
from harness.model.quality import ClockQuality
from harness.model.records import HostRecord, Machine, Resource, RunRecord, Token

__all__ = [
    "DEFAULT_CLOCK_NAMES",
    "DOING",
    "Capture",
    "Captures",
    "ChronySource",
    "Claim",
    "Clock",
    "ClockQuality",
    "Depth",
    "Driver",
    "DriverWord",
    "Event",
    "Evidence",
    "Facts",
    "Finding",
    "HostRecord",
    "HostState",
    "Launch",
    "Listener",
    "Machine",
    "Offer",
    "Outcome",
    "PhcCounters",
    "PhcRead",
    "Placement",
    "Reach",
    "ReadFailure",
    "Reason",
    "Resource",
    "RunRecord",
    "Rung",
    "RungName",
    "RungStatus",
    "Sample",
    "Stage",
    "Token",
    "Tracking",
    "Unparsed",
    "Verdict",
    "WrongSetting",
]

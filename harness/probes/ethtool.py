"""Parse ethtool's text about an interface: its driver (-i), and the timestamps of its card (-T).

The module `phc_stats` parses statistics (-S).
"""

import re
from dataclasses import dataclass

from harness.errors import ParseError
from harness.probes.numbers import parse_integer


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverInfo:
    """`ethtool -i`. In-tree drivers report the kernel's release as their version: never derive a capability from it."""

    driver: str
    version: str | None
    bus: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timestamping:
    """`ethtool -T`. `clock_index` is N of /dev/ptpN, None when the interface has no clock."""

    capabilities: frozenset[str]
    clock_index: int | None

    @property
    def full_hardware(self) -> bool:
        """Whether ptp4l can use hardware timestamps: transmit, receive, raw clock (linuxptp sk.c, clock.c)."""
        return {"hardware-transmit", "hardware-receive", "hardware-raw-clock"} <= self.capabilities


_FIELD = re.compile(r"([a-z][a-z-]*): ?(.*)")


def parse_driver_info(text: str, where: str) -> DriverInfo:
    """Read `ethtool -i`: lines of `name: value`, of which driver, version and bus-info are kept. Raises ParseError."""
    fields: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _FIELD.fullmatch(line.rstrip())
        if match is None:
            raise ParseError(where, number, line, "a `name: value` line of ethtool -i")
        fields[match[1]] = match[2].strip()
    if not fields.get("driver"):
        raise ParseError(where, text.count("\n") + 1, "", "ethtool -i with a line `driver: name`")
    return DriverInfo(
        driver=fields["driver"], version=fields.get("version") or None, bus=fields.get("bus-info") or None
    )


_CAPABILITY = re.compile(r"\t([a-z-]+)(?:\s+\((?:SOF|HWTSTAMP)_[A-Z0-9_]+\))?")
_CLOCK = re.compile(r"(?:PTP Hardware Clock|Hardware timestamp provider index): (none|[0-9]{1,9})")
_HEADINGS = re.compile(
    r"Time stamping parameters for \S+:"
    r"|Capabilities:"
    r"|Hardware timestamp provider qualifier: .*"
    r"|Hardware (?:Transmit Timestamp Modes|Receive Filter Modes):(?: none)?"
)


def parse_timestamping(text: str, where: str) -> Timestamping:
    """Read `ethtool -T` in its three forms. Raises ParseError.

    The clock is `PTP Hardware Clock: 0`, or `... none`, or (ethtool 6.14 and later on a kernel with several providers)
    `Hardware timestamp provider index: 0`; a text without any of these lines shows nothing about the clock.
    Ignored: the headings, the provider's qualifier, and the modes and filters below their own headings.
    """
    capabilities: set[str] = set()
    index: int | None = None
    seen_clock = below_capabilities = False
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if clock := _CLOCK.fullmatch(line.rstrip()):
            index, seen_clock, below_capabilities = parse_integer(clock[1]), True, False
        elif _HEADINGS.fullmatch(line.rstrip()):
            below_capabilities = line.startswith("Capabilities")
        elif capability := _CAPABILITY.fullmatch(line.rstrip()):
            capabilities |= {capability[1]} if below_capabilities else set()
        else:
            raise ParseError(where, number, line, "a line of ethtool -T")
    if not seen_clock:
        raise ParseError(where, text.count("\n") + 1, "", "ethtool -T with a line about the PTP clock")
    return Timestamping(capabilities=frozenset(capabilities), clock_index=index)

"""Parse the identity of a machine: kernel, distribution, boot, and the ENA functions on its PCI bus."""

import re
from dataclasses import dataclass

from harness.errors import ParseError

_UNAME = re.compile(r"Linux \S+ (\S+) .*")
_PRETTY = re.compile(r"""PRETTY_NAME=(["']?)(.*)\1""")
_ASSIGNMENT = re.compile(r"[A-Z_0-9]+=.*|#.*")
_BOOT_ID = re.compile(r"boot_id ([0-9a-f-]{36})")
_UPTIME = re.compile(r"uptime_s [0-9]+(?:\.[0-9]+)?")
_PCI = re.compile(r"([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) 0x[0-9a-f]{4} 0x[0-9a-f]{4} driver=(\S+) net=(\S+)")
_ADJTIMEX = re.compile(r"state ([0-5]) status (0x[0-9a-f]{4,8})")
_LEAP_STATES = range(1, 5)  # TIME_INS, TIME_DEL, TIME_OOP, TIME_WAIT (adjtimex(2))
_LEAP_BITS = 0x0010 | 0x0020  # STA_INS, STA_DEL
_CONFIG = re.compile(r"CONFIG_\w+=\S+|# CONFIG_\w+ is not set")


@dataclass(frozen=True, slots=True, kw_only=True)
class PciFunction:
    """An ENA PCI function; `driver` and (first) `interface` are None where it has none."""

    address: str
    driver: str | None
    interface: str | None


def parse_kernel(text: str, where: str) -> str:
    """Parse the release in `uname -a`. Raises ParseError."""
    match = _UNAME.fullmatch(text.strip())
    if match is None:
        raise ParseError(where, 1, text, "uname -a of Linux")
    return match[1]


def parse_distribution(text: str, where: str) -> str | None:
    """Parse PRETTY_NAME of /etc/os-release; None without one. Raises ParseError on a line that assigns nothing."""
    name: str | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if match := _PRETTY.fullmatch(line.strip()):
            name = match[2] or None
        elif line.strip() and not _ASSIGNMENT.fullmatch(line.strip()):
            raise ParseError(where, number, line, "an assignment of os-release(5)")
    return name


def parse_boot_id(text: str, where: str) -> str | None:
    """Parse the kernel's boot identifier; the uptime line is ignored. Raises ParseError on any other line."""
    identifier: str | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if match := _BOOT_ID.fullmatch(line.strip()):
            identifier = match[1]
        elif line.strip() and not _UPTIME.fullmatch(line.strip()):
            raise ParseError(where, number, line, "`boot_id ID` or `uptime_s SECONDS`")
    return identifier


def parse_pci_functions(text: str, where: str) -> tuple[PciFunction, ...]:
    """Read `0000:01:00.0 0x1d0f 0xec20 driver=ena net=eth1,eth2` lines; `-` means none. Raises ParseError."""
    functions: list[PciFunction] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _PCI.fullmatch(line.strip())
        if match is None:
            raise ParseError(where, number, line, "a PCI function with driver and interface")
        driver, interface = (None if match[group] == "-" else match[group].split(",")[0] for group in (2, 3))
        functions.append(PciFunction(address=match[1], driver=driver, interface=interface))
    return tuple(functions)


def parse_kernel_has_ptp(text: str, where: str) -> bool | None:
    """Whether the kernel's configuration has CONFIG_PTP_1588_CLOCK; None when it does not say. Raises ParseError."""
    has_ptp: bool | None = None
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped in ("CONFIG_PTP_1588_CLOCK=y", "CONFIG_PTP_1588_CLOCK=m"):
            has_ptp = True
        elif stripped == "# CONFIG_PTP_1588_CLOCK is not set":
            has_ptp = False
        elif stripped and not _CONFIG.fullmatch(stripped):
            raise ParseError(where, number, line, "a line of a kernel configuration")
    return has_ptp


def parse_leap(text: str, where: str) -> bool:
    """Whether a leap second is near, by the state and status of adjtimex(2). Raises ParseError."""
    match = _ADJTIMEX.fullmatch(text.strip())
    if match is None:
        raise ParseError(where, 1, text, "`state NUMBER status NUMBER` of adjtimex")
    return int(match[1]) in _LEAP_STATES or bool(int(match[2], 16) & _LEAP_BITS)

"""Parse the PTP clocks of the kernel and the links to them in /dev, from /sys/class/ptp and `ls -l`."""

import re
from collections.abc import Mapping

from harness.errors import ParseError
from harness.model import Clock
from harness.probes.numbers import parse_integer

_ATTRIBUTE = re.compile(r"/sys/class/ptp/(ptp[0-9]{1,9})/(clock_name|max_adjustment|device) (\S.*)")
_LISTED = re.compile(r"l\S+ .* (ptp[0-9]{1,9}) -> (\S+)")
_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_NOISE = re.compile(
    r"(?:ls|cat): .*: No such file or directory|/sys/class/ptp/:?|total [0-9]+|crw\S+ .* /dev/ptp\S*"
    r"|/sys/class/ptp/\*/clock_name"
)
_LINK = re.compile(r"(/dev/\S+) -> (?:/dev/)?(ptp[0-9]{1,9})")


def parse_clocks(text: str, where: str) -> tuple[Clock, ...]:
    """Read `/sys/class/ptp/ptp0/clock_name ena-ptp-05` lines (also max_adjustment and device; `-` is none), by number.

    `ls -l /sys/class/ptp` lines are understood too. Ignored: their headings, device nodes, and the shell's message
    about a pattern that matched nothing. No lines at all: no clocks. Raises ParseError, also on a clock without a name.
    """
    names: dict[str, str] = {}
    limits: dict[str, int] = {}
    addresses: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if match := _ATTRIBUTE.fullmatch(stripped):
            device, attribute, value = match[1], match[2], match[3].strip()
            if attribute == "clock_name":
                names[device] = value
            elif attribute == "device" and _ADDRESS.fullmatch(value):
                addresses[device] = value
            elif attribute == "max_adjustment" and value != "-":
                limit = parse_integer(value)
                if limit is None:
                    raise ParseError(where, number, line, "a number of parts per billion")
                limits[device] = limit
        elif listed := _LISTED.fullmatch(stripped):
            names.setdefault(listed[1], "")
            if on_path := _ADDRESS.findall(listed[2]):
                addresses[listed[1]] = on_path[-1]
        elif stripped and not _NOISE.fullmatch(stripped):
            raise ParseError(where, number, line, "a line about a clock in /sys/class/ptp")
    for device in (*names, *limits):
        if not names.get(device):
            raise ParseError(where, text.count("\n") + 1, "", f"a clock_name for {device}")
    return tuple(
        Clock(device=device, name=names[device], pci=addresses.get(device), max_adjustment_ppb=limits.get(device))
        for device in sorted(names, key=lambda device: int(device[3:]))
    )


def parse_links(text: str, where: str) -> Mapping[str, str]:
    """Read `/dev/ptp_ena -> ptp0` lines: the link, and the clock that it points to. Raises ParseError."""
    targets: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _LINK.fullmatch(line.strip())
        if match is None:
            raise ParseError(where, number, line, "a link in /dev to a PTP clock")
        targets[match[1]] = match[2]
    return targets

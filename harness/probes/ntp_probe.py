"""Parse the answers of NTP servers to a single query."""

import re
from dataclasses import dataclass

from harness.errors import ParseError

_ANSWER = re.compile(r"(\S+) stratum ([0-9]{1,3}) offset_ns (-?[0-9]{1,19}) delay_ns (-?[0-9]{1,19})")
_SILENCE = re.compile(r"(\S+) error (\S.*)")

LINK_LOCAL = ("169.254.169.123", "fd00:ec2::123")
"""The Amazon Time Sync Service: stratum 1 on a host with the precision service, 3 without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NtpAnswer:
    """The answer of a server. `offset_ns` as written by the probe: positive, the server is ahead."""

    server: str
    stratum: int
    offset_ns: int
    delay_ns: int


def parse(text: str, where: str) -> tuple[NtpAnswer, ...]:
    """Read the answers; `server error TEXT` lines give no answer. Raises ParseError on any other line."""
    answers: list[NtpAnswer] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if match := _ANSWER.fullmatch(stripped):
            stratum, offset_ns, delay_ns = (int(match[group]) for group in (2, 3, 4))
            answers.append(NtpAnswer(server=match[1], stratum=stratum, offset_ns=offset_ns, delay_ns=delay_ns))
        elif stripped and not _SILENCE.fullmatch(stripped):
            raise ParseError(where, number, line, "an NTP server's answer")
    return tuple(answers)


def best_offset_ns(answers: tuple[NtpAnswer, ...]) -> int | None:
    """Compute how far the system clock is ahead of NTP, by the fastest answer; None without answers."""
    fastest = min(answers, key=lambda answer: answer.delay_ns, default=None)
    return -fastest.offset_ns if fastest is not None else None


def link_local_stratum(answers: tuple[NtpAnswer, ...]) -> int | None:
    """Find the stratum of the link-local service; None when it did not answer."""
    return next((answer.stratum for answer in answers if answer.server in LINK_LOCAL), None)

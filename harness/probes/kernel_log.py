"""Find the ENA driver's own messages about its clock, in the kernel log or in its refusal of devlink's request.

The sentences are those of amzn/amzn-drivers 2.8.0 to 2.17.0 and of the drivers in the kernel tree since 6.17
(ena_phc.c, ena_com.c, ena_devlink.c, ena_netdev.c). Those about the feature are logged at
debug level, failures at error level.
"""

import re
from collections.abc import Iterable

from harness.model import DriverWord, ReadFailure

SENTENCES = {
    "PHC is active in the device": DriverWord.ACTIVE,  # since 2.8.3
    "PHC is enabled": DriverWord.ACTIVE,  # 2.8.0 to 2.8.2
    "PHC feature is not supported": DriverWord.NOT_SUPPORTED_BY_DEVICE,  # since 2.8.3 "... by the device"
    "Device doesn't support PHC": DriverWord.NOT_SUPPORTED_BY_DEVICE,  # to devlink
    "PHC feature is not enabled by the kernel": DriverWord.NOT_ENABLED,  # since 2.8.3
    "Failed to query PHC param": DriverWord.NOT_ENABLED,  # devlink's parameter could not be read: the clock stays off
    "Unsupported PHC version": DriverWord.VERSION_UNKNOWN,  # since 2.13.0
    "Unsupprted PHC version": DriverWord.VERSION_UNKNOWN,  # 2.10.0 to 2.12.3
    "Unsupprted PHC type": DriverWord.VERSION_UNKNOWN,  # 2.8.0 to 2.9.1
    "Failed to get PHC feature configuration": DriverWord.REFUSED_BY_DEVICE,
    "Failed to enable PHC": DriverWord.REFUSED_BY_DEVICE,
    "Failed setting PHC output address": DriverWord.NO_MEMORY,
    "Failed to init phc": DriverWord.NO_MEMORY,
    "Failed to alloc phc_info": DriverWord.NO_MEMORY,
    "phc_info is not allocated": DriverWord.NO_MEMORY,  # since 2.8.3
    "Failed registering ptp clock": DriverWord.NOT_REGISTERED,
}
"""The driver's sentences that name a state or a cause."""

SUMMARIES = (
    "Failed to config phc",
    "Failed to register phc",
    "Failed initiating PHC",  # 2.8.0 to 2.15.0
    "Failed initializing PHC",  # since 2.16.0
    "ena_phc_alloc failed",  # since 2.8.3
)
"""Sentences that follow the cause of a failed start and do not name it."""

START_FAILURES = (
    DriverWord.VERSION_UNKNOWN,
    DriverWord.REFUSED_BY_DEVICE,
    DriverWord.NO_MEMORY,
    DriverWord.NOT_REGISTERED,
    DriverWord.START_FAILED,
)
"""The words of a driver that was told to start the clock and could not."""

NO_ERROR_BOUND = "Failed to create phc_error_bound sysfs entry"  # since 2.10.0

_READ_FAILED = re.compile(r"PHC get time request 0x[0-9a-fA-F]+ failed \((?:device error|error 0x([0-9a-fA-F]{1,8}))\)")
_NOT_ACTIVE = re.compile(r"PHC feature is not (?:active in the device|enabled\s*$)")  # the second: 2.8.0 to 2.8.2
_UNKNOWN_PARAMETER = re.compile(r"\bena: unknown parameter '([A-Za-z0-9_]{1,64})' ignored")
_ERROR_BOUND_FLAG = 2  # ENA_ADMIN_PHC_ERROR_FLAG_ERROR_BOUND; 1 is ..._TIMESTAMP (ena_admin_defs.h)


def find_last_word(lines: Iterable[str]) -> tuple[DriverWord, str] | None:
    """Find the last of the driver's sentences about the start of its clock, and its line; None without one.

    A summary does not displace the cause that precedes it. A kernel log is free text: every other line is ignored,
    none can be rejected.
    """
    last: tuple[DriverWord, str] | None = None
    for line in lines:
        for sentence, word in SENTENCES.items():
            if sentence in line:
                last = (word, line.strip())
        has_cause = last is not None and last[0] in START_FAILURES
        if not has_cause and any(sentence in line for sentence in SUMMARIES):
            last = (DriverWord.START_FAILED, line.strip())
    return last


def find_read_failure(lines: Iterable[str]) -> tuple[ReadFailure, str] | None:
    """Find the driver's last message about a reading of its clock that failed (since 2.15.0), and its line."""
    last: tuple[ReadFailure, str] | None = None
    for line in lines:
        if failed := _READ_FAILED.search(line):
            flags = None if failed[1] is None else int(failed[1], 16)
            last = (_explain_flags(flags), line.strip())
        elif _NOT_ACTIVE.search(line):
            last = (ReadFailure.NOT_ACTIVE, line.strip())
    return last


def _explain_flags(flags: int | None) -> ReadFailure:
    if flags is None:
        return ReadFailure.NO_ANSWER
    return ReadFailure.ERROR_BOUND if flags == _ERROR_BOUND_FLAG else ReadFailure.TIMESTAMP


def find_unknown_parameters(lines: Iterable[str]) -> tuple[str, ...]:
    """List the names about which the kernel says that the module ena has no such parameter."""
    return tuple(dict.fromkeys(match[1] for line in lines if (match := _UNKNOWN_PARAMETER.search(line))))

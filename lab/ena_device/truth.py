"""Bound the guest's clock against the device's, without reading the clock, through a page of memory that both share.

The guest runs lab/image/truth.c on an ivshmem page; each side keeps writing its time into its own word and reading the
other's. A time that is read is never newer than the moment of reading, so the least difference in a second bounds the
true difference from one side; each side gives one bound. All times are int64 nanoseconds of UTC.

  python -m ena_device.truth --page FILE --control CTL --seconds N
"""

import argparse
import json
import mmap
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from time import CLOCK_MONOTONIC, clock_gettime_ns

from ena_device.clock import BILLION, ClockSettings, Mode
from ena_device.control import ControlError, ask
from ena_device.phc import now_ns

GUEST_TIME, HOST_TIME, GUEST_LEAST, GUEST_SEEN, GUEST_SECONDS = (
    0,
    8,
    16,
    24,
    32,
)  # int64 words, each in a cache line of its own
PAGE_WORDS = 512
SECOND_NS = 1_000_000_000
_NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of one second: the guest's clock minus the device's; None where that side read no new time."""

    low_ns: int | None  # as measured on the host: minus the least (device minus guest)
    high_ns: int | None  # as measured in the guest: its least (guest minus device), of its last full second
    seen: int  # new times of the guest that the host read
    guest_seen: int  # new times of the host that the guest read


def device_settings(control: str) -> ClockSettings:
    """Read the clock's present settings from the device. Raises ControlError."""
    state = ask(control)
    values = {name: state[name] for name in ClockSettings.__dataclass_fields__}
    return ClockSettings(**{**values, "mode": Mode[state["mode"]]})


def measure(page: "memoryview[int]", control: str, seconds: int) -> Iterator[Bounds]:
    """Exchange times through the page for some seconds, with the clock's bends at the start of each second.

    Raises ControlError.
    """
    page[HOST_TIME] = 0
    guest_seconds = page[GUEST_SECONDS]
    for _ in range(seconds):
        least_ns, host_seen = _exchange(page, device_settings(control), now_ns() + SECOND_NS)
        guest_seen = page[GUEST_SEEN] if page[GUEST_SECONDS] != guest_seconds else 0
        guest_seconds = page[GUEST_SECONDS]
        yield Bounds(
            low_ns=-least_ns if host_seen else None,
            high_ns=page[GUEST_LEAST] if guest_seen else None,
            seen=host_seen,
            guest_seen=guest_seen,
        )


def _exchange(page: "memoryview[int]", clock: ClockSettings, end_ns: int) -> tuple[int, int]:
    """Exchange times until `end_ns`; return the least (device minus guest) and the number of guest times read.

    Each access of a word is one load or store of 8 bytes (memoryview, native format), as the other side requires. The
    arithmetic of ClockSettings.time_at is repeated inline: a time that is written late widens the guest's bound.
    """
    base_ns, mono_ns, ppb = clock.base_utc_ns, clock.base_mono_ns, clock.freq_ppb
    running = 0 if clock.frozen else 1
    least_ns, count, last_guest_ns = _NEVER, 0, page[GUEST_TIME]
    now = now_ns()
    while now < end_ns:
        elapsed_ns = (clock_gettime_ns(CLOCK_MONOTONIC) - mono_ns) * running
        page[HOST_TIME] = base_ns + elapsed_ns + elapsed_ns * ppb // BILLION
        guest_ns = page[GUEST_TIME]
        now = clock_gettime_ns(CLOCK_MONOTONIC)
        if guest_ns != last_guest_ns:
            last_guest_ns, count = guest_ns, count + 1
            elapsed_ns = (now - mono_ns) * running
            least_ns = min(least_ns, base_ns + elapsed_ns + elapsed_ns * ppb // BILLION - guest_ns)
    return least_ns, count


def main() -> int:
    parser = argparse.ArgumentParser(prog="ena_device.truth", description=__doc__.split("\n")[0])
    parser.add_argument("--page", required=True, help="file behind the ivshmem page")
    parser.add_argument("--control", required=True, help="control socket of the device")
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    try:
        fd = os.open(options.page, os.O_RDWR)
        page = mmap.mmap(fd, PAGE_WORDS * 8)
        os.close(fd)
        for bounds in measure(memoryview(page).cast("q"), options.control, options.seconds):
            print(json.dumps({"at": time.time_ns(), **asdict(bounds)}), flush=True)
    except (OSError, ValueError, ControlError) as e:
        print(f"ena_device.truth: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How far is the guest's clock from the device's, without asking the clock? By a page of memory that both sides share.

The guest runs lab/image/truth.c on an ivshmem page; each side writes its time into its own word again and again, and
looks at the other's. A time seen is never newer than the moment of looking, so the least difference in a second bounds
the true one from one side; each side gives one bound. All times are int64 nanoseconds of UTC.

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
    """One second. The guest's clock minus the device's lies within low_ns..high_ns; None: that side saw nothing."""

    low_ns: int | None  # seen here: minus the least (device minus guest)
    high_ns: int | None  # seen in the guest: its least (guest minus device), of its last full second
    seen: int  # new times of the guest seen here
    guest_seen: int  # new times of ours seen there


def device_settings(control: str) -> ClockSettings:
    """The clock as the device keeps it now. Raises ControlError."""
    state = ask(control)
    values = {name: state[name] for name in ClockSettings.__dataclass_fields__}
    return ClockSettings(**{**values, "mode": Mode[state["mode"]]})


def measure(words: "memoryview[int]", control: str, seconds: int) -> Iterator[Bounds]:
    """Exchange times through the page for some seconds, with the clock as it is bent at the start of each.

    Raises ControlError.
    """
    words[HOST_TIME] = 0
    guest_seconds = words[GUEST_SECONDS]
    for _ in range(seconds):
        least_ns, seen = _exchange(words, device_settings(control), now_ns() + SECOND_NS)
        guest_seen = words[GUEST_SEEN] if words[GUEST_SECONDS] != guest_seconds else 0
        guest_seconds = words[GUEST_SECONDS]
        yield Bounds(
            low_ns=-least_ns if seen else None,
            high_ns=words[GUEST_LEAST] if guest_seen else None,
            seen=seen,
            guest_seen=guest_seen,
        )


def _exchange(words: "memoryview[int]", clock: ClockSettings, end_ns: int) -> tuple[int, int]:
    """Until a moment of CLOCK_MONOTONIC: the least (device minus guest), and how many times of the guest were seen.

    Each access of a word is one load or store of 8 bytes (memoryview, native format), as the other side relies on. The
    arithmetic is that of ClockSettings.at, written out: a time that is old when it is written widens the guest's bound.
    """
    base_ns, mono_ns, ppb = clock.base_utc_ns, clock.base_mono_ns, clock.freq_ppb
    running = 0 if clock.frozen else 1
    least_ns, seen, last = _NEVER, 0, words[GUEST_TIME]
    now = now_ns()
    while now < end_ns:
        passed = (clock_gettime_ns(CLOCK_MONOTONIC) - mono_ns) * running
        words[HOST_TIME] = base_ns + passed + passed * ppb // BILLION
        theirs = words[GUEST_TIME]
        now = clock_gettime_ns(CLOCK_MONOTONIC)
        if theirs != last:
            last, seen = theirs, seen + 1
            passed = (now - mono_ns) * running
            least_ns = min(least_ns, base_ns + passed + passed * ppb // BILLION - theirs)
    return least_ns, seen


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

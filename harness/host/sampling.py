"""Fetch samples while a host measures, by following a file, so that a cut connection loses no samples.

The sampler runs detached on the host and writes one JSON line a second; the harness polls for new lines every few
seconds.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from harness.errors import CommandError, FloodError
from harness.host.playbooks import Target
from harness.model import Sample
from harness.probes.samples import SampleReader
from harness.system import proc

POLL_S = 5.0
GRACE_S = 30.0
POLL_DEADLINE_S = 20.0
BYTES_PER_SAMPLE = 4096
BYTES_BESIDE = 1 << 20
"""Maximum bytes of the file beside its samples. (A sample has 1.3 KB, or 4 KB with thirty NTP sources.)"""

_PART = 1 << 20
_LONGEST_END = 500
_READ_PART = 'tail -c "+$1" -- "$2" | head -c "$3"'


def count_expected_samples(duration_s: float, interval_s: float) -> int:
    """Compute the maximum number of samples of the sampler, as sample.py counts its slots."""
    return max(1, round(duration_s / interval_s))


def follow_samples(
    target: Target,
    remote_path: str,
    reader: SampleReader,
    file: BinaryIO,
    *,
    duration_s: float,
    on_sample: Callable[[Sample], None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Read the sampler's lines as they are written, and copy them to `file`, until the closing line.

    Gives up `GRACE_S` after the sampler should have ended; the reader then reports the missing end. `on_sample` gets
    the latest sample of each poll. `pause` may raise to stop early. Raises FloodError when the host sends more bytes
    than the expected samples can have.
    """
    budget = reader.most * BYTES_PER_SAMPLE + BYTES_BESIDE
    offset, give_up_at, complete = 0, time.monotonic() + duration_s + GRACE_S, False
    part = b""
    while not complete and time.monotonic() < give_up_at:
        if len(part) < _PART:
            pause(POLL_S)
        part = _read_part(target, remote_path, skip=offset)
        whole_lines = part[: part.rfind(b"\n") + 1]
        offset += len(whole_lines)
        if offset > budget or (not whole_lines and len(part) >= _PART):
            raise FloodError(["sample.py"], f"sent a line without an end, or more than {budget} bytes in all")
        file.write(whole_lines)
        lines = whole_lines.split(b"\n")[:-1]
        samples = [reader.read_line(line.decode(errors="replace")) for line in lines]
        if latest := [sample for sample in samples if sample is not None]:
            on_sample(latest[-1])
        complete = bool(lines) and is_closing_line(lines[-1])


def is_closing_line(line: bytes) -> bool:
    """Whether a whole line is the sampler's closing line."""
    if len(line) > _LONGEST_END:
        return False
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        return isinstance(record, dict) and record.get("kind") == "end"
    return False


def _read_part(target: Target, remote_path: str, *, skip: int) -> bytes:
    """Read the file after its first `skip` bytes, at most one part; empty while the host cannot be reached."""
    argv = target.command("sh", "-c", _READ_PART, "sh", str(skip + 1), remote_path, str(_PART))
    try:
        return proc.run(argv, timeout_s=POLL_DEADLINE_S, check=False, most_out=2 * _PART).stdout_bytes
    except FloodError:
        raise
    except CommandError:
        return b""

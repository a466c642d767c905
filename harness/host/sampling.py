"""How samples come home while a host measures: by following a file, so that a cut connection loses nothing.

The sampler runs by itself on the host and writes one JSON line a second; we ask for what is new every few seconds.
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

ASK_EVERY_S = 5.0
PATIENCE_S = 30.0
ASK_DEADLINE_S = 20.0
BYTES_PER_SAMPLE = 4096
BYTES_BESIDE = 1 << 20
"""A sample has 1.3 KB, with thirty NTP sources 4: what the file may have at most, beside its first and last line."""

_PART = 1 << 20
_LONGEST_END = 500
_READ_PART = 'tail -c "+$1" -- "$2" | head -c "$3"'


def most_samples(duration_s: float, interval_s: float) -> int:
    """How many samples the sampler takes at most, as sample.py counts its slots."""
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
    """Read all lines that the sampler writes, as they come, and write them to `file`, until its closing one.

    Gives up `PATIENCE_S` after the sampler should have ended: the reader then tells that the end is missing.
    `on_sample` gets the latest of those that came together. `pause` may raise to stop early. Raises FloodError where
    the host sends more than the samples that the reader takes can have.
    """
    budget = reader.most * BYTES_PER_SAMPLE + BYTES_BESIDE
    seen, give_up, complete = 0, time.monotonic() + duration_s + PATIENCE_S, False
    part = b""
    while not complete and time.monotonic() < give_up:
        if len(part) < _PART:
            pause(ASK_EVERY_S)
        part = _ask(target, remote_path, skip=seen)
        whole = part[: part.rfind(b"\n") + 1]
        seen += len(whole)
        if seen > budget or (not whole and len(part) >= _PART):
            raise FloodError(["sample.py"], f"sent a line without an end, or more than {budget} bytes in all")
        file.write(whole)
        lines = whole.split(b"\n")[:-1]
        taken = [reader.take(line.decode(errors="replace")) for line in lines]
        if latest := [sample for sample in taken if sample is not None]:
            on_sample(latest[-1])
        complete = bool(lines) and is_closing_line(lines[-1])


def is_closing_line(line: bytes) -> bool:
    """Whether a whole line is the sampler's closing one."""
    if len(line) > _LONGEST_END:
        return False
    with suppress(ValueError, RecursionError):
        last = json.loads(line)
        return isinstance(last, dict) and last.get("kind") == "end"
    return False


def _ask(target: Target, remote_path: str, *, skip: int) -> bytes:
    """What the file has beyond so many bytes, a part of it at most; nothing where the host cannot be asked now."""
    asked = target.command("sh", "-c", _READ_PART, "sh", str(skip + 1), remote_path, str(_PART))
    try:
        return proc.run(asked, timeout_s=ASK_DEADLINE_S, check=False, most_out=2 * _PART).stdout_bytes
    except FloodError:
        raise
    except CommandError:
        return b""

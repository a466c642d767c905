"""Fetch samples while a host measures, by following files, so that a cut connection loses no samples.

The sampler runs detached on the host and writes one compressed JSON line a second; the harness polls for new lines
every few seconds. After a reboot of the host the sampler goes on in another file.
"""

import json
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from harness.campaign.campaign import Campaign
from harness.errors import CommandError, FloodError
from harness.host import playbooks
from harness.host.playbooks import Target
from harness.model import Machine, Sample
from harness.probes.samples import SampleReader
from harness.system import proc

POLL_S = 5.0
GRACE_S = 30.0
POLL_DEADLINE_S = 20.0
STOP_DEADLINE_S = 60.0
BYTES_PER_SAMPLE = 4096
BYTES_BESIDE = 1 << 20
"""Maximum bytes of the lines beside the samples. (A sample has 1.5 KB, or 4 KB with thirty NTP sources.)"""

_PART, _PIECE = 1 << 20, 256
_LONGEST_END = 500
_GZIP = 31
_ANOTHER, _LATEST = b"another\n", b"latest\n"
_READ_PART = """
file=$2
[ "$4" = 0 ] || file=$2.$4
if [ -e "$2.$(($4 + 1))" ]; then echo another; else echo latest; fi
tail -c "+$1" -- "$file" | head -c "$3"
"""
"""Print whether a file of a later boot exists, then a part of this boot's: in this order, so that it is whole then."""


def count_expected_samples(duration_s: float, interval_s: float) -> int:
    """Compute the maximum number of samples of the sampler, as sample.py counts its slots."""
    return max(1, round(duration_s / interval_s))


def remote_path(slug: str, *, persist: bool) -> str:
    """Where a host keeps its samples: in memory or, where they are to outlive a reboot, on its disk."""
    return f"/var/lib/ptp-harness/{slug}.jsonl.gz" if persist else f"/run/ptp-harness-{slug}.jsonl.gz"


def role_variables(
    machine: Machine, campaign: Campaign, path: str, *, duration_s: float, persist: bool
) -> dict[str, Any]:
    """Build the variables of measure.yml that start the sampler for a time, otherwise as the campaign asks."""
    return playbooks.role_variables(machine) | {
        "clock_facts_clock_name": campaign.clock_names[0],
        "clock_facts_duration_s": duration_s,
        "clock_facts_interval_s": campaign.measure_interval_s,
        "clock_facts_reads": campaign.measure_readings,
        "clock_facts_samples_path": path,
        "clock_facts_persist": persist,
        "clock_facts_wait": False,
    }


def stop_sampler(target: Target, script: Path, path: str) -> None:
    """End the sampler that writes to `path`, by sample_boots.py. Samples that it has written stay.

    Raises CommandError where it does not end.
    """
    argv = target.as_root("python3", "-", "--stop", f"--output={path}")
    proc.run(argv, stdin=script.read_text(), timeout_s=STOP_DEADLINE_S)


def remove_files(target: Target, path: str) -> None:
    """Remove the samples of all boots from a host. A host that cannot be reached keeps them."""
    script = 'rm -f -- "$1" "$1".[0-9]*'
    proc.run(target.as_root("sh", "-c", script, "sh", path), timeout_s=30, check=False)


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
    followed = _FollowedFiles(target, remote_path, budget=reader.most * BYTES_PER_SAMPLE + BYTES_BESIDE)
    give_up_at, complete = time.monotonic() + duration_s + GRACE_S, False
    while not complete and time.monotonic() < give_up_at:
        if not followed.has_more:
            pause(POLL_S)
        lines = followed.poll()
        file.write(b"".join(line + b"\n" for line in lines))
        file.flush()  # for who watches the file grow
        samples = [reader.read_line(line.decode(errors="replace")) for line in lines]
        if followed.lost_lines:
            reader.note_damage(f"{remote_path} of boot {followed.boot}")
        if latest := [sample for sample in samples if sample is not None]:
            on_sample(latest[-1])
        complete = bool(lines) and is_closing_line(lines[-1])


class _FollowedFiles:
    """The sampler's compressed files on a host, one of each boot, read part by part as they grow.

    `has_more`: the next poll needs no pause before it. `lost_lines`: the last poll met a damaged file, or one that ends
    within a line, as a crash leaves it.
    """

    def __init__(self, target: Target, path: str, *, budget: int) -> None:
        self._target, self._path, self._budget, self._left = target, path, budget, budget
        self.boot, self.has_more, self.lost_lines = 0, False, False
        self._begin_file()

    def poll(self) -> list[bytes]:
        """Read the next part; return the whole lines that it completes. Raises FloodError."""
        another, part = self._read_part()
        self._offset += len(part)
        lines = self._inflate_lines(part)
        self.has_more = another or len(part) >= _PART
        self.lost_lines = another and len(part) < _PART and (self._damaged or self._rest != b"")
        if another and len(part) < _PART:
            self.boot += 1
            self._begin_file()
        return lines

    def _begin_file(self) -> None:
        self._offset, self._rest, self._damaged = 0, b"", False
        self._inflate = zlib.decompressobj(_GZIP)

    def _inflate_lines(self, part: bytes) -> list[bytes]:
        lines: list[bytes] = []
        for at in range(0, len(part), _PIECE):
            if self._damaged:
                break
            text = self._inflate_piece(part[at : at + _PIECE])
            self._left -= len(text)
            *whole, self._rest = (self._rest + text).split(b"\n")
            lines += whole
            if self._left < 0 or len(self._rest) > _PART:
                raise FloodError(["sample.py"], f"sent a line without an end, or more than {self._budget} bytes in all")
        return lines

    def _inflate_piece(self, piece: bytes) -> bytes:
        """Inflate a piece, of a damaged file up to the damage. What a piece inflates to is at most 0.3 MB."""
        before = self._inflate.copy()
        try:
            return self._inflate.decompress(piece)
        except zlib.error:
            self._damaged = True
        text = b""
        with suppress(zlib.error):
            for at in range(len(piece)):
                text += before.decompress(piece[at : at + 1])
        return text

    def _read_part(self) -> tuple[bool, bytes]:
        """Whether a later boot has a file, and the next part of this one; empty while the host cannot be reached."""
        skipped = str(self._offset + 1)
        argv = self._target.command("sh", "-c", _READ_PART, "sh", skipped, self._path, str(_PART), str(self.boot))
        try:
            out = proc.run(argv, timeout_s=POLL_DEADLINE_S, check=False, most_out=2 * _PART).stdout_bytes
        except FloodError:
            raise
        except CommandError:
            return False, b""
        if out.startswith(_ANOTHER):
            return True, out.removeprefix(_ANOTHER)
        return False, out.removeprefix(_LATEST) if out.startswith(_LATEST) else b""


def is_closing_line(line: bytes) -> bool:
    """Whether a whole line is the sampler's closing line."""
    if len(line) > _LONGEST_END:
        return False
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        return isinstance(record, dict) and record.get("kind") == "end"
    return False

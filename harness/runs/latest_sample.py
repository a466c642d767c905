"""Read the latest sample of a host that is measured on this machine, without what was sampled before it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from harness.analysis import sample_values
from harness.model import Sample
from harness.probes.samples import MOST_SAMPLES, SampleReader
from harness.store.evidence_folder import partial_path
from harness.store.growing_samples import find_newest_file

_END_BYTES = 1 << 18
"""The end of a file of samples has more than one sample, unless a host sent a very long one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestSample:
    """A host's latest sample: its slot, the offset of its system clock from the PHC, and chrony's bound, in ns.

    None: not observed. `part`: that of the evidence, "disturbed" or "rebooted".
    """

    slot: int
    part: str | None
    offset_ns: int | None
    bound_ns: int | None


def read_latest_sample(folder: Path) -> LatestSample | None:
    """Read the latest whole sample in the folder of a host's evidence; None without one."""
    file = find_newest_file(folder)
    if file is None:
        return None
    end = _read_end(partial_path(file.path)) or _read_end(file.path)
    reader = SampleReader(file.path.name, most=MOST_SAMPLES)
    for line in reversed(end.split(b"\n")[:-1]):
        sample = reader.read_line(line.decode(errors="replace"))
        if sample is not None:
            return _sum_up(sample, file.part)
    return None


def _sum_up(sample: Sample, part: str | None) -> LatestSample:
    return LatestSample(
        slot=sample.slot,
        part=part,
        offset_ns=sample_values.phc_offset(sample),
        bound_ns=sample_values.error_bound(sample) or sample_values.chrony_bound(sample),
    )


def _read_end(path: Path) -> bytes:
    """Read the end of a regular file; empty where there is none."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if S_ISREG(status.st_mode):
                return os.pread(descriptor, _END_BYTES, max(0, status.st_size - _END_BYTES))
        finally:
            os.close(descriptor)
    return b""

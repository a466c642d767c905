"""What was seen second by second? The sampler's JSON lines in, samples out."""

import json
from typing import Any

from harness.errors import ParseError
from harness.model import PhcCounters, Sample, Unparsed
from harness.probes import chronyc, error_bound, phc_reads, phc_stats
from harness.probes.reading import Notes, capture

_LINE = "a JSON line of sample.py"


def read(text: str, *, where: str) -> tuple[tuple[Sample, ...], tuple[Unparsed, ...], bool]:
    """Samples in the order of their lines, what was not understood, and whether the file is complete.

    Complete: its closing line is there and counts as many samples as the last one's number says. A part of a sample
    that was not understood is None in it; a line that was not understood gives no sample, which leaves a gap in `seq`.
    """
    notes = Notes(where)
    samples: list[Sample] = []
    closing: int | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = _record(line)
            if record["kind"] == "sample":
                sample = _sample(record, notes, number)
                if samples and sample.seq <= samples[-1].seq:
                    raise ValueError("numbers grow")
                samples.append(sample)
            elif record["kind"] == "end":
                closing = _whole(record["samples"])
            elif record["kind"] != "start":
                raise ValueError("unknown kind")
        except (ValueError, KeyError, TypeError, RecursionError):
            notes.refuse(ParseError(where, number, line, _LINE))
    last = samples[-1].seq + 1 if samples else 0
    return tuple(samples), notes.unparsed, closing is not None and closing == last


def in_short(line: str) -> str:
    """One line of the sampler for people who watch: what chronyd follows, how far off, how sure."""
    samples, _unparsed, _complete = read(line, where="sample")
    if not samples:
        return ""
    sample = samples[0]
    selected = next((source.name for source in sample.sources or () if source.state == "*"), None)
    words = [f"{selected} selected" if selected else "nothing selected"]
    if sample.tracking is not None:
        words.append(f"offset {sample.tracking.last_offset_ns:+} ns")
    if sample.reads is not None:
        words.append(
            f"{len(sample.reads)} readings" + (f", {sample.read_errors} refused" if sample.read_errors else "")
        )
    return ", ".join(words)


def _record(line: str) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("not an object")
    return record


def _sample(record: dict[str, Any], notes: Notes, number: int) -> Sample:
    chrony = _chronyc(record.get("chronyc"), notes, number)
    burst = phc_reads.burst(record.get("phc"))
    return Sample(
        seq=_whole(record["seq"]),
        mono_ns=_whole(record["mono_ns"]),
        utc_ns=_whole(record["utc_ns"]),
        tracking=chrony.tracking if chrony else None,
        sources=chrony.sources if chrony and chrony.tracking else None,
        reads=burst.reads if burst else None,
        read_errors=burst.errors if burst else None,
        error_bound_ns=_error_bound(record.get("error_bound"), notes, number),
        counters=_counters(record.get("stats"), notes, number),
    )


def _chronyc(value: object, notes: Notes, number: int) -> chronyc.Chronyc | None:
    if value is None:
        return None
    said = capture(value)
    return notes.read(chronyc.parse, said.out if said.rc == 0 else None, f"{number}:chronyc")


def _error_bound(value: object, notes: Notes, number: int) -> int | None:
    if value is None:
        return None
    bound = notes.read(error_bound.parse, capture(value), f"{number}:error_bound")
    return bound.value_ns if bound else None


def _counters(value: object, notes: Notes, number: int) -> PhcCounters | None:
    if value is None:
        return None
    said = capture(value)
    return notes.read(phc_stats.parse, said.out if said.rc == 0 else None, f"{number}:stats")


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError("not a whole number")
    return value

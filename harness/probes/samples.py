"""Parse the sampler's JSON lines into samples, one for each second."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from harness import units
from harness.model import PhcCounters, Sample, Unparsed
from harness.model.sample_table import SampleTable
from harness.probes import chronyc, error_bound, phc_reads, phc_stats
from harness.probes.reading import LONGEST_LINE, LONGEST_SAMPLE, ParseNotes, json_object, parse_capture

MOST_SAMPLES = 1_000_000
MOST_SOURCES = 64
MOST_READS = 100
"""Default bound of samples in one file; bounds of sources and readings in one sample."""

SAMPLES_DEFINITION = 1
"""The version of this parser. Raise it when the same lines give other samples: stored columns are then parsed anew."""

_LINE = "a JSON line of sample.py"
_BOOTS_SINCE = 3  # the format version
_LONGEST_INTERVAL_S = 86_400 * 366


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """A boot of the host in which the sampler ran: its first slot, and clocks of the host when that slot began."""

    boot_id: str
    slot: int
    mono_ns: int
    raw_ns: int
    interval_ns: int

    def slot_of(self, mono_ns: int) -> int:
        """Compute the slot of a moment of this boot's CLOCK_MONOTONIC."""
        return self.slot + (mono_ns - self.mono_ns) // self.interval_ns


class SampleReader:
    """Reads the sampler's lines one by one, as they arrive, so that their text need not be stored.

    The samples of all boots are one series: where the sampler went on after a reboot, CLOCK_MONOTONIC and
    CLOCK_MONOTONIC_RAW, which then began anew, are continued by the slots.

    A part of a sample that was not understood is None in it; a line that was not understood gives no sample, which
    leaves a gap in `slot`, and so does a sample that was stalled ("late"). Slots beyond `most`, the
    number requested, are refused: from the slot of a sample follows how many are missing before it.

    Samplers of format version 1 count samples instead of slots (`seq`), so that missed slots cannot be seen.
    """

    def __init__(self, where: str, *, most: int = MOST_SAMPLES) -> None:
        self.most = most
        self._notes, self._number = ParseNotes(where), 0
        self._samples = SampleTable()
        self._last_slot = -1
        self._slots: int | None = None
        self._boots: list[Boot] = []
        self.damaged = False  # whether lines were lost on the way, so that their file shows no sign of them

    @property
    def boots(self) -> tuple[Boot, ...]:
        """The boots of the host in which the sampler ran; none in files before format version 3."""
        return tuple(self._boots)

    @property
    def samples(self) -> SampleTable:
        """The samples in the order of their lines. The table grows with each further line."""
        return self._samples

    @property
    def unparsed(self) -> tuple[Unparsed, ...]:
        return self._notes.unparsed

    @property
    def slots(self) -> int | None:
        """The number of slots that the sampler went through, by its closing line; None: that line was not read.

        In format version 1 the closing line counts the samples, and must agree with the number of the last one.
        """
        return self._slots

    def read_line(self, line: str) -> Sample | None:
        """Parse the next line. Return its sample; None for start, end, empty and unparsable lines."""
        self._number += 1
        if not line.strip():
            return None
        try:
            if len(line) > LONGEST_SAMPLE:
                raise ValueError("too long")
            record = json_object(line)
            if record["kind"] == "sample":
                return self._add_sample(record)
            if record["kind"] == "late":
                self._pass_slot(_parse_slot(record))
            elif record["kind"] == "end":
                self._close(record)
            elif record["kind"] == "start":
                self._add_boot(record)
            elif record["kind"] != "pause":
                raise ValueError("unknown kind")
        except (ValueError, KeyError, TypeError, RecursionError):
            self._notes.refuse_line(self._number, line[:LONGEST_LINE], _LINE)
        return None

    def note_damage(self, where: str) -> None:
        """Note that lines were lost in a damaged file."""
        self.damaged = True
        self._notes.refuse_line(self._number + 1, where, "a whole compressed file")

    def _add_boot(self, record: dict[str, Any]) -> None:
        """Note a boot. Raises ValueError, KeyError where its beginning is not understood."""
        if record.get("schema", 1) < _BOOTS_SINCE:
            return
        slot, interval_s = _parse_whole(record["slot"]), record["interval_s"]
        if not 0 < interval_s <= _LONGEST_INTERVAL_S or slot <= self._last_slot or slot > self.most:
            raise ValueError("a boot begins after the slots before it")
        boot = Boot(
            boot_id=str(record["boot_id"]),
            slot=slot,
            mono_ns=_parse_whole(record["mono_ns"]),
            raw_ns=_parse_whole(record["raw_ns"]),
            interval_ns=round(interval_s * 1e9),
        )
        if boot.interval_ns < 1:
            raise ValueError("an interval lasts at least a nanosecond")
        self._boots.append(boot)

    def _add_sample(self, record: dict[str, Any]) -> Sample:
        sample = _parse_sample(record, self._notes, self._number)
        if len(self._boots) > 1:
            sample = _continue_clocks(sample, self._boots[0], len(self._boots) - 1, self._boots[-1])
        self._pass_slot(sample.slot)
        self._samples.append(sample)
        return sample

    def _pass_slot(self, slot: int) -> None:
        if slot <= self._last_slot:
            raise ValueError("slots grow")
        if slot >= self.most:
            raise ValueError("more slots than were asked for")
        self._last_slot = slot

    def _close(self, record: dict[str, Any]) -> None:
        samples, passed = _parse_whole(record["samples"]), self._last_slot + 1
        if "slots" not in record:
            self._slots = samples if samples == passed else None
            return
        slots = _parse_whole(record["slots"])
        if not passed <= slots <= self.most:
            raise ValueError("fewer slots than have passed, or more than were asked for")
        self._slots = slots


def read_samples(
    text: str, *, where: str, most: int = MOST_SAMPLES
) -> tuple[SampleTable, tuple[Unparsed, ...], int | None]:
    """Parse the samples in the order of their lines, list refused lines, and count the slots (None: not complete)."""
    reader = SampleReader(where, most=most)
    for line in text.split("\n"):
        reader.read_line(line)
    return reader.samples, reader.unparsed, reader.slots


def describe_sample(sample: Sample) -> str:
    """Describe a sample for progress output: the selected source, the offset, and refused readings if there are any."""
    selected = next((source.name for source in sample.sources or () if source.state == "*"), None)
    phrases = [f"{selected} selected" if selected else "nothing selected"]
    if sample.tracking is not None:
        phrases.append(f"offset {units.signed_ns(sample.tracking.last_offset_ns)}")
    if sample.read_errors:
        phrases.append(f"{sample.read_errors} readings refused")
    return ", ".join(phrases)


def _parse_sample(record: dict[str, Any], notes: ParseNotes, number: int) -> Sample:
    chrony = _parse_chronyc(record.get("chronyc"), notes, number)
    burst = phc_reads.parse_burst(record.get("phc"))
    if burst is not None and len(burst.reads) > MOST_READS:
        raise ValueError("more readings than are asked for")
    if chrony is not None and len(chrony.sources) > MOST_SOURCES:
        raise ValueError("more sources than can be kept")
    return Sample(
        slot=_parse_slot(record),
        mono_ns=_parse_whole(record["mono_ns"]),
        utc_ns=_parse_whole(record["utc_ns"]),
        tracking=chrony.tracking if chrony else None,
        sources=chrony.sources if chrony and chrony.tracking else None,
        reads=burst.reads if burst else None,
        read_errors=burst.errors if burst else None,
        error_bound_ns=_parse_error_bound(record.get("error_bound"), notes, number),
        counters=_parse_counters(record.get("stats"), notes, number),
        raw_ns=None if record.get("raw_ns") is None else _parse_whole(record["raw_ns"]),
        cpu_ns=None if record.get("cpu_ns") is None else _parse_whole(record["cpu_ns"]),
    )


_parse_chronyc_text = partial(chronyc.parse, statistics_kept=False)


def _continue_clocks(sample: Sample, first: Boot, number: int, boot: Boot) -> Sample:
    """Count the clocks that began anew with a boot on from the first boot, by the slots."""
    passed_ns = (boot.slot - first.slot) * boot.interval_ns
    mono_ns = _parse_whole(sample.mono_ns - boot.mono_ns + first.mono_ns + passed_ns)
    raw_ns = None if sample.raw_ns is None else _parse_whole(sample.raw_ns - boot.raw_ns + first.raw_ns + passed_ns)
    return replace(sample, boot=number, mono_ns=mono_ns, raw_ns=raw_ns)


def _parse_chronyc(value: object, notes: ParseNotes, number: int) -> chronyc.Chronyc | None:
    if value is None:
        return None
    capture = parse_capture(value)
    return notes.read(_parse_chronyc_text, capture.out if capture.rc == 0 else None, f"{number}:chronyc")


def _parse_error_bound(value: object, notes: ParseNotes, number: int) -> int | None:
    if value is None:
        return None
    bound = notes.read(error_bound.parse, parse_capture(value), f"{number}:error_bound")
    return bound.value_ns if bound else None


def _parse_counters(value: object, notes: ParseNotes, number: int) -> PhcCounters | None:
    if value is None:
        return None
    capture = parse_capture(value)
    return notes.read(phc_stats.parse, capture.out if capture.rc == 0 else None, f"{number}:stats")


def _parse_slot(record: dict[str, Any]) -> int:
    return _parse_whole(record["slot"] if "slot" in record else record["seq"])


def _parse_whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:  # a flag is no number
        raise ValueError("not a whole number")
    return value

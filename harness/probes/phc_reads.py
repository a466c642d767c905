"""Parse a burst of readings by PTP_SYS_OFFSET_EXTENDED."""

from dataclasses import dataclass

from harness.model import PhcRead

_END_NS = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class PhcBurst:
    """The successful readings in order, and the number of refused ones. A device that did not open is one refusal."""

    reads: tuple[PhcRead, ...]
    errors: int


def parse_burst(value: object) -> PhcBurst | None:
    """Read `{"reads": [[before, phc, after]], "errors": {"EBUSY": 1}}` or `{"rc": 16, "err": "..."}`; null is None.

    Raises ValueError on anything else.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("a burst is an object")
    if "reads" not in value:
        if not isinstance(value.get("rc"), int) or value["rc"] == 0:
            raise ValueError("neither readings nor a refusal")
        return PhcBurst(reads=(), errors=1)
    reads, errors = value["reads"], value.get("errors", {})
    if not isinstance(reads, list) or not isinstance(errors, dict):
        raise ValueError("reads is a list and errors an object")
    return PhcBurst(
        reads=tuple(_parse_read(read) for read in reads), errors=sum(_parse_count(count) for count in errors.values())
    )


def _parse_read(value: object) -> PhcRead:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("a reading has three times")
    before_ns, phc_ns, after_ns = value
    if not type(before_ns) is type(phc_ns) is type(after_ns) is int:  # a flag is no number
        raise ValueError("a time is a whole number of nanoseconds")
    if not (-_END_NS < before_ns < _END_NS and -_END_NS < phc_ns < _END_NS and -_END_NS < after_ns < _END_NS):
        raise ValueError("a time has 64 bits")
    if after_ns < before_ns:
        raise ValueError("a reading ends after it began")
    return PhcRead(before_ns=before_ns, phc_ns=phc_ns, after_ns=after_ns)


def _parse_count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError("a count is a whole number")
    return value

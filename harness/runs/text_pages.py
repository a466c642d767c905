"""Read a text file of evidence part by part, from its end upwards: its first screen does not wait for the whole."""

from dataclasses import dataclass
from pathlib import Path

PART_BYTES = 64 << 10
_LEAST_TEXT = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """A part of a file, from the byte `begin` to before `end` of `size`; whole lines where they are not very long."""

    text: str
    begin: int
    end: int
    size: int


def read_part(path: Path, *, before: int | None = None, after: int | None = None) -> TextPart | None:
    """Read the part that ends at the byte `before`, or begins at `after`; without both, the last one.

    None for a file that is no text. Raises OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if after is not None:
            begin = min(max(after, 0), size)
            end = min(begin + PART_BYTES, size)
        else:
            end = min(size if before is None else max(before, 0), size)
            begin = max(0, end - PART_BYTES)
        file.seek(begin)
        data = file.read(end - begin)
    if not _is_text(data):
        return None
    if after is None and begin > 0:
        cut = data.find(b"\n") + 1
        begin, data = begin + cut, data[cut:]
    elif after is not None and end < size:
        cut = data.rfind(b"\n") + 1 or len(data)
        end, data = begin + cut, data[:cut]
    return TextPart(text=data.decode(errors="replace"), begin=begin, end=end, size=size)


def _is_text(data: bytes) -> bool:
    """Whether bytes look like text. A part may begin or end within a character."""
    if b"\0" in data:
        return False
    decoded = data.decode(errors="replace")
    return decoded.count("\N{REPLACEMENT CHARACTER}") <= (1 - _LEAST_TEXT) * max(1, len(decoded)) + 8

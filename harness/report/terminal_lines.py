"""Make lines for a terminal of pieces of text with a style: none is wider than the terminal, or steers it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


class Style(Enum):
    """The meaning of a piece of text, with its colour as parameters of SGR (ECMA-48, 8.3.117); "" is no colour."""

    PLAIN = ""
    FAINT = "2"
    OFFSET = "36"
    BOUND = "32"
    ALERT = "1;31"


@dataclass(frozen=True, slots=True)
class Piece:
    """Text in one style, each character of which takes one column."""

    text: str
    style: Style = Style.PLAIN


Line = tuple[Piece, ...]


def plain_name(text: str, most: int = 40) -> str:
    """Write a host's text in ASCII, with escapes for all else: other characters may take two columns, or none.

    At most `most` characters, but two dots where it was cut.
    """
    escaped = text[: most + 1].encode("ascii", "backslashreplace").decode()
    shown = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in escaped)
    return shown if len(shown) <= most else f"{shown[: max(0, most - 2)]}.."


def clip_line(line: Line, width: int) -> Line:
    """Cut a line to so many columns."""
    pieces: list[Piece] = []
    for piece in line:
        text = piece.text[:width]
        width -= len(text)
        if text:
            pieces.append(Piece(text, piece.style))
    return tuple(pieces)


def pack_parts(parts: Iterable[Piece], width: int, gap: str = "   ") -> list[Line]:
    """Put parts into as few lines as their order allows; a part wider than a line is cut."""
    lines: list[list[Piece]] = [[]]
    for part in parts:
        used = sum(len(piece.text) for piece in lines[-1])
        if used and used + len(gap) + len(part.text) > width:
            lines.append([])
        lines[-1] += [Piece(gap), part] if lines[-1] else [part]
    return [clip_line(tuple(line), width) for line in lines if line]


def format_lines(lines: Sequence[Line], *, colour: bool) -> list[str]:
    """Write lines, with control codes for the styles if `colour`."""
    return ["".join(_format_piece(piece, colour) for piece in line).rstrip() for line in lines]


def _format_piece(piece: Piece, colour: bool) -> str:
    if not colour or not piece.style.value or not piece.text.strip():
        return piece.text
    return f"\x1b[{piece.style.value}m{piece.text}\x1b[0m"

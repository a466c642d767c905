"""Run parsers; record the lines that they refuse and return None, which means "not observed".

All text of a host passes here before any parser. Text longer than an honest tool would write is refused unread.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from harness.errors import ParseError
from harness.model import Capture, Unparsed
from harness.untrusted.plain_text import clip, well_formed

S = TypeVar("S")
T = TypeVar("T")

LONGEST_LINE = 4096
LONGEST_TEXT = 1 << 20
LONGEST_RECORD = 1 << 18
LONGEST_COLLECTION = 1 << 22
LONGEST_SAMPLE = 1 << 14
"""Bounds in characters, in this order: a line of a tool's text, the whole text, a role's record, the output of
collect.py, and a sample. The last three are one line of JSON each."""

MOST_REFUSED = 100
"""Most refused lines of one file that are stored; further refused lines are only counted."""


class ParseNotes:
    """Runs parsers over one text and collects the lines that they refused."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._unparsed: list[Unparsed] = []
        self._more = 0

    @property
    def unparsed(self) -> tuple[Unparsed, ...]:
        """The first lines that were refused; the last of them holds the number of further ones."""
        if not self._more:
            return tuple(self._unparsed)
        return (*self._unparsed[:-1], replace(self._unparsed[-1], more=self._more))

    def read(
        self, parse: Callable[[S, str], T], source: S | None, part: str, *, longest_line: int = LONGEST_LINE
    ) -> T | None:
        """Parse a text or capture. None when the parser refuses it, or when there is none."""
        if source is None:
            return None
        where = f"{self.where}:{part}"
        try:
            for text in (source.out, source.err) if isinstance(source, Capture) else (source,):
                if isinstance(text, str):
                    _check_size(text, where, longest_line)
            return parse(source, where)
        except ParseError as error:
            self.refuse(error)
            return None

    def refuse_line(self, number: int, line: str, expected: str) -> None:
        """Note a line of the text itself that is not understood. After the first lines the rest is only counted."""
        if len(self._unparsed) >= MOST_REFUSED:
            self._more += 1
        else:
            self.refuse(ParseError(self.where, number, line, expected))

    def refuse(self, error: ParseError) -> None:
        """Note a line that no parser understood."""
        if len(self._unparsed) >= MOST_REFUSED:
            self._more += 1
            return
        line = clip(well_formed(error.line))
        self._unparsed.append(
            Unparsed(where=error.where, line_number=error.line_number, line=line, expected=error.expected)
        )


def _check_size(text: str, where: str, longest_line: int) -> None:
    """Check that no text or line is longer than an honest tool would write. Raises ParseError."""
    if len(text) > (longest := max(LONGEST_TEXT, longest_line)):
        raise ParseError(where, 1, clip(text), f"a text of at most {longest} characters")
    if len(text) <= longest_line:
        return
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > longest_line:
            raise ParseError(where, number, clip(line), f"a line of at most {longest_line} characters")


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object; its texts become well formed. Raises ValueError, also on other JSON, and RecursionError."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value if "\\u" not in text else _well_formed(value)


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    if isinstance(value, dict):
        return {well_formed(name): _well_formed(item) for name, item in value.items()}
    return value


def parse_capture(value: object) -> Capture:
    """Parse a capture of collect.py. Raises ValueError on any other value."""
    if not isinstance(value, dict):
        raise ValueError("a capture is an object")
    command, rc, out, err = value.get("command"), value.get("rc"), value.get("out"), value.get("err")
    if isinstance(rc, bool) or not (rc is None or isinstance(rc, int)):
        raise ValueError("rc is a number or null")
    if not isinstance(out, str | None) or not isinstance(err, str | None):
        raise ValueError("out and err are text")
    return Capture(command=str(command or ""), rc=rc, out=out or "", err=err or "")


def output_of(captures: Mapping[str, Capture], name: str) -> str | None:
    """Return the output of a command; None when it was not run or did not succeed."""
    capture = captures.get(name)
    return capture.out if capture is not None and capture.rc == 0 else None

"""How does a parser's refusal become "not observed"? By being noted, and giving None."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from harness.errors import ParseError
from harness.model import Capture, Unparsed

S = TypeVar("S")
T = TypeVar("T")


class Notes:
    """Runs parsers over one text and collects the lines that they refused."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._unparsed: list[Unparsed] = []

    @property
    def unparsed(self) -> tuple[Unparsed, ...]:
        return tuple(self._unparsed)

    def read(self, parse: Callable[[S, str], T], said: S | None, part: str) -> T | None:
        """What `parse` reads in what was said, None when it refuses or when nothing was said."""
        if said is None:
            return None
        try:
            return parse(said, f"{self.where}:{part}")
        except ParseError as error:
            self.refuse(error)
            return None

    def refuse(self, error: ParseError) -> None:
        """Note a line that no parser understood."""
        self._unparsed.append(
            Unparsed(where=error.where, line_number=error.line_number, line=error.line[:500], expected=error.expected)
        )


def capture(value: object) -> Capture:
    """One capture of collect.py. Raises ValueError when it is not one."""
    if not isinstance(value, dict):
        raise ValueError("a capture is an object")
    command, rc, out, err = (value.get(name) for name in ("command", "rc", "out", "err"))
    if isinstance(rc, bool) or not (rc is None or isinstance(rc, int)):
        raise ValueError("rc is a number or null")
    if not isinstance(out, str | None) or not isinstance(err, str | None):
        raise ValueError("out and err are text")
    return Capture(command=str(command or ""), rc=rc, out=out or "", err=err or "")


def said(captures: Mapping[str, Capture], name: str) -> str | None:
    """What a command printed, None when it was not run or did not succeed."""
    found = captures.get(name)
    return found.out if found is not None and found.rc == 0 else None

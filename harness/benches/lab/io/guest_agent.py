"""How do we speak to the agent inside a guest? The other end of lab/agent/agent.py.

Whoever is root in a guest may answer in its agent's place: a reply of the wrong kind is a CommandError like any other.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.benches.lab.io.json_lines import JsonLines
from harness.errors import CommandError
from harness.untrusted.plain_text import clip, well_formed

_MOST_CHARACTERS = 2000
"""Of a guest's words: as many as its agent sends of a script's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptResult:
    """What became of a script: its exit status, and the end of what it printed."""

    status: int
    out: str


class GuestAgent:
    """Requests to one guest, one at a time."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines

    def ask(self, request: str, *, deadline_s: float, **words: Any) -> dict[str, Any]:
        """The agent's reply. Raises CommandError with its words when it could not do it, or past the deadline."""
        begun = time.monotonic()
        self._lines.send({"do": request, **words})
        reply = self._lines.receive(deadline_s=deadline_s)
        if reply.get("ok") is not True:
            raise _refused(request, _words(reply.get("error", reply)), time.monotonic() - begun)
        return reply

    def shell(self, script: str, *, deadline_s: float) -> ScriptResult:
        """Run a script by root's shell in the guest, whatever its status."""
        reply = self.ask("shell", deadline_s=deadline_s, script=script)
        status, out = reply.get("status"), reply.get("out")
        if type(status) is not int or not isinstance(out, str):
            raise _refused("shell", f"a reply of another kind: {_words(reply)}", 0)
        return ScriptResult(status=status, out=_words(out))

    def exists(self, pattern: str, *, deadline_s: float) -> bool:
        """Whether a path of that pattern is there."""
        found = self.ask("exists", deadline_s=deadline_s, pattern=pattern).get("found")
        if not isinstance(found, bool):
            raise _refused("exists", f"neither yes nor no: {_words(found)}", 0)
        return found


@contextmanager
def connected(path: Path, *, deadline_s: float = 10.0) -> Iterator[GuestAgent]:
    """A connection to the guest's port. The agent may start to listen later: it then finds the request waiting."""
    lines = JsonLines(path, deadline_s=deadline_s)
    try:
        yield GuestAgent(lines)
    finally:
        lines.close()


def _words(said: object) -> str:
    return clip(well_formed(said if isinstance(said, str) else repr(said)), _MOST_CHARACTERS)


def _refused(request: str, words: str, after_s: float) -> CommandError:
    return CommandError(["lab-agent", request], 1, "", words, after_s=after_s)

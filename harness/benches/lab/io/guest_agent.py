"""Send requests to the agent inside a guest (lab/agent/agent.py).

Root in a guest can reply in place of the agent, so a malformed reply raises a CommandError like any other failure.
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
"""Limit for a guest's text: the length to which the agent cuts a script's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptResult:
    """The result of a script: its exit status, and the end of its output."""

    status: int
    out: str


class GuestAgent:
    """A connection to the agent of one guest, for one request at a time."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines

    def ask(self, request: str, *, deadline_s: float, **fields: Any) -> dict[str, Any]:
        """Send a request and return the reply. Raises CommandError with the agent's error, or after the deadline."""
        begun_s = time.monotonic()
        self._lines.send({"do": request, **fields})
        reply = self._lines.receive(deadline_s=deadline_s)
        if reply.get("ok") is not True:
            raise _make_error(request, _clip_text(reply.get("error", reply)), time.monotonic() - begun_s)
        return reply

    def shell(self, script: str, *, deadline_s: float) -> ScriptResult:
        """Run a script by root's shell in the guest. A non-zero exit status raises nothing."""
        reply = self.ask("shell", deadline_s=deadline_s, script=script)
        status, out = reply.get("status"), reply.get("out")
        if type(status) is not int or not isinstance(out, str):
            raise _make_error("shell", f"a reply of another kind: {_clip_text(reply)}", 0)
        return ScriptResult(status=status, out=_clip_text(out))

    def exists(self, pattern: str, *, deadline_s: float) -> bool:
        """Tell whether a path in the guest matches the pattern."""
        exists = self.ask("exists", deadline_s=deadline_s, pattern=pattern).get("found")
        if not isinstance(exists, bool):
            raise _make_error("exists", f"neither yes nor no: {_clip_text(exists)}", 0)
        return exists


@contextmanager
def connect(path: Path, *, deadline_s: float = 10.0) -> Iterator[GuestAgent]:
    """Connect to the guest's port. An agent that starts later finds the request waiting."""
    lines = JsonLines(path, deadline_s=deadline_s)
    try:
        yield GuestAgent(lines)
    finally:
        lines.close()


def _clip_text(value: object) -> str:
    return clip(well_formed(value if isinstance(value, str) else repr(value)), _MOST_CHARACTERS)


def _make_error(request: str, message: str, after_s: float) -> CommandError:
    return CommandError(["lab-agent", request], 1, "", message, after_s=after_s)

"""How do we speak to the agent inside a guest? The other end of lab/agent/agent.py."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.benches.lab.lines import JsonLines
from harness.errors import CommandError


class Agent:
    """Requests to one guest, one at a time."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines

    def ask(self, request: str, *, deadline_s: float, **words: Any) -> dict[str, Any]:
        """The agent's reply. Raises CommandError with its words when it could not do it, or past the deadline."""
        begun = time.monotonic()
        self._lines.send({"do": request, **words})
        reply = self._lines.receive(deadline_s=deadline_s)
        if reply.get("ok") is not True:
            words_of_guest = str(reply.get("error", reply))
            raise CommandError(["lab-agent", request], 1, "", words_of_guest, after_s=time.monotonic() - begun)
        return reply


@contextmanager
def connected(path: Path, *, deadline_s: float = 10.0) -> Iterator[Agent]:
    """A connection to the guest's port. The agent may start to listen later: it then finds the request waiting."""
    lines = JsonLines(path, deadline_s=deadline_s)
    try:
        yield Agent(lines)
    finally:
        lines.close()

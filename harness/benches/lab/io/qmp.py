"""How is a running QEMU told what to do? Its QMP socket (docs/interop/qmp-spec in QEMU's source)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.benches.lab.io.json_lines import JsonLines
from harness.errors import CommandError

_ANSWER_DEADLINE_S = 30.0
_POLL_S = 0.02


class Qmp:
    """A QMP session, capabilities negotiated."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        self._lines.receive(deadline_s=_ANSWER_DEADLINE_S)  # the greeting
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: Any) -> Any:
        """Run one command; underscores in argument names stand for hyphens. Raises CommandError with QEMU's words."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        self._lines.send({"execute": command, "arguments": named})
        return self._answer(command)

    def _answer(self, command: str) -> Any:
        while True:
            reply = self._lines.receive(deadline_s=_ANSWER_DEADLINE_S)
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                error = reply["error"]
                words = error.get("desc") if isinstance(error, dict) else error
                raise CommandError(["qmp", command], 1, "", str(words), after_s=0)

    def pass_file(self, name: str, descriptor: int) -> None:
        """Give QEMU an open file under a name, for a later command to take."""
        self._lines.send({"execute": "getfd", "arguments": {"fdname": name}}, [descriptor])
        self._answer("getfd")

    def monitor(self, line: str) -> str:
        """Run one line of the human monitor and return its words (empty means done)."""
        return str(self.do("human-monitor-command", command_line=line)).strip()

    def migrated(self, *, deadline_s: float) -> None:
        """Wait until a migration, either way, is complete. Raises CommandError when it failed or takes too long."""
        give_up = time.monotonic() + deadline_s
        while (state := self._migration()).get("status") != "completed":
            failed = state.get("status") in ("failed", "cancelled")
            if failed or time.monotonic() > give_up:
                words = str(state.get("error-desc", state))
                raise CommandError(["qmp", "migrate"], 1 if failed else None, "", words, after_s=deadline_s)
            time.sleep(_POLL_S)

    def _migration(self) -> dict[str, Any]:
        state = self.do("query-migrate")
        if not isinstance(state, dict):
            raise CommandError(["qmp", "query-migrate"], 1, "", f"no state of a migration: {state!r}", after_s=0)
        return state


@contextmanager
def session(path: Path, *, deadline_s: float = _ANSWER_DEADLINE_S) -> Iterator[Qmp]:
    """A session on QEMU's socket, waiting for it to appear."""
    lines = JsonLines(path, deadline_s=deadline_s)
    try:
        yield Qmp(lines)
    finally:
        lines.close()

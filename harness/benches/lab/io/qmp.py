"""Control a running QEMU through its QMP socket (docs/interop/qmp-spec in QEMU's source)."""

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
    """A QMP session with capabilities negotiated."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        self._lines.receive(deadline_s=_ANSWER_DEADLINE_S)  # the greeting
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: Any) -> Any:
        """Run one command; underscores in argument names stand for hyphens. Raises CommandError with QEMU's message."""
        hyphenated = {key.replace("_", "-"): value for key, value in arguments.items()}
        self._lines.send({"execute": command, "arguments": hyphenated})
        return self._receive_answer(command)

    def _receive_answer(self, command: str) -> Any:
        while True:
            reply = self._lines.receive(deadline_s=_ANSWER_DEADLINE_S)
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                error = reply["error"]
                message = error.get("desc") if isinstance(error, dict) else error
                raise CommandError(["qmp", command], 1, "", str(message), after_s=0)

    def pass_file(self, name: str, descriptor: int) -> None:
        """Pass an open file to QEMU under a name, for use by a later command."""
        self._lines.send({"execute": "getfd", "arguments": {"fdname": name}}, [descriptor])
        self._receive_answer("getfd")

    def query_version(self) -> str:
        """Return QEMU's release, such as 11.1.3."""
        numbers = self.do("query-version")["qemu"]
        return ".".join(str(numbers[part]) for part in ("major", "minor", "micro"))

    def monitor(self, line: str) -> str:
        """Run one line of the human monitor and return its output (empty on success)."""
        return str(self.do("human-monitor-command", command_line=line)).strip()

    def save_memory(self, file: Path, *, deadline_s: float) -> None:
        """Save a stopped guest's memory and devices, each page at a fixed file offset (QEMU's docs/devel/migration)."""
        self._allow_mapped_ram()
        self.do("migrate-set-parameters", max_bandwidth=0)
        self.do("migrate", uri=f"file:{file}")
        self.wait_for_migration(deadline_s=deadline_s)

    def begin_load(self, file: Path) -> None:
        """Let a QEMU that was started for it load a saved guest; `wait_for_migration` waits for the end."""
        self._allow_mapped_ram()
        self.do("migrate-incoming", uri=f"file:{file}")

    def _allow_mapped_ram(self) -> None:
        self.do("migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": True}])

    def wait_for_migration(self, *, deadline_s: float) -> None:
        """Wait until a migration (incoming or outgoing) is complete. Raises CommandError on failure or timeout."""
        give_up_s = time.monotonic() + deadline_s
        while (state := self._query_migration()).get("status") != "completed":
            failed = state.get("status") in ("failed", "cancelled")
            if failed or time.monotonic() > give_up_s:
                message = str(state.get("error-desc", state))
                raise CommandError(["qmp", "migrate"], 1 if failed else None, "", message, after_s=deadline_s)
            time.sleep(_POLL_S)

    def _query_migration(self) -> dict[str, Any]:
        state = self.do("query-migrate")
        if not isinstance(state, dict):
            raise CommandError(["qmp", "query-migrate"], 1, "", f"no state of a migration: {state!r}", after_s=0)
        return state


@contextmanager
def session(path: Path, *, deadline_s: float = _ANSWER_DEADLINE_S) -> Iterator[Qmp]:
    """Open a session on QEMU's socket; waits for the socket to appear."""
    lines = JsonLines(path, deadline_s=deadline_s)
    try:
        yield Qmp(lines)
    finally:
        lines.close()

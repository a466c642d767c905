"""Remember on this machine which runs' evidence is to be sent to an evidence store.

An entry is made before the run's first host, so that no kill between the run's end and its sending loses it. It is
removed once all is sent; the evidence itself stays.
"""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.store.evidence_folder import EvidenceFolder
from harness.untrusted import names


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """A run whose evidence is to be sent. `store` is the label of the store; `leads`: this machine leads or led it."""

    run: str
    started_ns: int
    store: str
    leads: bool
    attempt: int  # counts the leaders of the run; 0 where this machine never led it


class Outbox:
    """The entries of one state directory. Processes share them: a file each."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "evidence-to-send"

    def add(self, entry: OutboxEntry) -> None:
        """Add an entry. That of a run that this machine leads stays when a process of it helps with the run.

        Raises SetupError when it cannot be written.
        """
        present = self.find(entry.run)
        if not entry.leads and present is not None and present.leads and present.started_ns == entry.started_ns:
            return
        draft = f".{entry.run}.{secrets.token_hex(4)}"  # several processes may add the entry of one run
        EvidenceFolder.create(self._folder).write(draft, json.dumps(asdict(entry))).replace(self._folder / entry.run)

    def find(self, run: str) -> OutboxEntry | None:
        """Find the entry of a run; None when there is no readable one."""
        try:
            entry = OutboxEntry(**json.loads((self._folder / run).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return entry if entry.run == run and isinstance(entry.started_ns, int) else None

    def list(self) -> list[OutboxEntry]:
        """List all entries, the run that began first first."""
        files = self._folder.iterdir() if self._folder.is_dir() else ()
        entries = [self.find(path.name) for path in files if names.fits(names.RUN, path.name)]
        return sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.started_ns)

    def remove(self, entry: OutboxEntry) -> None:
        """Remove an entry, unless it was replaced meanwhile."""
        if self.find(entry.run) == entry:
            (self._folder / entry.run).unlink(missing_ok=True)

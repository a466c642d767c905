"""A machine that leads runs on the scripted bench and sends their evidence; several share a ledger and a store."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from harness.campaign import campaign, run_plan
from harness.model import Event, RunRecord
from harness.runs import campaign_run
from harness.runs.context import RunControls
from harness.runs.evidence_sending import EvidenceSender, make_sender
from harness.runs.prepare import Prepared
from harness.store.evidence_fetch import EvidencePlaces, FoundEvidence, find_evidence
from harness.store.evidence_folder import SUMS
from harness.store.evidence_outbox import Outbox, OutboxEntry
from harness.store.ledger import Ledger
from harness.store.object_store import open_store
from harness.system.settings import Settings, assets_dir
from tests.doubles.scripted_bench import ScriptedBench

TYPES = ("good", "bad")


class Machine:
    """A machine with state of its own; all have one ledger, one bench and, with a URL, one evidence store."""

    def __init__(self, folder: Path, name: str, url: str | None) -> None:
        own = folder / name
        self.settings = Settings(
            state_dir=own / "state",
            cache_dir=own / "cache",
            assets_dir=assets_dir(),
            evidence=url,
            ledger=f"sqlite:///{folder}/ledger.sqlite",
        )
        self.ledger = Ledger(self.settings.ledger_url)
        self.bench = ScriptedBench(folder / "bench", 1, refuses=0)
        self.events: list[Event] = []
        self.controls = RunControls(listener=self.events.append)

    def prepared(self, *, parallel: int = 1, types: Sequence[str] = TYPES) -> Prepared:
        asked = campaign.from_mapping({"instance_types": types, "parallel": parallel})
        plan = run_plan.make_plan(asked, self.bench.types(), now=datetime(2026, 11, 21, tzinfo=UTC))
        return Prepared(bench=self.bench, plan=plan)

    def run(self, types: Sequence[str] = TYPES) -> RunRecord:
        return campaign_run.start(self.prepared(types=types), self.ledger, self.settings, self.controls)

    def folder(self, run: str) -> Path:
        return self.settings.runs_dir / run

    def sender(self) -> EvidenceSender:
        sender = make_sender(self.ledger, self.settings, lambda _s: False)
        assert sender is not None
        return sender

    def waiting(self) -> list[OutboxEntry]:
        return Outbox(self.settings.state_dir).list()

    def find(self, run: str) -> FoundEvidence:
        places = EvidencePlaces(
            runs_dir=self.settings.runs_dir,
            cache_dir=self.settings.cache_dir,
            store=None if self.settings.evidence is None else open_store(self.settings.evidence),
            pause=lambda _s: False,
        )
        return find_evidence(self.ledger.find(run), self.ledger, places)

    def told(self) -> str:
        return "\n".join(event.text for event in self.events)


def content(folder: Path) -> dict[str, str]:
    """Every file of evidence in a folder, with its checksum; not the list of checksums itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

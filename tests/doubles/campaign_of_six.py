"""A run of six hosts on the scripted bench: with the real ledger, events, evidence, claims and releases.

Only what is done by SSH is left out: the stages between provisioning and verdict write evidence and nothing else.
"""

import random
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql

from harness.campaign import campaign, run_plan
from harness.model import Evidence, Outcome, Reason, RunRecord, Stage, Verdict
from harness.runs import campaign_run, helping, leftovers, sweep
from harness.runs.context import RunControls
from harness.runs.prepare import Prepared
from harness.runs.qualification import Qualification
from harness.store.evidence_folder import SUMS, EvidenceFolder
from harness.store.ledger import Ledger
from harness.store.ledger_check import check
from harness.store.ledger_lines import RunLine
from harness.store.tables import EVENTS, HOSTS, OWNERS, RUNS, STEPS, TASKS
from harness.system.settings import Settings, assets_dir
from tests.doubles.scripted_bench import KINDS, ScriptedBench

SWEEPS = 4  # a removal that is refused the first time ends a sweep


class Surroundings:
    """The ledger, bench, settings and evidence that one trial uses, in one process of it."""

    def __init__(self, url: str, bench: ScriptedBench, folder: Path, seed: int) -> None:
        self.ledger, self.bench, self.seed = Ledger(url), bench, seed
        self.settings = Settings(state_dir=folder, cache_dir=folder, assets_dir=assets_dir())
        self.controls = RunControls(listener=lambda _event: None)

    def prepare(self) -> Prepared:
        drawn = random.Random(self.seed)
        types = tuple(drawn.choice(("good", *KINDS)) for _ in range(6))
        request = {"instance_types": types, "parallel": 3, "keep": drawn.choice(("none", "supported"))}
        asked = campaign.from_mapping(request)
        plan = run_plan.make_plan(asked, self.bench.types(), now=datetime(2026, 11, 21, tzinfo=UTC))
        return Prepared(bench=self.bench, plan=plan)

    def start(self) -> RunRecord:
        return campaign_run.start(self.prepare(), self.ledger, self.settings, self.controls)

    def resume(self, run: str) -> RunRecord:
        return campaign_run.resume(run, self.prepare(), self.ledger, self.settings, self.controls)

    def help_with(self, run: str) -> None:
        helping.help_with(run, self.prepare(), self.ledger, self.settings, self.controls)

    def sweep(self) -> None:
        """As `sweep --yes` does, again where a removal was refused."""
        for _ in range(SWEEPS):
            sweeper = sweep.Sweep(
                [sweep.Place(bench=self.bench.name)],
                lambda _name, _regions: self.bench,
                self.ledger,
                leftovers.EVERYTHING,
                lambda _text: None,
            )
            if not sweeper.remove(sweeper.search()).failed:
                return
            self.ledger.close()
            self.ledger = Ledger(self.ledger.database.url.render_as_string(hide_password=False))

    def empty(self) -> None:
        """Delete all that the ledger holds."""

        def delete(db: sql.Connection) -> None:
            for table in (EVENTS, STEPS, HOSTS, RUNS, TASKS, OWNERS):
                db.execute(table.delete())

        self.ledger.database.write(delete)

    def dead_run(self) -> str | None:
        """The newest run of this ledger, if it died."""
        lines = self.ledger.runs()
        return lines[0].run if lines and lines[0].died() else None

    def verdicts(self) -> dict[str, str]:
        """The verdicts of the newest run, by host."""
        lines = self.ledger.hosts(self.ledger.runs()[0].run) if self.ledger.runs() else []
        return {line.host: line.record.verdict.sentence for line in lines if line.record is not None}

    def find_faults(self, verdicts_before: dict[str, str]) -> list[str]:
        """Name all that does not hold after a run has ended: nothing lost, nothing twice, nothing left."""
        lines = self.ledger.runs()
        if not lines:
            return [f"without a run there is {token}" for token in self.bench.list_made()]
        kept = sorted(str(each.token) for each in self.ledger.hosts(lines[0].run) if each.state == "kept")
        faults = [] if kept == (made := self.bench.list_made()) else [f"kept {kept}, and there are {made}"]
        return [*faults, *self.find_faults_of_run(lines[0], verdicts_before), *self.find_faults_of_all()]

    def find_faults_of_run(self, line: RunLine, verdicts_before: Mapping[str, str]) -> list[str]:
        """Name what does not hold of a run that has ended, but for its hosts that are left."""
        hosts = self.ledger.hosts(line.run)
        faults = [] if line.ended else [f"run {line.run} has not ended"]
        faults += [f"{each.host} has no verdict" for each in hosts if each.record is None]
        faults += [f"{each.host} is {each.state}" for each in hosts if each.state not in ("kept", "released", "failed")]
        verdicts = {each.host: each.record.verdict.sentence for each in hosts if each.record is not None}
        faults += [
            f"the verdict of {host} changed: {sentence!r}, {verdicts.get(host)!r}"
            for host, sentence in verdicts_before.items()
            if verdicts.get(host) != sentence
        ]
        numbers = [each.number for each in self.ledger.events(line.run, most=100_000)]
        if numbers != list(range(1, len(numbers) + 1)):
            faults.append(f"the events are numbered {numbers}")
        folder = EvidenceFolder(self.settings.runs_dir / line.run)
        if (folder.path / SUMS).exists() and (changed := folder.list_changed()):
            faults.append(f"evidence differs from its checksums: {changed}")
        return faults

    def find_faults_of_all(self) -> list[str]:
        """Name what does not hold of the ledger as a whole, and the hosts that were made twice."""
        twice = [f"{token} was made twice" for token in self.bench.list_made_twice()]
        return [*twice, *check(self.ledger).faults]


def leave_out_ssh(patch: pytest.MonkeyPatch) -> None:
    """Replace what is done on a host: each stage is recorded, says something and writes evidence."""

    def observe(host: Qualification, _cleanup: ExitStack) -> None:
        if not host.provision():
            return
        for stage in (Stage.REACH, Stage.CONFIGURE, Stage.MEASURE):
            with host.steps.step(stage) as progress:
                progress(f"{stage} of {host.token}")
                host.collected.folder.write(f"{stage}.txt", str(host.token))

    def judge_at(host: Qualification, _depth: object) -> Verdict:
        evidence: Evidence = host.collected.evidence
        passed = host.machine is not None and host.host.instance_type in ("good", "late") and not evidence.interrupted
        return Verdict(
            outcome=Outcome.PASS if passed else Outcome.INCONCLUSIVE,
            reason=Reason.SYNCHRONISED if passed else Reason.INTERRUPTED,
            sentence=f"{host.token}: {evidence.trouble or evidence.launch}",
            rungs=(),
            findings=(),
            contradictions=(),
            unobserved=(),
            remarks=(),
            remedy=None,
        )

    patch.setattr(Qualification, "observe", observe)
    patch.setattr(Qualification, "judge_at", judge_at)

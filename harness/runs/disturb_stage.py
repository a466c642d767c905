"""Disturb the clock of a host that passed, in every way that its campaign names, while the sampler watches it."""

from collections.abc import Callable
from dataclasses import dataclass

from harness import units
from harness.benches.bench import Progress
from harness.errors import HarnessError
from harness.host import reboot, sampling
from harness.host.disturbing import DisturbedHost
from harness.host.playbooks import PlayOutcome, Target
from harness.model import Token
from harness.model.disturbances import AFTER_S, BEFORE_S, KINDS, Disturbance, planned_s
from harness.runs.context import RunContext
from harness.runs.evidence_collector import EvidenceCollector

SPARE_S = 120.0
"""The sampler's time beyond the planned one: for connections that take long."""


@dataclass(slots=True, kw_only=True)
class DisturbStage:
    """The disturbances of a host, from the start of its sampler until its samples are here."""

    target: Target
    token: Token
    collected: EvidenceCollector
    context: RunContext
    progress: Progress
    pause: Callable[[float], None]

    @property
    def _lost(self) -> bool:
        """Whether the host was lost, as where it does not come back from a reboot."""
        return self.collected.evidence.lost is not None

    def run(self) -> None:
        """Disturb the clock in the order that the campaign names, and note samples and marks in the evidence.

        A disturbance that fails ends the stage: its cause is noted, and the samples so far are kept.
        """
        campaign, machine = self.context.campaign, self.target.machine
        persist = Disturbance.REBOOT in campaign.disturbances
        path = sampling.remote_path(f"{self.token.slug}-disturbed", persist=persist)
        duration_s = planned_s(campaign.disturbances) + SPARE_S
        duration_s += machine.reboots_within_s if persist else 0.0
        variables = sampling.role_variables(machine, campaign, path, duration_s=duration_s, persist=persist)
        played = self.collected.play("measure.yml", self.target, variables, self.progress)
        if played.outcome is not PlayOutcome.OK:
            return
        files = self.context.settings.assets_dir / "roles/clock_facts/files"
        host = DisturbedHost(self.target, files / "disturb.py", f"/var/lib/ptp-harness/{self.token.slug}.marks")
        self._disturb_all(host)
        if self._lost:
            return
        try:
            sampling.stop_sampler(self.target, files / "sample_boots.py", path)
            follow = self.collected.follow_samples
            follow(self.target, path, self.progress, duration_s=duration_s, marks=host.read_marks)
        except HarnessError as error:
            self.collected.note(trouble=f"the samples of the disturbances did not come home: {error.message}")
            return
        sampling.remove_files(self.target, path)

    def _disturb_all(self, host: DisturbedHost) -> None:
        self.progress(f"watching the undisturbed clock for {units.duration(BEFORE_S)}")
        self.pause(BEFORE_S)
        for disturbance in self.context.campaign.disturbances:
            self.progress(f"{disturbance}: {KINDS[disturbance].summary}")
            try:
                self._cause(host, disturbance)
            except HarnessError as error:
                self.collected.note(trouble=f"{disturbance} could not be caused: {error.message}")
                return
            if self._lost:
                return
            self.progress(f"{disturbance}: watching the clock for {units.duration(AFTER_S)} after it")
            self.pause(AFTER_S)

    def _cause(self, host: DisturbedHost, disturbance: Disturbance) -> None:
        """Cause one disturbance, and return when it has ended. Raises HarnessError."""
        kind = KINDS[disturbance]
        if disturbance is Disturbance.REBOOT:
            host.mark(disturbance, "begun")
            reach = reboot.reboot(self.target, progress=self.progress, pause=self.pause)
            if not reach.reached:
                self.collected.note(lost=reach.detail)
                return
            host.mark(disturbance, "ended")
        elif kind.by_bench:
            host.mark(disturbance, "begun")
            self.context.bench.disturb(self.token, disturbance, kind.lasts_s, self.pause)
            host.mark(disturbance, "ended")
        else:
            host.disturb(disturbance)
            self.pause(kind.lasts_s)

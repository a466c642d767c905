"""Qualify one host: provision, reach, configure, measure, disturb, reboot, judge, release. Read `observe` first.

In every case there is exactly one verdict, and all that was made is released. Every step's intent is in the ledger
before its effect.
"""

import time
from contextlib import ExitStack
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from harness import units
from harness.analysis.disturbed_clock import compute_disturbances
from harness.benches.bench import BenchError, FatalError
from harness.campaign.choices import Keep
from harness.campaign.run_plan import PlannedHost
from harness.host import driver_archive, host_key, reboot, sampling, ssh
from harness.host.playbooks import PlayOutcome, PlayResult, Target, role_variables
from harness.model import (
    DEFAULT_CLOCK_NAMES,
    DOING,
    ClockQuality,
    Depth,
    Evidence,
    Facts,
    HostRecord,
    HostState,
    Launch,
    Machine,
    Outcome,
    Reason,
    Stage,
    Token,
    Verdict,
)
from harness.model.disturbances import DisturbanceFigures
from harness.runs import judging
from harness.runs.context import Interrupted, RunContext
from harness.runs.disturb_stage import DisturbStage
from harness.runs.evidence_collector import EvidenceCollector
from harness.runs.steps import StepRecorder
from harness.store import host_evidence
from harness.store.owners import OwnershipLostError

COLLECT_TASK = "Collect clock facts"
SETTLES_WITHIN_S = 15.0
PERSISTS_ABOVE_S = 900.0
"""A measurement that is longer goes on after a reboot of the host; a shorter one leaves nothing on its disk."""


def qualify(host: PlannedHost, attempt: int, context: RunContext) -> HostRecord | None:
    """Take one host from nothing to a verdict and back to nothing (or keep it, when the campaign says so).

    None: this process, which helps with the run of another one, was stopped, and gave the host back.
    Raises OwnershipLostError when another process has taken the host over, of which nothing is touched then.
    """
    return Qualification(host, attempt, context).qualify()


class Qualification:
    """The sequence of stages of one host. `collected` holds its evidence, `steps` its times."""

    def __init__(self, host: PlannedHost, attempt: int, context: RunContext) -> None:
        self.host, self.context = host, context
        self.token = Token(run=context.run, host=host.name, attempt=attempt)
        self.steps = StepRecorder(self.token, context)
        self.collected = EvidenceCollector(self.token, context, self.steps)
        self.machine: Machine | None = None
        self.earlier = tuple(replace(self.token, attempt=number) for number in range(1, attempt))
        """Earlier attempts at this host, whose processes died, until what they left is removed."""
        self.quality: ClockQuality | None = None
        self.disturbances: tuple[DisturbanceFigures, ...] = ()

    def qualify(self) -> HostRecord | None:
        """Observe, judge, release. The host is released even after an unexpected error."""
        try:
            self._observe_all()
            if self.collected.evidence.interrupted and self.context.gives_back() and self._give_back():
                return None
            verdict = self._judge()
        except OwnershipLostError:
            raise
        except BaseException:
            self._release(self.make_unjudged_verdict())
            raise
        return self._release(verdict)

    def _observe_all(self) -> None:
        """Collect the evidence; an error that stops this is noted in the evidence."""
        with ExitStack() as cleanup:
            try:
                self.observe(cleanup)
            except Interrupted:
                self.collected.note(interrupted=True, interrupted_while=self._describe_latest_stage())
            except OwnershipLostError:
                self._remove_late_host()
                raise
            except Exception as error:
                self.collected.note_error(error)

    def _remove_late_host(self) -> None:
        """Remove what this attempt made after it had lost the host, such as while this process was stopped.

        Nobody else does: the next attempt removed what there was of this one when it began. There is no verdict of this
        attempt, so that nobody keeps its host.
        """
        self.context.failures.release(self.context.bench, self.token)

    # -- the stages

    def observe(self, cleanup: ExitStack) -> None:
        """Go through the stages up to the last one that the depth requires, or that this host allows."""
        if not self.provision():
            return
        target = self.reach(self._open_target(cleanup))
        if target is None:
            return
        facts = self.configure(target)
        if facts is None or not self._has_clock(facts):
            return
        if self.context.campaign.depth is Depth.QUICK:
            self._look_again(target, facts)
            return
        self.measure(target)
        full = self.context.campaign.depth is Depth.FULL
        if full and self.judge_at(Depth.STANDARD).outcome is Outcome.PASS and self.disturb(target):
            self.reboot(target)

    def provision(self) -> bool:
        """Have the bench make the host; return whether it runs."""
        with self.steps.step(Stage.PROVISION) as progress:
            if self.context.fatal.is_set():
                detail = "not tried, since another host met an error that holds for all"
                self.collected.note(launch=Launch(failure=Reason.LAUNCH_FAILED, detail=detail))
                return False
            for token in self.earlier:
                progress("removing what an earlier attempt left")
                self.context.bench.release(token, progress)
            self.earlier = ()
            try:
                self.machine = machine = self.context.bench.provision(self.token, self.host.instance_type, progress)
            except BenchError as error:
                if isinstance(error, FatalError):
                    self.context.fatal.set()
                self.collected.note(launch=Launch(failure=error.reason, detail=str(error)))
                return False
            self.collected.note(
                offer=machine.offer,
                claim=machine.claim,
                placement=machine.placement,
                launch=Launch(failure=None, detail=machine.detail or f"{machine.address} runs"),
            )
            return True

    def reach(self, target: Target) -> Target | None:
        """Log in; rotate the host key if the first one travelled in user data."""
        settings = self.context.settings
        with self.steps.step(Stage.REACH) as progress:
            reached = ssh.wait_for_login(
                target.machine,
                target.known_hosts,
                tries=settings.ssh_tries,
                first_backoff_s=settings.ssh_first_backoff_s,
                progress=progress,
                sleep=self.steps.pause,
                control=target.control,
            )
            self.collected.note(reach=reached)
            if not reached.reached:
                return None
            if target.machine.rotated_key is not None:
                target = host_key.rotate_host_key(target, progress=progress, pause=self.steps.pause)
                self.machine = target.machine
            return target

    def configure(self, target: Target) -> Facts | None:
        name = "observe.yml" if self.context.campaign.read_only else "configure.yml"
        with self.steps.step(Stage.CONFIGURE) as progress:
            driver = driver_archive.role_variables(self.context.campaign, target.machine, self.context.settings)
            variables = {**role_variables(target.machine), **self._make_clock_variables(), **driver}
            played = self.collected.play(name, target, variables, progress)
            collected = played.results.get(COLLECT_TASK, {}).get("stdout")
            if not isinstance(collected, str) or not collected:
                return self._collect_directly(target, played)
            facts = self.collected.read_facts(collected, host_evidence.FACTS)
            self.collected.note(facts=facts)
            return facts

    def _collect_directly(self, target: Target, played: PlayResult) -> Facts | None:
        """Collect facts without Ansible; return those of a host that was configured.

        Facts of a host that could not be configured may show why; it is not measured. After a play that succeeded, only
        the event with the facts is missing: ansible-runner reads events from Ansible's terminal, where another output
        may break one.
        """
        if played.outcome not in (PlayOutcome.FAILED, PlayOutcome.OK):
            return None
        read_only = any(result.get("read_only_files") for result in played.results.values())
        facts = self.collected.collect_facts(target, host_evidence.FACTS, "the look at the host")
        self.collected.note(facts=facts, read_only_files=read_only)
        return facts if played.outcome is PlayOutcome.OK else None

    def _look_again(self, target: Target, facts: Facts) -> None:
        """Collect the facts again, where they refute chrony's bound: one second decides depth quick.

        The first estimates of a chronyd that was just configured are made of few readings.
        """
        if self.judge_at(Depth.QUICK).reason is not Reason.BOUND_REFUTED:
            return
        with self.steps.step(Stage.CONFIGURE) as progress:
            progress("a reading refutes chrony's bound: letting chronyd settle, then looking again")
            self.steps.pause(SETTLES_WITHIN_S)
            again = self.collected.collect_facts(target, host_evidence.FACTS_AGAIN, "the second look at the host")
            if again is not None:
                self.collected.note(facts=again, first_facts=facts)

    def measure(self, target: Target) -> None:
        campaign = self.context.campaign
        with self.steps.step(Stage.MEASURE) as progress:
            duration_s = campaign.measure_duration_s
            persist = duration_s > PERSISTS_ABOVE_S and not campaign.read_only
            path = sampling.remote_path(self.token.slug, persist=persist)
            variables = sampling.role_variables(target.machine, campaign, path, duration_s=duration_s, persist=persist)
            played = self.collected.play("measure.yml", target, variables, progress)
            if played.outcome is not PlayOutcome.OK:
                return
            self.collected.follow_samples(target, path, progress)
            progress("looking at the host again")
            sampling.remove_files(target, path)
            facts = self.collected.collect_facts(target, host_evidence.FACTS_FINAL, "the closing look at the host")
            self.collected.note(final_facts=facts)

    def disturb(self, target: Target) -> bool:
        """Disturb the clock as the campaign asks, while it is watched; return whether the host is still there."""
        if not self.context.campaign.disturbances:
            return True
        with self.collected.part("disturbed"), self.steps.step(Stage.DISTURB) as progress:
            DisturbStage(
                target=target,
                token=self.token,
                collected=self.collected,
                context=self.context,
                progress=progress,
                pause=self.steps.pause,
            ).run()
        disturbed = self.collected.evidence.disturbed
        return disturbed is None or disturbed.lost is None

    def reboot(self, target: Target) -> None:
        """Reboot and measure again, with nothing changed in between."""
        with self.collected.part("rebooted"):
            with self.steps.step(Stage.REBOOT) as progress:
                reach = reboot.reboot(target, progress=progress, pause=self.steps.pause)
                self.collected.note(reach=reach)
                if reach.reached:
                    progress("letting chronyd settle")
                    reboot.wait_until_settled(target)
                    task = "the look at the host after its reboot"
                    self.collected.note(facts=self.collected.collect_facts(target, host_evidence.FACTS, task))
            facts = self.collected.evidence.facts
            if facts is not None and self._has_clock(facts):
                self.measure(target)

    def _judge(self) -> Verdict:
        """Judge the host. If judging itself fails, the verdict says so."""
        try:
            with self.steps.step(Stage.JUDGE, interruptible=False):
                verdict = self.judge_at(self.context.campaign.depth)
        except OwnershipLostError:
            raise
        except Exception as error:
            self.collected.note_our_fault(error)
            verdict = self.make_unjudged_verdict()
        self._keep_evidence()
        ledger, record = self.context.ledger, self._record(verdict, HostState.FAILED)
        self.context.failures.attempt(f"booking the verdict of {self.token}", ledger.record_verdict, self.token, record)
        return verdict

    def _keep_evidence(self) -> None:
        """Write what no raw output tells, and compute the figures of the clock; nothing of it changes the verdict."""
        failures, campaign, evidence = self.context.failures, self.context.campaign, self.collected.evidence
        folder, figures = self.collected.folder, f"computing the figures of {self.token}"
        failures.attempt(f"writing the evidence of {self.token}", host_evidence.write_evidence, folder, evidence)
        interval_s = campaign.measure_interval_s
        self.disturbances = failures.attempt(figures, compute_disturbances, evidence, interval_s) or ()
        self.quality = failures.attempt(figures, judging.compute_figures, evidence, campaign)
        plots = failures.attempt(figures, judging.reduce_for_plots, evidence, campaign)
        failures.attempt(f"writing the plots of {self.token}", host_evidence.write_plots, folder, plots)

    def _give_back(self) -> bool:
        """Remove the host and let another process begin it anew; return whether both was done."""
        failures = self.context.failures
        self._publish_release("stopped here; another process begins it anew")
        if failures.release(self.context.bench, self.token, self._publish_release) is not None:
            return False
        return failures.succeeds(f"giving {self.token} back", self.context.ledger.give_back, self.token)

    def _release(self, verdict: Verdict) -> HostRecord:
        """Keep or remove the host. A failure to publish, keep or record something does not prevent its removal."""
        failures, ledger, begun = self.context.failures, self.context.ledger, time.monotonic()
        step = failures.attempt(f"booking the release of {self.token}", ledger.begin_step, self.token, Stage.RELEASE)
        self._publish_release("")
        for path in self.machine.evidence_files if self.machine else ():
            failures.attempt(f"keeping {path}", self.collected.folder.copy_file, Path(path))
        state = self._keep_or_remove(verdict)
        self.steps.add_seconds(Stage.RELEASE, time.monotonic() - begun)
        record = self._record(verdict, state)
        if step is not None:
            result = "done" if state is not HostState.FAILED else "failed"
            failures.attempt(f"booking the end of {self.token}", ledger.end_step, step, result)
        failures.attempt(f"booking what became of {self.token}", ledger.record_state, self.token, record)
        return record

    # -- what the stages need

    def judge_at(self, depth: Depth) -> Verdict:
        """Judge by the evidence so far, as if the campaign had this depth."""
        return judging.judge_evidence(self.collected.evidence, self.context.campaign, depth=depth)

    def make_unjudged_verdict(self) -> Verdict:
        """Make the verdict of a host that cannot be judged: inconclusive, by our fault or after an interruption."""
        collected = self.collected.evidence
        evidence = Evidence(
            trouble=collected.trouble or "it was not judged",
            interrupted=collected.interrupted,
            interrupted_while=collected.interrupted_while,
        )
        return judging.judge_evidence(evidence, self.context.campaign, depth=Depth.STANDARD)

    def _keep_or_remove(self, verdict: Verdict) -> HostState:
        if self.machine is not None and verdict.outcome is Outcome.PASS:
            if self.context.holds_passed:
                self._publish_release("passed; stays up until it is decided whether it is kept")
                return HostState.UNDECIDED
            if self.context.campaign.keep is Keep.SUPPORTED:
                return HostState.KEPT
        failures, bench = self.context.failures, self.context.bench
        results = [failures.release(bench, token, self._publish_release) for token in (*self.earlier, self.token)]
        errors = [error for error in results if error is not None]
        for error in errors:
            self._publish_release(error)
        return HostState.FAILED if errors else HostState.RELEASED

    def _publish_release(self, text: str) -> None:
        self.context.events.publish(text, host=self.host.name, stage=Stage.RELEASE)

    def _describe_latest_stage(self) -> str:
        """Describe the latest stage and its time so far, to complete the sentence "interrupted while ..."."""
        stage = self.steps.latest
        return "" if stage is None else f"{DOING[stage]}, after {units.duration(self.steps.seconds[stage])}"

    def _open_target(self, cleanup: ExitStack) -> Target:
        if self.machine is None:
            raise RuntimeError(f"{self.token} was not provisioned")
        control = cleanup.enter_context(ssh.shared_connection())
        known_hosts = ssh.write_known_hosts(self.machine, self.collected.folder.path)
        return Target(machine=self.machine, known_hosts=known_hosts, control=control)

    def _make_clock_variables(self) -> dict[str, Any]:
        """Make the variables that name the clock for chrony; empty for the ENA card's clock, which a role links."""
        names = self.context.campaign.clock_names
        return {} if names == DEFAULT_CLOCK_NAMES else {"chrony_phc_clock_name": "|".join(names)}

    def _has_clock(self, facts: Facts) -> bool:
        """Return whether the host has a clock with a name that the campaign gives."""
        names = self.context.campaign.clock_names
        return any(fnmatch(clock.name, name) for clock in facts.clocks or () for name in names)

    def _record(self, verdict: Verdict, state: HostState) -> HostRecord:
        evidence, seconds = self.collected.evidence, self.steps.seconds
        return HostRecord(
            name=self.host.name,
            instance_type=self.host.instance_type,
            verdict=verdict,
            facts=evidence.final_facts or evidence.facts,
            stages=dict(seconds),
            state=state,
            address=self.machine.address if self.machine else None,
            zone=self.machine.zone if self.machine else None,
            region=self.machine.region if self.machine else self.context.campaign.cloud.region,
            image=self.machine.image if self.machine else self.context.campaign.cloud.image,
            claim=evidence.claim,
            api_calls=self._count_api_calls(),
            cost_usd=self.machine.cost_usd(sum(seconds.values())) if self.machine else None,
            attempt=self.token.attempt,
            quality=self.quality,
            disturbances=self.disturbances,
            expected=self.context.campaign.expect.get(self.host.instance_type),
        )

    def _count_api_calls(self) -> float | None:
        calls = self.context.failures.attempt("counting calls of the API", self.context.bench.api_calls, self.token)
        return None if calls is None else round(calls, 1)

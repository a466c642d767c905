"""One host's way: provision, reach, configure, measure, reboot, judge, release. Read `_observe` from top to bottom.

Whatever happens on the way, there is exactly one verdict, and whatever was made is released. Every step's intent is in
the ledger before its effect.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from harness import ladder
from harness.benches.bench import BenchError, FatalError
from harness.campaign.campaign import Keep
from harness.campaign.plan import PlannedHost
from harness.errors import CommandError, HarnessError
from harness.host import driver_archive, host_key, reboot, sampling, ssh
from harness.host.playbooks import PlayOutcome, PlayResult, Target, play, role_variables
from harness.model import (
    DEFAULT_CLOCK_NAMES,
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
from harness.probes import facts as facts_probe
from harness.probes.samples import SampleReader, describe_sample
from harness.runs.context import Interrupted, RunContext
from harness.system import proc
from harness.untrusted.plain_text import bounded, clip, printable, well_formed

COLLECT_TASK = "Collect clock facts"
CONFIGURE_DEADLINE_S = 900.0
BUILD_DEADLINE_S = 1800.0
"""Where a driver may have to be built first: an emulated host takes ten minutes for that."""
COLLECT_DEADLINE_S = 60.0
_MOST_COLLECTED = 4 << 20
_LONGEST_SENTENCE = 2000


def qualify(host: PlannedHost, way: RunContext) -> HostRecord:
    """Take one host from nothing to a verdict and back to nothing (or keep it, when the campaign says so)."""
    return Qualification(host, way).take()


class Qualification:
    """The state of one host on its way."""

    def __init__(self, host: PlannedHost, way: RunContext) -> None:
        self.host, self.way = host, way
        self.token = Token(run=way.run, host=host.name)
        self.folder = way.folder.host(host.name)
        self.found = Evidence()
        self.machine: Machine | None = None
        self.seconds: dict[Stage, float] = {}
        self.prefix = ""  # of the names of evidence

    def take(self) -> HostRecord:
        """Climb, judge, release. Whatever raises on the way, the host is released and its record is there."""
        verdict: Verdict | None = None
        try:
            self._climb()
            verdict = self._judge()
        finally:
            record = self._release(verdict or self._unjudged())
        return record

    def _climb(self) -> None:
        """Find out what can be found out; what stopped us is in the evidence."""
        with ExitStack() as cleanup:
            try:
                self._observe(cleanup)
            except Interrupted:
                self.found = replace(self.found, interrupted=True)
            except HarnessError as error:
                self.found = replace(self.found, trouble=clip(well_formed(str(error))))
            except Exception as error:
                self._our_fault(error)

    # -- the way

    def _observe(self, cleanup: ExitStack) -> None:
        if not self._provision():
            return
        target = self._reach(self._target(cleanup))
        if target is None:
            return
        facts = self._configure(target)
        if facts is None or not self._clock_to_measure(facts) or self.way.campaign.depth is Depth.QUICK:
            return
        self._measure(target)
        if self.way.campaign.depth is Depth.FULL and self._judged(Depth.STANDARD).outcome is Outcome.PASS:
            self._reboot(target)

    def _provision(self) -> bool:
        with self._step(Stage.PROVISION) as tell:
            if self.way.fatal.is_set():
                detail = "not tried, since another host met an error that holds for all"
                self.found = replace(self.found, launch=Launch(failure=Reason.LAUNCH_FAILED, detail=detail))
                return False
            if self.way.afresh:
                tell("removing what an earlier attempt left")
                self.way.bench.release(self.token)
            try:
                self.machine = machine = self.way.bench.provision(self.token, self.host.instance_type, tell)
            except BenchError as error:
                if isinstance(error, FatalError):
                    self.way.fatal.set()
                self.found = replace(self.found, launch=Launch(failure=error.reason, detail=str(error)))
                return False
            self.found = replace(
                self.found,
                offer=machine.offer,
                claim=machine.claim,
                placement=machine.placement,
                launch=Launch(failure=None, detail=machine.detail or f"{machine.address} runs"),
            )
            return True

    def _reach(self, target: Target) -> Target | None:
        """The host, by a key of its own where it was first known by one that others may have seen."""
        settings = self.way.settings
        with self._step(Stage.REACH) as tell:
            reached = ssh.wait_for_login(
                target.machine,
                target.known_hosts,
                tries=settings.ssh_tries,
                first_backoff_s=settings.ssh_first_backoff_s,
                progress=tell,
                sleep=self._pause,
                control=target.control,
            )
            self.found = replace(self.found, reach=reached)
            if not reached.reached:
                return None
            if target.machine.rotated_key is not None:
                target = host_key.rotate_host_key(target, progress=tell, pause=self._pause)
                self.machine = target.machine
            return target

    def _configure(self, target: Target) -> Facts | None:
        name = "observe.yml" if self.way.campaign.read_only else "configure.yml"
        with self._step(Stage.CONFIGURE) as tell:
            driver = driver_archive.role_variables(self.way.campaign, target.machine, self.way.settings)
            variables = {**role_variables(target.machine), **self._clock_variables(), **driver}
            played = self._play(name, target, variables, tell)
            collected = played.results.get(COLLECT_TASK, {}).get("stdout")
            if not isinstance(collected, str) or not collected:
                self._look_where_configuring_failed(target, played)
                return None
            self.folder.write("facts.json", collected)
            facts, unparsed = facts_probe.read_facts(collected, where="facts.json")
            self.found = replace(self.found, facts=facts, unparsed=self.found.unparsed + unparsed)
            return facts

    def _look_where_configuring_failed(self, target: Target, played: PlayResult) -> None:
        """Such a host is not measured, yet what it says tells why it could not be configured."""
        if played.outcome is not PlayOutcome.FAILED:
            return
        read_only = any(result.get("read_only_files") for result in played.results.values())
        facts = self._collect(target, "facts.json", "the look at the host")
        self.found = replace(self.found, facts=facts, read_only_files=read_only)

    def _measure(self, target: Target) -> None:
        campaign = self.way.campaign
        with self._step(Stage.MEASURE) as tell:
            path = f"/run/ptp-harness-{self.token.slug}.jsonl"
            variables = role_variables(target.machine) | {
                "clock_facts_clock_name": campaign.clock_names[0],
                "clock_facts_duration_s": campaign.measure_duration_s,
                "clock_facts_interval_s": campaign.measure_interval_s,
                "clock_facts_samples_path": path,
                "clock_facts_wait": False,
            }
            played = self._play("measure.yml", target, variables, tell)
            if played.outcome is not PlayOutcome.OK:
                return
            self._follow_samples(target, path, tell)
            tell("looking at the host once more")
            proc.run(target.as_root("rm", "-f", path), timeout_s=30, check=False)
            facts = self._collect(target, "facts-final.json", "the closing look at the host")
            self.found = replace(self.found, final_facts=facts)

    def _follow_samples(self, target: Target, path: str, tell: Callable[[str], None]) -> None:
        """Keep the samples' text as evidence and read each line as it comes."""
        duration_s, name = self.way.campaign.measure_duration_s, f"{self.prefix}samples.jsonl"
        most = sampling.most_samples(duration_s, self.way.campaign.measure_interval_s)
        reader = SampleReader(name, most=most)
        with self.folder.stream(name) as file:
            sampling.follow_samples(
                target,
                path,
                reader,
                file,
                duration_s=duration_s,
                on_sample=lambda sample: tell(describe_sample(sample)),
                pause=self._pause,
            )
        self.found = replace(
            self.found,
            samples=reader.samples,
            samples_complete=reader.complete,
            unparsed=self.found.unparsed + reader.unparsed,
        )

    def _reboot(self, target: Target) -> None:
        """All of it again after a reboot, with nothing changed in between: what was found goes into `rebooted`."""
        before, self.prefix = self.found, "rebooted-"
        self.found = Evidence(offer=before.offer, launch=before.launch, placement=before.placement)
        try:
            with self._step(Stage.REBOOT) as tell:
                reach = reboot.reboot(target, progress=tell, pause=self._pause)
                self.found = replace(self.found, reach=reach)
                if reach.reached:
                    tell("letting chronyd settle")
                    reboot.wait_until_settled(target)
                    facts = self._collect(target, "facts.json", "the look at the host after its reboot")
                    self.found = replace(self.found, facts=facts)
            if self.found.facts is not None and self._clock_to_measure(self.found.facts):
                self._measure(target)
        finally:
            self.found = replace(before, rebooted=self.found, unparsed=before.unparsed + self.found.unparsed)

    def _judge(self) -> Verdict:
        """The verdict. Where judging itself fails, that is what the verdict says."""
        try:
            with self._step(Stage.JUDGE, interruptible=False):
                verdict = bounded(self._judged(self.way.campaign.depth), characters=_LONGEST_SENTENCE)
        except Exception as error:
            self._our_fault(error)
            verdict = self._unjudged()
        booked = self._record(verdict, HostState.FAILED)
        self.way.failures.attempt(f"booking the verdict of {self.token}", self.way.ledger.judge, self.way.run, booked)
        return verdict

    def _unjudged(self) -> Verdict:
        """The verdict of a host that cannot be judged: inconclusive, by a fault of ours, or as it was interrupted."""
        found = Evidence(trouble=self.found.trouble or "it was not judged", interrupted=self.found.interrupted)
        return ladder.judge(found, (), depth=Depth.STANDARD, read_only=False)

    def _our_fault(self, error: Exception) -> None:
        text = printable(traceback.format_exc())
        self.way.failures.attempt(f"keeping the traceback of {self.token}", self.folder.write, "traceback.txt", text)
        self.found = replace(self.found, trouble=clip(well_formed(f"our fault: {type(error).__name__}: {error}")))

    def _release(self, verdict: Verdict) -> HostRecord:
        """Keep or remove the host. Nothing that cannot be told, kept or booked keeps it from being removed."""
        failures, ledger, begun = self.way.failures, self.way.ledger, time.monotonic()
        step = failures.attempt(f"booking the release of {self.token}", ledger.begin, self.token, Stage.RELEASE)
        self._tell_release("")
        for path in self.machine.evidence_files if self.machine else ():
            failures.attempt(f"keeping {path}", self.folder.keep, Path(path))
        state = self._keep_or_remove(verdict)
        self.seconds[Stage.RELEASE] = round(time.monotonic() - begun, 3)
        record = self._record(verdict, state)
        if step is not None:
            words = "done" if state is not HostState.FAILED else "failed"
            failures.attempt(f"booking the end of {self.token}", ledger.end, step, words)
        if not (state is HostState.KEPT and self.way.campaign.keep is Keep.ASK):  # that is settled by the answer
            failures.attempt(f"booking what became of {self.token}", ledger.settle, self.way.run, record)
        return record

    # -- what the steps need

    def _judged(self, depth: Depth) -> Verdict:
        campaign = self.way.campaign
        return ladder.judge(
            self.found,
            campaign.requirements,
            depth=depth,
            clock_names=campaign.clock_names,
            read_only=campaign.read_only,
        )

    def _keep_or_remove(self, verdict: Verdict) -> HostState:
        supported = self.machine is not None and verdict.outcome is Outcome.PASS
        if supported and self.way.campaign.keep is not Keep.NONE:
            return HostState.KEPT
        error = self.way.failures.release(self.way.bench, self.token)
        if error is not None:
            self._tell_release(error)
        return HostState.RELEASED if error is None else HostState.FAILED

    def _tell_release(self, words: str) -> None:
        news = (self.host.name, Stage.RELEASE, words)
        self.way.failures.attempt(f"telling of {self.token}", self.way.listener, *news)

    def _target(self, cleanup: ExitStack) -> Target:
        assert self.machine is not None
        control = cleanup.enter_context(ssh.shared_connection())
        return Target(machine=self.machine, known_hosts=ssh.pin(self.machine, self.folder.path), control=control)

    def _play(self, name: str, target: Target, variables: Mapping[str, Any], tell: Callable[[str], None]) -> PlayResult:
        played = play(
            self.way.settings.assets_dir / "playbooks" / name,
            target,
            variables,
            timeout_s=BUILD_DEADLINE_S if "ena_driver_source" in variables else CONFIGURE_DEADLINE_S,
            on_task=tell,
            cancelled=self.way.stop.is_set,
        )
        self._written(f"{name.removesuffix('.yml')}.log", printable(played.stdout))
        if played.outcome is PlayOutcome.CANCELLED:
            raise Interrupted
        if played.outcome is PlayOutcome.UNREACHABLE:
            self.found = replace(self.found, lost=f"the host was lost in {name}: {played.message}")
        elif played.outcome is not PlayOutcome.OK:
            self.found = replace(self.found, trouble=f"{name}: {played.message}")
        return played

    def _clock_variables(self) -> dict[str, Any]:
        """Which clock chrony follows: the ENA card's, to which a role makes a link, or one that the campaign names."""
        names = self.way.campaign.clock_names
        return {} if names == DEFAULT_CLOCK_NAMES else {"chrony_phc_clock_name": "|".join(names)}

    def _clock_to_measure(self, facts: Facts) -> bool:
        names = self.way.campaign.clock_names
        return any(fnmatch(clock.name, name) for clock in facts.clocks or () for name in names)

    def _collect(self, target: Target, name: str, what: str) -> Facts | None:
        """Facts without Ansible; None, and why, where the host cannot be asked."""
        script = (self.way.settings.assets_dir / "roles/clock_facts/files/collect.py").read_text()
        servers = role_variables(target.machine).get("clock_facts_ntp_servers", ())
        asked = target.as_root("python3", "-", *(f"--ntp={server}" for server in servers))
        try:
            collected = proc.run(asked, stdin=script, timeout_s=COLLECT_DEADLINE_S, most_out=_MOST_COLLECTED).stdout
        except CommandError as error:
            words = f"{what} failed: {error.message}"
            lost = error.status in (None, ssh.FAILED)
            trouble = self.found.trouble or words  # what failed first
            self.found = replace(self.found, lost=words) if lost else replace(self.found, trouble=trouble)
            return None
        name = self._written(name, collected)
        facts, unparsed = facts_probe.read_facts(collected, where=name)
        self.found = replace(self.found, unparsed=self.found.unparsed + unparsed)
        return facts

    def _written(self, name: str, text: str) -> str:
        """Write a file of evidence; its name, which tells what was found after a reboot."""
        self.folder.write(self.prefix + name, text)
        return self.prefix + name

    @contextmanager
    def _step(self, stage: Stage, *, interruptible: bool = True) -> Iterator[Callable[[str], None]]:
        """Book a step before and after, time it, and give a `tell` that passes news on, or stops us when asked to."""

        last: list[str] = []

        def tell(text: str) -> None:
            if interruptible and self.way.stop.is_set():
                raise Interrupted
            if last != [text]:
                last[:] = [text]
                self.way.listener(self.host.name, stage, text)

        number, begun, result = self.way.ledger.begin(self.token, stage), time.monotonic(), "done"
        try:
            tell("")
            yield tell
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
            raise
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - begun, 3)
            self.way.ledger.end(number, result)

    def _pause(self, seconds: float) -> None:
        if self.way.stop.wait(seconds):
            raise Interrupted

    def _record(self, verdict: Verdict, state: HostState) -> HostRecord:
        return HostRecord(
            name=self.host.name,
            instance_type=self.host.instance_type,
            verdict=verdict,
            facts=self.found.final_facts or self.found.facts,
            stages=dict(self.seconds),
            state=state,
            address=self.machine.address if self.machine else None,
            zone=self.machine.zone if self.machine else None,
            region=self.machine.region if self.machine else self.way.campaign.region,
            image=self.machine.image if self.machine else self.way.campaign.image,
            claim=self.found.claim,
            api_calls=self._api_calls(),
            cost_usd=self.machine.cost_usd(sum(self.seconds.values())) if self.machine else None,
        )

    def _api_calls(self) -> float | None:
        asked = self.way.failures.attempt("counting calls of the API", self.way.bench.api_calls, self.token)
        return None if asked is None else round(asked, 1)

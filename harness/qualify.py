"""One host's way: provision, reach, configure, measure, reboot, judge, release. Read `_observe` from top to bottom.

Whatever happens on the way, there is exactly one verdict, and whatever was made is released. Every step's intent is in
the ledger before its effect.
"""

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from harness import driver_archive, host_key, ladder, proc, reboot, sampling, ssh
from harness.bench import Bench, BenchError, FatalError
from harness.campaign import Campaign, Keep
from harness.errors import CleanupError, CommandError, HarnessError
from harness.evidence import Folder
from harness.ledger import Ledger
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
from harness.plan import PlannedHost
from harness.playbooks import Played, PlayOutcome, Target, play, role_variables
from harness.probes import facts as facts_probe
from harness.probes import samples as samples_probe
from harness.settings import Settings

Listener = Callable[[str, Stage, str], None]
"""Takes a host's name, its stage and one short line about what is done now."""

COLLECT_TASK = "Collect clock facts"
CONFIGURE_DEADLINE_S = 900.0
BUILD_DEADLINE_S = 1800.0
"""Where a driver may have to be built first: an emulated host takes ten minutes for that."""
COLLECT_DEADLINE_S = 60.0
_LEAST_BILLED_S = 60.0


class Interrupted(Exception):
    """We were asked to stop: not an error, and no news about the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What the ways of all hosts of one run share. `stop` ends them early; `fatal` means: provision nothing more.

    `afresh`: an earlier attempt may have left something of them, which is removed first.
    """

    run: str
    bench: Bench
    campaign: Campaign
    ledger: Ledger
    folder: Folder
    settings: Settings
    listener: Listener
    afresh: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    fatal: threading.Event = field(default_factory=threading.Event)


def qualify(host: PlannedHost, way: Way) -> HostRecord:
    """Take one host from nothing to a verdict and back to nothing (or keep it, when the campaign says so)."""
    return Qualification(host, way).take()


class Qualification:
    """The state of one host on its way."""

    def __init__(self, host: PlannedHost, way: Way) -> None:
        self.host, self.way = host, way
        self.token = Token(run=way.run, host=host.name)
        self.folder = way.folder.host(host.name)
        self.found = Evidence()
        self.machine: Machine | None = None
        self.seconds: dict[Stage, float] = {}
        self.prefix = ""  # of the names of evidence

    def take(self) -> HostRecord:
        with ExitStack() as cleanup:
            try:
                self._observe(cleanup)
            except Interrupted:
                self.found = replace(self.found, interrupted=True)
            except HarnessError as error:
                self.found = replace(self.found, trouble=str(error))
            except Exception as error:
                self.folder.write("traceback.txt", traceback.format_exc())
                self.found = replace(self.found, trouble=f"our fault: {type(error).__name__}: {error}")
        verdict = self._judge()
        return self._release(verdict)

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
            reached = ssh.reach(
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
                target = host_key.rotate(target, progress=tell, pause=self._pause)
                self.machine = target.machine
            return target

    def _configure(self, target: Target) -> Facts | None:
        name = "observe.yml" if self.way.campaign.read_only else "configure.yml"
        with self._step(Stage.CONFIGURE) as tell:
            driver = driver_archive.role_variables(self.way.campaign, target.machine, self.way.settings)
            variables = {**role_variables(target.machine), **self._clock_variables(), **driver}
            played = self._play(name, target, variables, tell)
            collected = played.results.get(COLLECT_TASK, {}).get("stdout")
            if not collected:
                self._look_where_configuring_failed(target, played)
                return None
            self.folder.write("facts.json", collected)
            facts, unparsed = facts_probe.read(collected, where="facts.json")
            self.found = replace(self.found, facts=facts, unparsed=self.found.unparsed + unparsed)
            return facts

    def _look_where_configuring_failed(self, target: Target, played: Played) -> None:
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
            text = sampling.follow(
                target,
                path,
                duration_s=campaign.measure_duration_s,
                on_lines=lambda lines: tell(samples_probe.in_short(lines[-1])),
                pause=self._pause,
            )
            name = self._written("samples.jsonl", text)
            samples, unparsed, complete = samples_probe.read(text, where=name)
            self.found = replace(
                self.found,
                samples=samples,
                samples_complete=complete,
                unparsed=self.found.unparsed + unparsed,
            )
            tell("looking at the host once more")
            proc.run(target.as_root("rm", "-f", path), timeout_s=30, check=False)
            facts = self._collect(target, "facts-final.json", "the closing look at the host")
            self.found = replace(self.found, final_facts=facts)

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
                    reboot.settle(target)
                    facts = self._collect(target, "facts.json", "the look at the host after its reboot")
                    self.found = replace(self.found, facts=facts)
            if self.found.facts is not None and self._clock_to_measure(self.found.facts):
                self._measure(target)
        finally:
            self.found = replace(before, rebooted=self.found, unparsed=before.unparsed + self.found.unparsed)

    def _judge(self) -> Verdict:
        with self._step(Stage.JUDGE, interruptible=False):
            verdict = self._judged(self.way.campaign.depth)
        self.way.ledger.judge(self.way.run, self._record(verdict, HostState.FAILED))
        return verdict

    def _release(self, verdict: Verdict) -> HostRecord:
        with self._step(Stage.RELEASE, interruptible=False) as tell:
            for path in self.machine.evidence_files if self.machine else ():
                self.folder.keep(Path(path))
            state = self._keep_or_remove(verdict, tell)
        record = self._record(verdict, state)
        if not (state is HostState.KEPT and self.way.campaign.keep is Keep.ASK):  # that is settled by the answer
            self.way.ledger.settle(self.way.run, record)
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

    def _keep_or_remove(self, verdict: Verdict, tell: Callable[[str], None]) -> HostState:
        supported = self.machine is not None and verdict.outcome is Outcome.PASS
        if supported and self.way.campaign.keep is not Keep.NONE:
            return HostState.KEPT
        try:
            self.way.bench.release(self.token)
        except CleanupError as error:
            tell(str(error))
            return HostState.FAILED
        return HostState.RELEASED

    def _target(self, cleanup: ExitStack) -> Target:
        assert self.machine is not None
        control = cleanup.enter_context(ssh.shared_connection())
        return Target(machine=self.machine, known_hosts=ssh.pin(self.machine, self.folder.path), control=control)

    def _play(self, name: str, target: Target, variables: Mapping[str, Any], tell: Callable[[str], None]) -> Played:
        played = play(
            self.way.settings.assets_dir / "playbooks" / name,
            target,
            variables,
            timeout_s=BUILD_DEADLINE_S if "ena_driver_source" in variables else CONFIGURE_DEADLINE_S,
            on_task=tell,
            cancelled=self.way.stop.is_set,
        )
        self._written(f"{name.removesuffix('.yml')}.log", played.stdout)
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
            collected = proc.run(asked, stdin=script, timeout_s=COLLECT_DEADLINE_S).stdout
        except CommandError as error:
            words = f"{what} failed: {error.message}"
            lost = error.status in (None, ssh.FAILED)
            trouble = self.found.trouble or words  # what failed first
            self.found = replace(self.found, lost=words) if lost else replace(self.found, trouble=trouble)
            return None
        name = self._written(name, collected)
        facts, unparsed = facts_probe.read(collected, where=name)
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
            cost_usd=self._cost_usd(),
        )

    def _cost_usd(self) -> float | None:
        """By the time since it was asked for, which is a little more than what is billed; a minute at least is."""
        if self.machine is None or self.machine.usd_per_hour is None:
            return None
        return round(self.machine.usd_per_hour * max(sum(self.seconds.values()), _LEAST_BILLED_S) / 3600, 4)

    def _api_calls(self) -> float | None:
        asked = self.way.bench.api_calls(self.token)
        return None if asked is None else round(asked, 1)

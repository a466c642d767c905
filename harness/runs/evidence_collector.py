"""Collect the evidence about one host: play the roles, read facts, follow the samples, keep every raw output."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from harness import units
from harness.benches.bench import Progress
from harness.errors import CommandError, HarnessError
from harness.host import sampling, ssh
from harness.host.playbooks import PlayOutcome, PlayResult, Target, play, role_variables
from harness.model import Evidence, Facts, Machine, Reason, Sample, Token
from harness.probes import disturbance_marks
from harness.probes import facts as facts_probe
from harness.probes.samples import SampleReader, describe_sample
from harness.runs.context import Interrupted, RunContext
from harness.runs.steps import StepRecorder
from harness.store import host_evidence, parsed_samples
from harness.store.evidence_parts import ATTEMPT_FILE
from harness.system import proc
from harness.untrusted.plain_text import clip, printable, well_formed

CONFIGURE_DEADLINE_S = 1500.0
"""Deadline that leaves time for cloud-init (5 minutes) and for another program that holds apt's locks (10 minutes)."""
BUILD_DEADLINE_S = 2400.0
"""Deadline if a driver may have to be built first, which takes an emulated host ten minutes."""
COLLECT_DEADLINE_S = 60.0
_MOST_COLLECTED = 4 << 20
_LONGEST_CAUSE = 1000

EXPLAINING_TASKS = {
    "Say what the host lacks": Reason.HOST_NOT_READY,
    "Say why packages could not be installed": Reason.PACKAGES_UNAVAILABLE,
}
"""Tasks of the playbooks that fail with a cause and, after REMEDY_FOLLOWS, a remedy."""

REMEDY_FOLLOWS = "; next: "
SUDO_ASKS = "Missing sudo password"
"""Ansible's message where sudo asks for a password, in ansible-core 2.17 and later."""


class EvidenceCollector:
    """The evidence about one host so far (`evidence`), and the folder that holds the raw outputs behind it."""

    def __init__(self, token: Token, context: RunContext, steps: StepRecorder) -> None:
        self.evidence = Evidence()
        self.folder = context.folder.host(token.host)
        self.folder.write(ATTEMPT_FILE, f"{token.attempt}\n")
        self._token, self._context, self._steps = token, context, steps
        self._prefix = ""  # of the names of files

    def note(self, **changes: Any) -> None:
        """Set parts of the evidence, by the names of Evidence's fields."""
        self.evidence = replace(self.evidence, **changes)

    def note_error(self, error: Exception) -> None:
        """Note the error that stopped the host."""
        if isinstance(error, HarnessError):
            self.note(trouble=clip(well_formed(str(error))))
        else:
            self.note_our_fault(error)

    def note_our_fault(self, error: Exception) -> None:
        """Note an error of the harness itself, and keep its traceback."""
        text = printable(traceback.format_exc())
        self._context.failures.attempt(
            f"keeping the traceback of {self._token}", self.folder.write, "traceback.txt", text
        )
        self.note(trouble=clip(well_formed(f"our fault: {type(error).__name__}: {error}")))

    def play(self, name: str, target: Target, variables: Mapping[str, Any], progress: Progress) -> PlayResult:
        """Run a playbook and keep its output. Raises Interrupted; a play that failed is noted, not raised."""

        def report_task(text: str) -> None:
            with suppress(Interrupted):  # `cancelled` ends the play
                progress(text)

        played = play(
            self._context.settings.assets_dir / "playbooks" / name,
            target,
            variables,
            timeout_s=play_deadline_s(target.machine, variables),
            progress=report_task,
            cancelled=self._context.controls.stop.is_set,
        )
        self._write(f"{name.removesuffix('.yml')}.log", printable(played.stdout))
        if played.outcome is PlayOutcome.CANCELLED:
            raise Interrupted
        if played.outcome is PlayOutcome.UNREACHABLE:
            self.note(lost=f"the host was lost in {name}: {played.message}")
        elif played.outcome is not PlayOutcome.OK:
            self.note(**describe_failure(name, played))
        return played

    def read_facts(self, collected: str, name: str) -> Facts:
        """Keep collect.py's output under this file name, and parse it; unparsed lines are noted."""
        name = self._write(name, collected)
        facts, unparsed = facts_probe.read_facts(collected, where=name)
        self.note(unparsed=self.evidence.unparsed + unparsed)
        return facts

    def collect_facts(self, target: Target, name: str, task: str) -> Facts | None:
        """Run collect.py on the host without Ansible. None where it fails; the evidence then has the reason.

        It is run once more where nothing came and ssh called that success: seen once, on a host that was well.
        """
        script = (self._context.settings.assets_dir / "roles/clock_facts/files/collect.py").read_text()
        servers = role_variables(target.machine).get("clock_facts_ntp_servers", ())
        argv = target.as_root("python3", "-", *(f"--ntp={server}" for server in servers))
        try:
            for _ in range(2):
                collected = proc.run(argv, stdin=script, timeout_s=COLLECT_DEADLINE_S, most_out=_MOST_COLLECTED).stdout
                if collected.strip():
                    break
        except CommandError as error:
            message = f"{task} failed: {error.message}"
            if error.status in (None, ssh.FAILED):
                self.note(lost=message)
            else:
                self.note(trouble=self.evidence.trouble or message)  # what failed first
            return None
        return self.read_facts(collected, name)

    def follow_samples(
        self,
        target: Target,
        path: str,
        progress: Progress,
        *,
        duration_s: float | None = None,
        marks: Callable[[], str] | None = None,
    ) -> None:
        """Keep the samples' text, parse each line as it arrives, and keep the parsed samples.

        `duration_s`: how long the sampler was to run; None: as long as the campaign measures. `marks` reads the marks
        of the disturbances that took place meanwhile.
        """
        campaign, name = self._context.campaign, f"{self._prefix}{host_evidence.SAMPLES}"
        duration_s = campaign.measure_duration_s if duration_s is None else duration_s
        reader = SampleReader(name, most=sampling.count_expected_samples(duration_s, campaign.measure_interval_s))
        with self.folder.stream(name) as file:
            sampling.follow_samples(
                target,
                path,
                reader,
                file,
                duration_s=duration_s,
                on_sample=_report_samples(duration_s, campaign.measure_interval_s, progress),
                pause=self._steps.pause,
            )
        failures, samples = self._context.failures, f"the parsed samples of {self._token}"
        failures.attempt(f"compressing {samples}", parsed_samples.store_compressed, self.folder, name)
        failures.attempt(f"storing {samples}", parsed_samples.write_columns, self.folder, name, reader)
        if marks is not None:
            text = marks()
            name = self._write(host_evidence.MARKS, text)
            windows, unparsed = disturbance_marks.read_marks(text, where=name, boots=reader.boots)
            self.note(disturbances=windows, unparsed=self.evidence.unparsed + unparsed)
        self.note(
            samples=reader.samples,
            slots=reader.slots,
            unparsed=self.evidence.unparsed + reader.unparsed,
        )

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Collect into a part of the evidence inside this block, `disturbed` or `rebooted`.

        The names of its files begin with its name.
        """
        before, self._prefix = self.evidence, host_evidence.PARTS[name]
        self.evidence = Evidence(offer=before.offer, launch=before.launch, placement=before.placement)
        try:
            yield
        finally:
            after = self.evidence
            self.evidence, self._prefix = before, ""
            self.note(**{name: after}, unparsed=before.unparsed + after.unparsed)

    def _write(self, name: str, text: str) -> str:
        """Write a raw output; return the file's name."""
        self.folder.write(self._prefix + name, text)
        return self._prefix + name


def play_deadline_s(machine: Machine, variables: Mapping[str, Any]) -> float:
    """Return the deadline of a play. A play that may reboot the host needs the time of its return besides."""
    work_s = BUILD_DEADLINE_S if "ena_driver_source" in variables else CONFIGURE_DEADLINE_S
    return work_s + (machine.reboots_within_s if variables.get("ena_driver_reboot") else 0.0)


def describe_failure(name: str, played: PlayResult) -> dict[str, Any]:
    """Describe a failed play as fields of Evidence: the cause, and reason and remedy where they are known."""
    reason = EXPLAINING_TASKS.get(played.failed_task)
    if played.outcome is PlayOutcome.FAILED and reason is not None:
        explanation = well_formed(str(played.results.get(played.failed_task, {}).get("msg") or played.message))
        cause, _, remedy = explanation.rpartition(REMEDY_FOLLOWS)
        return {
            "trouble": clip(cause or explanation, _LONGEST_CAUSE),
            "trouble_reason": reason,
            "trouble_remedy": clip(remedy, _LONGEST_CAUSE) if cause else None,
        }
    if SUDO_ASKS in played.message:
        remedy = "let the user that logs in use sudo without a password (NOPASSWD), or log in as root"
        trouble = f"{name}: {played.message}"
        return {"trouble": trouble, "trouble_reason": Reason.HOST_NOT_READY, "trouble_remedy": remedy}
    return {"trouble": f"{name}: {played.message}"}


def _report_samples(duration_s: float, interval_s: float, progress: Progress) -> Callable[[Sample], None]:
    """Make a function that reports a sample and the measured time, at most a hundred times per measurement."""
    next_report_s = 0.0

    def report(sample: Sample) -> None:
        nonlocal next_report_s
        done_s = (sample.slot + 1) * interval_s
        if done_s >= min(next_report_s, duration_s):
            next_report_s = done_s + duration_s / 100
            progress(f"{units.duration(done_s)} of {units.duration(duration_s)}: {describe_sample(sample)}")

    return report

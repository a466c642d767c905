"""Watch the hosts of a run while they are measured, by the samples that grow in the run's evidence on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.analysis.clock_history import ClockHistory
from harness.campaign.campaign import Campaign
from harness.errors import RequestError
from harness.host.sampling import count_expected_samples
from harness.model import Evidence, Stage
from harness.model.disturbances import planned_s
from harness.probes.samples import MOST_SAMPLES
from harness.report.terminal_chart import TimeAxis, choose_axis
from harness.report.text import host_title
from harness.report.watch_frame import WatchedHost, WatchedRun
from harness.runs import judging
from harness.runs.host_stages import describe_step, find_latest_steps
from harness.store.evidence_parts import read_attempt
from harness.store.growing_samples import GrowingSamples, find_newest_file
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine, RunLine, StepLine
from harness.store.owners import own_place

MEASURING = (Stage.MEASURE, Stage.DISTURB, Stage.REBOOT)
"""Stages in which samples are taken."""

_PART_TITLES = {None: "", "disturbed": ", disturbed", "rebooted": ", after its reboot"}


@dataclass(slots=True, kw_only=True)
class _Growing:
    """A host's samples as they are read, of the file with the number `file`. `part`: that of SamplesFile."""

    samples: GrowingSamples
    part: str | None
    file: int = 0
    history: ClockHistory = field(default_factory=ClockHistory)

    def read(self) -> None:
        for sample in self.samples.read_new():
            self._forget_earlier_file()
            self.history.add(sample)
        self._forget_earlier_file()

    def _forget_earlier_file(self) -> None:
        if self.file != self.samples.files:
            self.file, self.history = self.samples.files, ClockHistory()


class RunWatch:
    """The hosts of a run that is under way: those of these names, or those that are measured now."""

    def __init__(self, line: RunLine, hosts: Sequence[HostLine], campaign: Campaign, ledger: Ledger, folder: Path):
        self._run, self._campaign, self._ledger, self._folder = line.run, campaign, ledger, folder
        self._titles = {host.host: host_title(host.host, host.instance_type) for host in hosts}
        self._growing: dict[str, _Growing] = {}
        self._drawn: list[str] = []

    def look(self) -> WatchedRun:
        """Read what is new, and tell how it stands. Raises RequestError where another machine has the samples."""
        line = self._ledger.find(self._run)
        goes_on = line.alive()  # read before the samples: all of an ended run are there
        if not self._folder.exists() and line.owner.place != own_place():
            raise RequestError(
                f"the samples of run {self._run} are not on this machine: {line.owner.machine} measures",
                next_step=f"watch it there, or `ptp-harness show {self._run} --follow` prints its events here",
            )
        found = find_latest_steps(self._ledger.steps(self._run))
        latest = {host: found[host] for host in self._titles if host in found}
        here = [host for host, step in latest.items() if self._has_evidence(host, step)]
        measured = [host for host, step in latest.items() if step.stage in MEASURING and step.ended_ns is None]
        now = [host for host in measured if host in here]
        for host in now or self._drawn or here:
            self._read(host)
        self._drawn = [host for host in now or self._drawn or here if host in self._growing]
        return WatchedRun(
            heading=_describe_run(line, len(measured)),
            hosts=[self._watched(host) for host in self._drawn],
            notes=self._describe_others(latest, [host for host in measured if host not in here]),
            goes_on=goes_on,
        )

    def _has_evidence(self, host: str, step: StepLine) -> bool:
        """Whether the evidence of the host's present attempt is on this machine."""
        return read_attempt(self._folder / host) == step.attempt

    def _read(self, host: str) -> None:
        file = find_newest_file(self._folder / host)
        growing = self._growing.get(host)
        if file is not None and (growing is None or growing.samples.path != file.path):
            most = MOST_SAMPLES if file.part == "disturbed" else _expected_slots(self._campaign, None)
            growing = _Growing(samples=GrowingSamples(file.path, most=most), part=file.part)
            self._growing[host] = growing
        if growing is not None:
            growing.read()

    def _watched(self, host: str) -> WatchedHost:
        growing, interval_s = self._growing[host], self._campaign.measure_interval_s
        expected = _expected_slots(self._campaign, growing.part)
        return WatchedHost(
            title=self._titles[host] + _PART_TITLES[growing.part],
            expected_s=expected * interval_s,
            axis=choose_axis(growing.history.slots, expected, interval_s),
            history=growing.history,
        )

    def _describe_others(self, latest: Mapping[str, StepLine], elsewhere: Sequence[str]) -> list[str]:
        phrases: dict[str, list[str]] = {}
        for host in self._titles:
            if host in elsewhere:
                phrases.setdefault("measured on another machine, which has the samples", []).append(host)
            elif host not in self._drawn:
                phrases.setdefault(describe_step(latest.get(host)), []).append(host)
        return [f"{phrase}: {', '.join(hosts)}" for phrase, hosts in phrases.items()]


def view_ended_run(line: RunLine, hosts: Sequence[HostLine], campaign: Campaign, folder: Path) -> WatchedRun:
    """Read the stored samples of hosts of a run that has ended, with those of each part of their evidence.

    Raises RequestError where the evidence of a host lacks, or where none of them was measured.
    """
    watched: list[WatchedHost] = []
    unmeasured: list[str] = []
    for host in hosts:
        _, evidence = judging.read_evidence(host, folder / host.host, campaign)
        parts = {None: evidence, "disturbed": evidence.disturbed, "rebooted": evidence.rebooted}
        measured = [_view_part(host, part, each, campaign) for part, each in parts.items() if each and each.samples]
        watched += measured
        unmeasured += [] if measured else [host.host]
    if not watched:
        raise RequestError(
            f"run {line.run} measured no clock of {', '.join(unmeasured)}",
            next_step=f"`ptp-harness show {line.run}` tells why",
        )
    notes = [f"not measured: {', '.join(unmeasured)}"] if unmeasured else []
    return WatchedRun(heading=_describe_run(line, 0), hosts=watched, notes=notes, goes_on=False)


def _view_part(host: HostLine, part: str | None, evidence: Evidence, campaign: Campaign) -> WatchedHost:
    history = ClockHistory()
    for sample in evidence.samples or ():
        history.add(sample)
    interval_s = campaign.measure_interval_s
    slots = max(evidence.slots or 0, history.slots)
    expected = slots if part == "disturbed" else max(slots, _expected_slots(campaign, part))
    return WatchedHost(
        title=host_title(host.host, host.instance_type) + _PART_TITLES[part],
        expected_s=expected * interval_s,
        axis=TimeAxis(slots=expected, interval_s=interval_s),
        history=history,
    )


def _expected_slots(campaign: Campaign, part: str | None) -> int:
    duration_s = planned_s(campaign.disturbances) if part == "disturbed" else campaign.measure_duration_s
    return count_expected_samples(duration_s, campaign.measure_interval_s)


def _describe_run(line: RunLine, measured: int) -> str:
    state = "ended" if line.ended else "died" if line.died() else "under way"
    if state == "under way" and measured:
        state = f"{measured} host{'' if measured == 1 else 's'} being measured"
    return f"run {line.run} on {line.bench}: {state}"

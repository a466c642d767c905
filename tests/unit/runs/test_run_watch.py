"""Which hosts of a run are drawn, from which samples, and what is said of the others."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign, from_mapping
from harness.errors import RequestError
from harness.model import Stage
from harness.report.watch_frame import WatchedRun
from harness.runs.run_watch import RunWatch
from harness.store.evidence_folder import EvidenceFolder, partial_path
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine, RunLine

LINES = (Path(__file__).parents[2] / "data" / "lab" / "drifting" / "samples.jsonl").read_text().splitlines(True)
HOSTS = ("lab.a", "lab.b", "lab.c")


class Run:
    """A run of three hosts that this process leads, and a watch over it."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger, self.folder = ledger, EvidenceFolder(folder)
        self.name = ledger.open_run(bench="lab", campaign={}, hosts=dict.fromkeys(HOSTS, "lab.phc"))
        self._steps: dict[str, int] = {}
        self._attempts: dict[str, int] = {}

    def begin(self, host: str, stage: Stage = Stage.MEASURE) -> None:
        """Begin a stage of a host, and end the one before."""
        self.end(host)
        (line,) = self.ledger.hosts(self.name, [host])
        token = line.token if line.attempt else self.ledger.own_host(self.name, host).token
        self._steps[host] = self.ledger.begin_step(token, stage)
        if str(token.attempt) != str(self._attempts.get(host)):
            self._attempts[host] = token.attempt
            self.folder.host(host).write("attempt", f"{token.attempt}\n")

    def end(self, host: str) -> None:
        if host in self._steps:
            self.ledger.end_step(self._steps.pop(host), "done")

    def write(self, host: str, lines: int, *, part: str = "") -> None:
        """Write the first lines of samples, over what was there."""
        partial_path(self.folder.path / host / f"{part}samples.jsonl").write_text("".join(LINES[: lines + 1]))

    def lines(self) -> list[HostLine]:
        return self.ledger.hosts(self.name)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "runs").mkdir()
    return Run(Ledger(f"sqlite:///{tmp_path}/ledger.sqlite"), tmp_path / "runs" / "k3f9")


@pytest.fixture
def campaign() -> Campaign:
    return from_mapping({"instance_types": ["lab.phc"], "depth": "full", "disturbances": ["chronyd-restarted"]})


@pytest.fixture
def watch(run: Run, campaign: Campaign) -> Callable[..., RunWatch]:
    """Makes a watch over the hosts of these names, or over all."""

    def make(*names: str) -> RunWatch:
        hosts = [line for line in run.lines() if line.host in (names or HOSTS)]
        return RunWatch(run.ledger.find(run.name), hosts, campaign, run.ledger, run.folder.path)

    return make


def shown(view: WatchedRun) -> list[str]:
    """Each host that is drawn, with its progress, then the notes."""
    return [*(f"{host.title}: {host.progress}" for host in view.hosts), *view.notes]


def test_the_hosts_that_are_measured_are_drawn_and_the_others_noted(run: Run, watch: Callable[..., RunWatch]) -> None:
    watched = watch()
    assert shown(watched.look()) == ["waiting: lab.a, lab.b, lab.c"]
    run.begin("lab.a", Stage.CONFIGURE)
    run.begin("lab.b")
    assert shown(watched.look()) == ["being configured: lab.a", "being measured: lab.b", "waiting: lab.c"]
    run.write("lab.b", 3)
    assert shown(watched.look()) == ["lab.b (lab.phc): 3 s of 1 min", "being configured: lab.a", "waiting: lab.c"]
    run.begin("lab.a")
    run.write("lab.a", 7)
    run.write("lab.b", 9)
    view = watched.look()
    assert shown(view) == ["lab.a (lab.phc): 7 s of 1 min", "lab.b (lab.phc): 9 s of 1 min", "waiting: lab.c"]
    assert (view.heading, view.goes_on) == (f"run {run.name} on lab: 2 hosts being measured", True)


def test_the_last_that_were_measured_stay_until_others_are(run: Run, watch: Callable[..., RunWatch]) -> None:
    watched = watch()
    run.begin("lab.a")
    run.write("lab.a", 7)
    watched.look()
    run.begin("lab.a", Stage.JUDGE)
    assert shown(watched.look())[0] == "lab.a (lab.phc): 7 s of 1 min"
    run.begin("lab.b")
    run.write("lab.b", 1)
    assert shown(watched.look()) == ["lab.b (lab.phc): 1 s of 1 min", "being judged: lab.a", "waiting: lab.c"]


def test_a_host_that_was_measured_before_is_drawn_if_it_is_named(run: Run, watch: Callable[..., RunWatch]) -> None:
    for host in ("lab.a", "lab.b"):
        run.begin(host)
        run.write(host, 7)
    run.begin("lab.a", Stage.JUDGE)
    assert shown(watch("lab.a").look()) == ["lab.a (lab.phc): 7 s of 1 min"]


def test_disturbances_and_the_reboot_have_samples_of_their_own(run: Run, watch: Callable[..., RunWatch]) -> None:
    watched = watch("lab.a")
    run.begin("lab.a")
    run.write("lab.a", 60)
    assert shown(watched.look()) == ["lab.a (lab.phc): 1 min of 1 min"]
    run.begin("lab.a", Stage.DISTURB)
    run.write("lab.a", 20, part="disturbed-")
    assert shown(watched.look()) == ["lab.a (lab.phc), disturbed: 20 s of 1 min 10 s"]
    run.begin("lab.a", Stage.REBOOT)
    run.begin("lab.a")
    run.write("lab.a", 4, part="rebooted-")
    assert shown(watched.look()) == ["lab.a (lab.phc), after its reboot: 4 s of 1 min"]


def test_a_host_that_another_machine_measures_is_noted(run: Run, watch: Callable[..., RunWatch]) -> None:
    run.begin("lab.a")
    run.folder.host("lab.a").write("attempt", "2\n")
    run.write("lab.a", 5)
    assert shown(watch().look()) == [
        "measured on another machine, which has the samples: lab.a",
        "waiting: lab.b, lab.c",
    ]


def test_samples_of_an_earlier_attempt_are_not_drawn(run: Run, watch: Callable[..., RunWatch]) -> None:
    run.begin("lab.a")
    run.write("lab.a", 5)
    os.utime(run.folder.path / "lab.a" / ".samples.jsonl.partial", (1, 1))
    assert shown(watch("lab.a").look()) == ["being measured: lab.a"]


class LedFromElsewhere:
    """A ledger whose runs another machine leads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def find(self, run: str) -> RunLine:
        line = self._ledger.find(run)
        return replace(line, owner=replace(line.owner, machine="rack7", place="elsewhere"))


def test_a_run_of_another_machine_without_a_folder_here_is_refused(
    run: Run, campaign: Campaign, tmp_path: Path
) -> None:
    ledger = LedFromElsewhere(run.ledger)
    watched = RunWatch(ledger.find(run.name), run.lines(), campaign, ledger, tmp_path / "nothing")  # type: ignore[arg-type]
    with pytest.raises(RequestError) as caught:
        watched.look()
    assert caught.value.message == f"the samples of run {run.name} are not on this machine: rack7 measures"
    assert "--follow" in caught.value.next_step

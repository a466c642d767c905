"""Inject faults into campaigns on a real cluster, and see that no verdict is lost or doubled, and no host is left.

    python -m tests.programs.cluster_faults FOLDER [--faults N] [--seed S] [--kind KIND ...]

Campaigns of scripted hosts run one after the other on a control plane, kubelets and containerd of their own. Each meets
some faults: one after the other, or several of different kinds at once. The bench is a server outside the cluster, so
that hosts outlive the pods that made them, and each effect is counted. After each campaign all has to hold that
`FaultRuns.find_faults` looks at. Kinds are drawn so that each has its turn; `--kind`: these alone, in this order, a
campaign each.
"""

import argparse
import json
import logging
import math
import random
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightkube.resources.batch_v1 import Job
from lightkube.resources.policy_v1 import PodDisruptionBudget

from harness.cluster.jobs import COORDINATOR
from harness.store.evidence_folder import SUMS
from harness.store.ledger_check import check
from tests.cluster.conftest import SPACE, CampaignRun, Team, serve_team
from tests.doubles import bench_server
from tests.programs.fault_kinds import KINDS, ORDER, Injected
from tests.programs.faulted_run import AWAY, FaultedRun, NoTargetError, insist
from tests.servers import containerd, kubernetes, scripted_image

TYPES = ("good", "bad", "late", "full", "good", "good")
OUTCOMES = {"good": "PASS", "late": "PASS", "bad": "INCONCLUSIVE", "full": "INCONCLUSIVE"}
EXIT_CODE = 3
BACK_WITHIN_S = 10.0
_STAGE_S = "1.2"
_BEGUN_WITHIN_S, _ENDS_WITHIN_S, _HELD_AT_MOST_S, _STANDBY_WITHIN_S = 90.0, 300.0, 180.0, 60.0
_COMMAND_ENDS_WITHIN_S, _ENDS_WITHOUT_NODE_S = 100.0, 150.0
_STANDBY_STARTS_S = 4.0
_SERVERS = ("store", "ledger", "api")
_LEAVES_STANDBY_ALONE = {"leader", "pod", "scheduler", "manager", "store"}
_LOSES_PODS = {"leader", "pod", "node"}


@dataclass
class FaultRuns:
    """Campaigns that meet faults. `counted`: how many of each kind; `back_s`: how soon a coordinator led again.

    `faults`: a sentence for all that did not hold; `skipped`: faults that found nothing that they could hit.
    """

    team: Team
    bench: bench_server.BenchServer
    drawn: random.Random
    counted: Counter[str] = field(default_factory=Counter)
    back_s: dict[str, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    campaigns: int = 0

    def go_on(self, faults: int, kinds: Sequence[str] = (), *, begins_within_s: float = math.inf) -> None:
        """Carry out campaigns until so many faults were injected. `begins_within_s`: no campaign begins later.

        `kinds`: one a campaign, instead of drawn; `A + B` for both at one moment, `A; B` for one after the other.
        """
        waiting, tries, end_at = [*kinds], 0, time.monotonic() + begins_within_s
        while self.counted.total() < faults and tries < 2 * faults and (waiting or not kinds):
            if time.monotonic() > end_at:
                return
            tries += 1
            if kinds:
                self.carry_out([group.split(" + ") for group in waiting.pop(0).split("; ")])
            else:
                self.carry_out(self._draw_groups(faults - self.counted.total()))

    def carry_out(self, groups: Sequence[Sequence[str]]) -> None:
        """Carry out a campaign that meets these groups of faults, each at one moment; look at what it leaves."""
        run = self.team.submit("--parallel", "2", types=TYPES)
        ledger, title = self.team.open_ledger(), "; ".join(" + ".join(group) for group in groups)
        self.campaigns += 1
        _say(f"{run.name or 'a run'} begins: {title}")
        try:
            run.read_until("is submitted")
            here = FaultedRun(self.team, run.name, ledger, self.drawn)
            self.team.cluster.wait_for(
                lambda: self.team.count_begun(run.name) >= 2, "two hosts are begun", within_s=_BEGUN_WITHIN_S
            )
            hit: set[str] = set()
            for group in groups:
                if not here.has_ended():
                    hit |= self._inject(here, group, run)
            found = self.find_faults(here, run, hit)
        except AssertionError as error:
            found = [str(error)]
        finally:
            ledger.close()
            run.process.kill()
        self.faults += [f"{run.name} ({title}): {each}" for each in found]
        self._clean(run.name, title)
        _say(f"{run.name}: {title}: {found or 'held'}")

    def _draw_groups(self, most: int) -> list[list[str]]:
        """Draw the faults of one campaign: those kinds first that had the fewest."""
        kinds = self.drawn.sample([*KINDS], len(KINDS))
        kinds.sort(key=lambda kind: self.counted[kind] + self.skipped[kind])
        groups: list[list[str]] = []
        for _ in range(min(most, self.drawn.choice((1, 2, 2, 3)))):
            chosen = kinds.pop(0)
            if groups and self.drawn.random() < 0.5 and KINDS[chosen][0] not in {KINDS[kind][0] for kind in groups[-1]}:
                groups[-1].append(chosen)
            else:
                groups.append([chosen])
        return groups

    def _inject(self, here: FaultedRun, group: Sequence[str], run: CampaignRun) -> set[str]:
        """Inject the faults of one moment, hold them, and mend them; return what they hit."""
        ordered = sorted(group, key=lambda kind: ORDER.index(KINDS[kind][0]))
        if any(KINDS[kind][0] == "leader" or kind == "node lost" for kind in group):
            self._wait_for_standby(here)
        time.sleep(self.drawn.uniform(0, 1.5))
        before, begun = here.read_line(), time.monotonic()
        injected: dict[str, Injected] = {}
        with ExitStack() as mending:
            for kind in ordered:
                try:
                    fault = KINDS[kind][1](here)
                except (NoTargetError, *AWAY) as error:
                    _say(f"  {kind}: {type(error).__name__}: {error}")
                    self.skipped[kind] += 1
                    continue
                injected[kind] = fault
                self.counted[kind] += 1
                mending.callback(fault.mend_once)
            hit = {KINDS[kind][0] for kind in injected}
            leaderless = next((kind for kind, fault in injected.items() if fault.takes_leader), None)
            if leaderless is not None and before is not None and hit <= {*_LEAVES_STANDBY_ALONE, KINDS[leaderless][0]}:
                self._measure_return(here, leaderless, begun, before.owner.owner)
            self._hold(here, injected, begun)
            if "node lost" in injected:  # the command ends, though a log that it follows is on the lost node
                self._see_end_without_node(here, run)
        return hit

    def _wait_for_standby(self, here: FaultedRun) -> None:
        """Wait until both coordinators run: one of them may have been replaced just now."""
        give_up_at = time.monotonic() + _STANDBY_WITHIN_S
        while time.monotonic() < give_up_at and not here.has_ended():
            with suppress(*AWAY):
                if len(here.list_pods(COORDINATOR)) >= 2:
                    time.sleep(_STANDBY_STARTS_S if self.counted.total() else 0)
                    return
            time.sleep(0.2)

    def _measure_return(self, here: FaultedRun, kind: str, begun: float, before: str) -> None:
        give_up_at = time.monotonic() + _HELD_AT_MOST_S
        while time.monotonic() < give_up_at:
            line = here.read_line()
            if line is not None and line.owner.owner != before:
                self.back_s.setdefault(kind, []).append(round(time.monotonic() - begun, 2))
                return
            if line is not None and line.ended:
                return
            time.sleep(0.05)
        self.faults.append(f"{here.run} ({kind}): no coordinator leads again")

    def _hold(self, here: FaultedRun, injected: dict[str, Injected], begun: float) -> None:
        """Hold faults of servers for their time and mend them, then the others until they are enough."""
        servers = {kind for kind in injected if KINDS[kind][0] in _SERVERS}
        for kind in sorted(servers, key=lambda kind: injected[kind].holds_s):
            time.sleep(max(0.0, begun + injected[kind].holds_s - time.monotonic()))
        for kind in servers:
            injected[kind].mend_once()
        longest_s = max((fault.holds_s for fault in injected.values()), default=0.0)
        time.sleep(max(0.0, begun + longest_s - time.monotonic()))
        give_up_at = time.monotonic() + _HELD_AT_MOST_S
        for kind, fault in injected.items():
            while fault.is_enough is not None and not fault.is_enough():
                if time.monotonic() > give_up_at:
                    self.faults.append(f"{here.run}: {kind}: what should follow did not, in {_HELD_AT_MOST_S:g} s")
                    return
                time.sleep(0.1)

    def _see_end_without_node(self, here: FaultedRun, run: CampaignRun) -> None:
        give_up_at = time.monotonic() + _ENDS_WITHOUT_NODE_S
        while not here.has_ended():
            assert time.monotonic() < give_up_at, "\n".join(
                ["the run does not end without the node", *here.describe(), *run.lines[-15:]]
            )
            time.sleep(0.2)
        self._see_command_end(here, run, _COMMAND_ENDS_WITHIN_S)

    def _see_command_end(self, here: FaultedRun, run: CampaignRun, within_s: float) -> int:
        """Return the exit code of the command; fails with what it waits for where it does not end."""
        try:
            return run.end(within_s)
        except subprocess.TimeoutExpired:
            run.process.send_signal(signal.SIGABRT)  # with PYTHONFAULTHANDLER=1 it says where it is
            run.process.wait()
            time.sleep(0.5)
            lines = [f"the command does not end within {within_s:g} s", *here.describe(), *run.lines[-80:]]
            raise AssertionError("\n".join(lines)) from None

    # --- what has to hold

    def find_faults(self, here: FaultedRun, run: CampaignRun, hit: Collection[str]) -> list[str]:
        """Wait for the end of a campaign; name all that does not hold then."""
        code = self._see_command_end(here, run, _ENDS_WITHIN_S)
        self.team.cluster.wait_for(here.has_ended, "the run has ended in the ledger")
        faults = [] if code == EXIT_CODE else [f"the command ended with {code}", *run.lines[-20:]]
        hosts = here.ledger.hosts(here.run)
        if [line.instance_type for line in hosts] != [*TYPES]:
            faults.append(f"the hosts are {[line.host for line in hosts]}")
        for line in hosts:
            if line.record is None:
                faults.append(f"{line.host} has no verdict")
                continue
            verdict, expected = line.record.verdict, OUTCOMES[line.instance_type]
            if str(verdict.outcome) != expected or str(line.state) != "released":
                faults.append(f"{line.host} is {verdict.outcome}, {line.state}: {verdict.sentence}")
            if not verdict.sentence.startswith(f"{here.run}/{line.host}/{line.attempt}:"):
                faults.append(f"the verdict of {line.host}, attempt {line.attempt}, is another's: {verdict.sentence}")
        numbers = [event.number for event in here.ledger.events(here.run, most=100_000)]
        if numbers != [*range(1, len(numbers) + 1)]:
            faults.append(f"the events are numbered {numbers}")
        faults += check(here.ledger).faults
        return [*faults, *self._find_faults_of_bench(here.run), *self._find_faults_of_store(here, hit)]

    def _find_faults_of_bench(self, run: str) -> list[str]:
        faults = [f"there is {token}" for token in self.bench.bench.list_made() if token.startswith(f"{run}/")]
        faults += [f"{token} was made twice" for token in self.bench.bench.list_made_twice()]
        faults += [f"{effect}, {count} times" for effect, count in self.bench.effects.items() if count > 1]
        faults += self.bench.faults
        made = {each.split()[1] for each in self.bench.effects if each.startswith(f"made {run}/")}
        removed = {each.split()[1] for each in self.bench.effects if each.startswith(f"removed {run}/")}
        if made != removed:
            faults.append(f"made and not removed: {sorted(made - removed)}")
        self.bench.faults.clear()
        return faults

    def _find_faults_of_store(self, here: FaultedRun, hit: Collection[str]) -> list[str]:
        """Look at reports and evidence. What a pod could not send before it was killed is gone with it."""
        if "store" in hit:
            return []
        client: Any = self.team.store.client()
        listed = client.list_objects_v2(Bucket="evidence", Prefix=f"team/{here.run}-").get("Contents", [])
        keys = [item["Key"] for item in listed]
        faults = []
        reports = [key for key in keys if key.endswith("/reports/junit.xml")]
        if len(reports) != 1:
            faults.append(f"the reports are {reports}")
        else:
            junit = ET.fromstring(client.get_object(Bucket="evidence", Key=reports[0])["Body"].read())
            cases = Counter(str(case.get("name")) for case in junit.iter("testcase"))
            if cases.total() != len(TYPES) or any(count > 1 for count in cases.values()):
                faults.append(f"the report has the cases {cases}")
        if not _LOSES_PODS & {*hit}:
            faults += [
                f"the evidence of {line.host} is not stored"
                for line in here.ledger.hosts(here.run)
                if not any(key.endswith(f"/hosts/{line.host}/{line.attempt}/{SUMS}") for key in keys)
            ]
        return faults

    def _clean(self, run: str, title: str) -> None:
        """Remove what the campaign left in the cluster, as `cluster clean` does; nothing of it stays."""
        try:
            insist(self.team.clean)
            left = [
                *self.team.admin.list(Job, namespace=SPACE),
                *self.team.admin.list(PodDisruptionBudget, namespace=SPACE),
            ]
            self.team.cluster.wait_for(
                lambda: not list(self.team.admin.list(PodDisruptionBudget, namespace=SPACE)), f"{left} are gone"
            )
            self.team.cluster.wait_for_nodes()
        except AssertionError as error:
            self.faults.append(f"{run} ({title}): {str(error)[:500]}")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def begin(team: Team, folder: Path, seed: int) -> FaultRuns:
    """Prepare the namespace for campaigns that meet faults: their bench is a server of this machine."""
    bench = bench_server.BenchServer(folder)
    relay = team.cluster.publish(bench.port)
    team.set_environment(**{bench_server.URL: relay.url, "PTP_TEST_STAGE_S": _STAGE_S})
    return FaultRuns(team, bench, random.Random(seed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faults", type=int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", default=[], metavar="KIND")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="begin no campaign later")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="a containerd's data that has the image already")
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # the object store tells of each request
    options.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        images = options.images or stack.enter_context(serve_images(options.folder))
        team = stack.enter_context(serve_team(images, options.folder))
        runs = begin(team, options.folder / "bench", options.seed)
        runs.go_on(len(options.kind) or options.faults, options.kind, begins_within_s=options.seconds)
        runs.bench.close()
    print(json.dumps(describe(runs)))
    return 1 if runs.faults else 0


@contextmanager
def serve_images(folder: Path) -> Iterator[Path]:
    """Yield the data of a containerd that has the image of scripted hosts."""
    archive = folder / "scripted.tar"
    scripted_image.write_archive(archive)
    with containerd.image_store(kubernetes.require_programs(), folder / "images", [archive]) as images:
        archive.unlink()
        yield images


def describe(runs: FaultRuns) -> dict[str, object]:
    """Describe what was injected, how soon coordinators led again, s, and what did not hold."""
    return {
        "faults": runs.faults,
        "injected": runs.counted.total(),
        "campaigns": runs.campaigns,
        "kinds": runs.counted,
        "back_s": runs.back_s,
        "skipped": runs.skipped,
    }


if __name__ == "__main__":
    sys.exit(main())

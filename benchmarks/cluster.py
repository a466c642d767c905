"""Measure cluster mode: python benchmarks/cluster.py [PART ...].

Parts: dispatch (hosts that pods claim in a second, eight at once in each pod), balance (how much longer the slowest pod
works than the mean of all, where the expected durations are up to 30 % wrong), objects (bytes of all objects of a run
of 10,000 hosts), begin (from the submission until the first host is begun), shards (1,000 pods of a run beside a bare
Indexed Job of 1,000; memory of the coordinator; its calls of the API at 100 and at 1,000 pods).

The ledger is on PostgreSQL, started here with its durable settings. `begin` and `shards` have a control plane, kubelets
and containerd of their own (`make kubernetes`, `make image`), and need root. The pods of `shards` are on KWOK's nodes
and run nothing: processes beside them claim and judge hosts by the code of real pods. The limit of each figure is
printed beside it; exit code 1: a limit was not held. Other programs on the machine change the figures.
"""

import argparse
import heapq
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightkube.codecs import from_dict
from lightkube.resources.batch_v1 import Job
from lightkube.types import CascadeType

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.campaign import campaign  # noqa: E402
from harness.cluster.jobs import (  # noqa: E402
    COORDINATOR_ACCOUNT,
    PodOptions,
    find_end,
    make_coordinator,
    make_disruption_budget,
    make_suite_job,
)
from harness.store.ledger import Ledger  # noqa: E402
from harness.store.names_at_random import SUBMITTED_RUN_CHARACTERS, draw_name  # noqa: E402
from tests.cluster.conftest import SPACE, Team, serve_team  # noqa: E402
from tests.programs import shard_pods  # noqa: E402
from tests.programs.cluster_faults import serve_images  # noqa: E402
from tests.programs.faulted_run import FaultedRun, NoTargetError  # noqa: E402
from tests.servers import kwok, postgresql, scripted_image  # noqa: E402
from tests.servers.kubernetes_files import POD_IMAGE  # noqa: E402

SHARDS, FEW_SHARDS = 1000, 100
OVER_BARE, DISPATCH_PER_S, IMBALANCE, BEGUN_WITHIN_S = 1.1, 400, 1.10, 4.0
COORDINATOR_MB, CALLS_GROW, OBJECTS_KIB = 100, 1.1, 64
HOSTS, PODS, HOSTS_PER_POD = 10_000, 4, 8
SIMULATED_HOSTS, SIMULATED_PODS, WRONG = 1000, 12, 0.3
BEGUN_TIMES = 7
IMAGES = "PTP_HARNESS_BENCH_IMAGES"
"""The variable that names a containerd's data that has the image of scripted hosts already, if it is set."""

_ENDS_WITHIN_S = 600.0
_TYPES_OF_EC2 = 900
_AUDIT = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {{level: Metadata, users: ["system:serviceaccount:{space}:{account}"]}}
- {{level: None}}
"""
"""What the API server writes down: the requests of coordinators."""


@dataclass
class Figures:
    """The figures so far; `failed` names those that did not hold."""

    failed: list[str] = field(default_factory=list)

    def tell(
        self, what: str, value: float, unit: str, *, most: float | None = None, least: float | None = None
    ) -> None:
        """Print a figure beside its limit, if it has one."""
        held = (most is None or value <= most) and (least is None or value >= least)
        limit = f"<= {most:g} {unit}" if most is not None else "" if least is None else f">= {least:g} {unit}"
        print(f"| {what} | {value:.3g} {unit} | {limit} | {'' if held else 'NOT HELD'} |", flush=True)
        if not held:
            self.failed.append(what)


# -- the ledger alone


def dispatch(figures: Figures, folder: Path) -> None:
    """Pods that claim all hosts of a run, eight at once in each; then pods that also judge and settle each host."""
    with serving_ledger() as (url, server):
        ledger = Ledger(url)
        claimed = f"hosts claimed by {PODS} pods, {HOSTS_PER_POD} at once in each"
        for what, hosts, flags, least in (
            (claimed, HOSTS, ("--claim-only",), DISPATCH_PER_S),
            ("the same, with verdict and state of each host", HOSTS // 10, (), None),
        ):
            names = {f"h{number}": "good" for number in range(hosts)}
            run = ledger.open_run(bench="lab", campaign={}, hosts=names)
            flags = (*flags, "--hosts-per-pod", str(HOSTS_PER_POD))
            with shard_pods.shard_pods(url, run, PODS, *flags) as pods:
                watched = [server, *(process.pid for process in pods)]
                begun, before_s = time.monotonic(), _read_processor_s(watched)
                shard_pods.allow(pods, 2 * PODS * hosts)
                shard_pods.close_input(pods)
                spent_s = before_s
                while any(process.poll() is None for process in pods):
                    spent_s = max(spent_s, _read_processor_s(watched))
                    time.sleep(0.1)
                seconds = time.monotonic() - begun
                assert sum(shard_pods.count_claimed(pods)) == hosts
                figures.tell(what, hosts / seconds, "hosts/s", least=least)
                figures.tell("processor time of each, in pods and server", 1000 * (spent_s - before_s) / hosts, "ms")
        ledger.close()


def balance(figures: Figures, folder: Path) -> None:
    """Pods that claim by the real code, in simulated time: a host takes up to 30 % more or less than expected."""
    with serving_ledger() as (url, _):
        ledger, drawn = Ledger(url), random.Random(1)
        expected_s = {f"h{number}": drawn.choice((300.0, 420.0, 600.0, 1200.0)) for number in range(SIMULATED_HOSTS)}
        names = dict.fromkeys(expected_s, "good")
        run = ledger.open_run(bench="lab", campaign={}, hosts=names, expected_s=expected_s)
        free_at = [(0.0, pod) for pod in range(SIMULATED_PODS) for _ in range(HOSTS_PER_POD)]
        ended_at_s = dict.fromkeys(range(SIMULATED_PODS), 0.0)
        heapq.heapify(free_at)
        while (line := ledger.claim(run)) is not None:
            now_s, pod = heapq.heappop(free_at)
            ended_s = now_s + expected_s[line.host] * drawn.uniform(1 - WRONG, 1 + WRONG)
            ended_at_s[pod] = max(ended_at_s[pod], ended_s)
            heapq.heappush(free_at, (ended_s, pod))
        ledger.close()
    ratio = max(ended_at_s.values()) / statistics.mean(ended_at_s.values())
    what = f"the slowest of {SIMULATED_PODS} pods of {HOSTS_PER_POD} hosts over their mean, {SIMULATED_HOSTS} hosts"
    figures.tell(what, ratio, "x", most=IMBALANCE)


def objects(figures: Figures, folder: Path) -> None:
    """The bytes of what a run has in the cluster: the Jobs, the two pods of its coordinators, and their budget."""
    drawn = random.Random(1)
    families = [
        f"{letter}{number}{kind}"
        for letter in "cmrtixzg"
        for number in range(3, 9)
        for kind in ("", "a", "g", "i", "gn")
    ]
    sizes = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge", "metal")
    types = drawn.sample([f"{family}.{size}" for family in families for size in sizes], _TYPES_OF_EC2)
    cycled = [types[number % _TYPES_OF_EC2] for number in range(HOSTS)]
    figures.tell(
        f"objects of a run of {HOSTS} hosts of {_TYPES_OF_EC2} types", _count_kib(cycled), "KiB", most=OBJECTS_KIB
    )
    shuffled = drawn.sample(cycled, HOSTS)
    figures.tell("the same, types in an order at random", _count_kib(shuffled), "KiB")


def _count_kib(types: Sequence[str]) -> float:
    request = campaign.from_mapping({"bench": "ec2", "region": "eu-north-1", "instance_types": types, "parallel": 100})
    options = PodOptions(image="registry.example/ptp-harness:0.1.0")
    job = make_coordinator("k3f9mq", request, options, hosts_per_pod=HOSTS_PER_POD)
    assert job.metadata is not None
    job.metadata.uid = "00000000-0000-0000-0000-000000000000"
    suites = [
        make_suite_job("k3f9mq", kind, 0, options, pods=13, hosts_per_pod=HOSTS_PER_POD, owner=job).to_dict()
        for kind in ("shared", "metal", "scarce")
    ]
    template = job.to_dict()["spec"]["template"]
    documents = [job.to_dict(), template, template, make_disruption_budget("k3f9mq", job).to_dict(), *suites]
    return sum(len(json.dumps(document, separators=(",", ":"))) for document in documents) / 1024


@contextmanager
def serving_ledger() -> Iterator[tuple[str, int]]:
    """Yield the URL of an empty ledger on PostgreSQL, and the process of the server."""
    programs = postgresql.find_programs()
    if programs is None:
        raise SystemExit("PostgreSQL's server is not installed here")
    with postgresql.serve(programs, durable=True) as server:
        url = server.make_database("ledger")
        Ledger(url).close()
        assert server.process is not None
        yield url, server.process.pid


def _read_processor_s(processes: Sequence[int]) -> float:
    """Read the processor time of processes and of those that they started, also of those of them that have ended."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(entry.name) in processes:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) in processes:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


# -- a cluster


@contextmanager
def serving_cluster(folder: Path) -> Iterator[Team]:
    """Yield a cluster with a namespace for campaigns, whose API server writes down the requests of coordinators."""
    policy = folder / "audit.yaml"
    policy.write_text(_AUDIT.format(space=SPACE, account=COORDINATOR_ACCOUNT))
    flags = {"apiserver": [f"--audit-policy-file={policy}", f"--audit-log-path={folder / 'audit.log'}"]}
    with ExitStack() as stack:
        kept = os.environ.get(IMAGES)
        images = Path(kept) if kept else stack.enter_context(serve_images(folder))
        yield stack.enter_context(serve_team(images, folder / "cluster", flags))


def begin(figures: Figures, folder: Path) -> None:
    """From the request that submits a campaign until its first host is begun, on real nodes."""
    with serving_cluster(folder) as team:
        seconds = []
        for _ in range(BEGUN_TIMES):
            submitted_s = time.time()
            run = submit(team, ["good", "good"], PodOptions(image=scripted_image.NAME, pull="Never"))
            team.cluster.wait_for(lambda: team.count_begun(run) == 2, "its hosts are begun")  # noqa: B023
            team.cluster.wait_for(lambda: team.has_ended(run), "the run ends")  # noqa: B023
            ledger = team.open_ledger()
            seconds.append(min(step.begun_ns for step in ledger.steps(run)) / 1e9 - submitted_s)
            ledger.close()
            team.clean()
    what = f"from the submission until the first host is begun, {BEGUN_TIMES} times"
    figures.tell(f"{what}: median", statistics.median(seconds), "s", most=BEGUN_WITHIN_S)
    figures.tell(f"{what}: the longest", max(seconds), "s")


def shards(figures: Figures, folder: Path) -> None:
    """A run of 1,000 pods between two bare Indexed Jobs of 1,000; one of 100 for the calls of the API."""
    with serving_cluster(folder) as team:
        kwok.add_nodes(team.cluster, 2)
        few = _lead(team, FEW_SHARDS, folder / "audit.log")
        before_s = _run_bare(team, "bare-1", SHARDS)
        many = _lead(team, SHARDS, folder / "audit.log")
        bare_s = statistics.mean((before_s, _run_bare(team, "bare-2", SHARDS)))
    figures.tell(f"a bare Indexed Job of {SHARDS} pods", bare_s, "s")
    figures.tell(f"a run of {SHARDS} pods, from its Job to its end", many.seconds, "s")
    figures.tell("the run over the bare Job", many.seconds / bare_s, "x", most=OVER_BARE)
    figures.tell("the same run, from its submission", many.from_submission_s, "s")
    for led, number in ((few, FEW_SHARDS), (many, SHARDS)):
        figures.tell(f"memory of the coordinator of {number} pods, at most", led.memory_mb, "MB", most=COORDINATOR_MB)
        figures.tell(f"API calls of the coordinators of {number} pods", led.calls, "")
    per_second = [led.calls / led.from_submission_s for led in (few, many)]
    figures.tell(
        f"their calls in a second, {SHARDS} pods over {FEW_SHARDS}", per_second[1] / per_second[0], "x", most=CALLS_GROW
    )


@dataclass(frozen=True, kw_only=True)
class Led:
    """A run that has ended: how long it took, the most memory of the coordinator, and its calls of the API."""

    seconds: float
    from_submission_s: float
    memory_mb: float
    calls: int


def _lead(team: Team, shards: int, audit: Path) -> Led:
    calls_before = _count_calls(audit)
    submitted_s = time.time()
    run = submit(team, ["good"] * shards, PodOptions(image=scripted_image.NAME, pull="Never", queue="fake"))
    ledger = team.open_ledger()
    with shard_pods.shard_pods(team.ledger_url, run, 2) as pods:
        job = kwok.admit(team.admin, SPACE, run)
        begun_s, memory_mb = time.time(), 0.0
        paced = threading.Thread(
            target=shard_pods.follow_pods, args=(pods, lambda: kwok.count_made(team.admin, SPACE, job), shards)
        )
        paced.start()
        process = _find_leader(FaultedRun(team, run, ledger, random.Random(1)))
        give_up_at = time.monotonic() + _ENDS_WITHIN_S
        while not ledger.find(run).ended:
            memory_mb = max(memory_mb, _read_peak_mb(process))
            assert time.monotonic() < give_up_at, f"run {run} does not end"
            time.sleep(0.1)
        paced.join()
        ended_s = ledger.events(run, most=100_000)[-1].event.at.timestamp()
        shard_pods.count_claimed(pods)
    record = ledger.record(run)
    ledger.close()
    assert record is not None
    assert {str(host.verdict.outcome) for host in record.hosts} == {"PASS"}
    team.clean()
    calls = _count_calls(audit) - calls_before
    return Led(seconds=ended_s - begun_s, from_submission_s=ended_s - submitted_s, memory_mb=memory_mb, calls=calls)


def _find_leader(here: FaultedRun) -> int:
    while True:
        try:
            return here.find_process(here.find_leader())
        except NoTargetError:
            time.sleep(0.05)


def _read_peak_mb(process: int) -> float:
    """Read the most memory that a process has had; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), 0.0)


def _run_bare(team: Team, name: str, pods: int) -> float:
    """Run an Indexed Job on the nodes without machines, with the rules of our own; return how long it takes, s."""
    container = {"name": "main", "image": POD_IMAGE, "args": ["print", "never printed"]}
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "restartPolicy": "Never",
        "nodeSelector": kwok.LABELS,
        "tolerations": [{"key": kwok.ANNOTATION, "operator": "Exists"}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{**container, "securityContext": restricted}],
    }
    spec = {"completionMode": "Indexed", "completions": pods, "parallelism": pods, "backoffLimitPerIndex": 3}
    job: Any = from_dict(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": SPACE},
            "spec": {**spec, "template": {"spec": pod}},
        }
    )
    begun = time.monotonic()
    team.admin.create(job, namespace=SPACE)
    while find_end(team.admin.get(Job, name, namespace=SPACE)) is None:
        assert time.monotonic() < begun + _ENDS_WITHIN_S
        time.sleep(0.1)
    seconds = time.monotonic() - begun
    team.admin.delete(Job, name, namespace=SPACE, cascade=CascadeType.FOREGROUND)
    team.clean()
    return seconds


def submit(team: Team, types: Sequence[str], options: PodOptions) -> str:
    """Submit a campaign of scripted hosts, a pod for each, as `cluster run` does; return the name of the run."""
    run = draw_name(SUBMITTED_RUN_CHARACTERS)
    request = campaign.from_mapping({"bench": "lab", "instance_types": types, "parallel": len(types)})
    team.admin.create(make_coordinator(run, request, options, hosts_per_pod=1), namespace=SPACE)
    return run


def _count_calls(audit: Path) -> int:
    """Count the requests that the API server has written down."""
    if not audit.exists():
        return 0
    return sum('"stage":"ResponseComplete"' in line for line in audit.read_text().splitlines())


PARTS: dict[str, Callable[[Figures, Path], None]] = {
    "dispatch": dispatch, "balance": balance, "objects": objects, "begin": begin, "shards": shards,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="these parts alone")
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # the object store tells of each request
    print(f"load before: {os.getloadavg()[0]:.2f}\n\n| what | measured | limit | |\n|---|---|---|---|")
    figures = Figures()
    for part in options.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="ptp-cluster-") as folder:
            PARTS[part](figures, Path(folder))
    return 1 if figures.failed else 0


if __name__ == "__main__":
    sys.exit(main())

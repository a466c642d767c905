"""Measure the time and memory of the harness itself on EC2, without the time of EC2.

    .venv/bin/python benchmarks/ec2.py [campaign] [contact] [stacks] [--rounds N]       all of them, unless named

campaign: 30 hosts that only wait, 30 at once, compared with the slowest host alone. contact: the time from the first
greeting of a late SSH server on this machine until the harness is logged in, compared with one login alone; then, on a
lab guest, the rotation of its host key. stacks: the real engine and program with the doubles of tests/, one stack and
six at once, and the peak memory of each process. All connections stay on this machine. Other programs on the machine
change the figures, so its load is printed too. Exit code 1: a limit was not held.
"""

import argparse
import dataclasses
import datetime
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness import wiring
from harness.benches.ec2.engine.engine import Engine
from harness.benches.ec2.engine.engine_home import EngineHome
from harness.benches.ec2.engine.stack import StackSettings
from harness.campaign import campaign, run_plan
from harness.host import host_key, keys, ssh
from harness.host.playbooks import Target
from harness.model import Machine, Offer, Placement, RunRecord, Token
from harness.model.ec2_enums import Access, Market
from harness.runs import campaign_run
from harness.runs.context import RunControls
from harness.runs.prepare import Prepared
from harness.store.ledger import Ledger
from harness.system import proc, settings

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.slow_bench import HOSTS, SECONDS, SLOWEST, SlowBench  # noqa: E402
from tests.doubles import rehearsal  # noqa: E402

MOST_RATIO = 1.2
MOST_CONTACT_S = 1.0
AT_ONCE = 6
PROGRAMS = {
    "harness.benches.ec2.engine.engine_worker": "worker",
    "pulumi-language-python-exec": "program",
    "pulumi-language-python": "language host",
    "pulumi": "engine",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", choices=[*PARTS, []], help="these parts alone")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of each figure (5)")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores\n")
    print("| what | median | least | most | rounds |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="ptp-ec2-") as folder:
        results = [PARTS[name](Path(folder), options.rounds) for name in options.only or PARTS]
    return 0 if all(results) else 1


# --- a campaign ------------------------------------------------------------------------------------------------------


def campaigns_at_once(folder: Path, rounds: int) -> bool:
    """Time whole runs, with releases and ledger: a run of all hosts, compared with a run of the slowest host alone."""
    ratios = []
    for number in range(rounds):
        with free_port() as port:
            bench = SlowBench(machine(port))
        state = dataclasses.replace(
            settings.load(), state_dir=folder / f"campaign-{number}", ssh_tries=1, ssh_first_backoff_s=0.0
        )
        alone_s = timed(partial(run, bench, [SLOWEST], state))
        whole_s = timed(partial(run, bench, list(bench.types()), state))
        ratios.append(whole_s / alone_s)
    print_row(f"{HOSTS} hosts at once / the slowest alone ({SECONDS[SLOWEST]:g} s)", ratios, "")
    return max(ratios) <= MOST_RATIO


def run(bench: SlowBench, types: Sequence[str], state: settings.Settings) -> RunRecord:
    request = campaign.from_mapping({"instance_types": tuple(types), "parallel": HOSTS})
    planned = run_plan.make_plan(request, bench.types(), now=datetime.datetime.now(datetime.UTC))
    controls = RunControls(listener=lambda *_: None)
    record = campaign_run.start(Prepared(bench=bench, plan=planned), Ledger(state.ledger_url), state, controls)
    assert [host.verdict.reason.value for host in record.hosts] == ["unreachable"] * len(types)
    return record


# --- first contact ---------------------------------------------------------------------------------------------------


def first_contacts(folder: Path, rounds: int) -> bool:
    """Time the steps between the first answer of SSH and Ansible: noticing, login, and rotation of the host key."""
    contacts, logins = zip(
        *(measure_first_contact(folder / f"contact-{number}") for number in range(rounds)), strict=True
    )
    overheads = [noticed_s - login_s for noticed_s, login_s in zip(contacts, logins, strict=True)]
    print_row("from the first greeting until logged in", contacts, " s")
    print_row("one login alone", logins, " s")
    print_row("what the harness adds to it", overheads, " s")
    state = dataclasses.replace(settings.load(), state_dir=folder / "contact")
    bench = wiring.lab_bench(state)
    bench.prepare(["lab.phc"], quiet)
    token = Token(run="benchmark", host="a")
    guest_logins: list[float] = []
    rotations: list[float] = []
    try:
        for number in range(rounds):
            guest = bench.provision(token, "lab.phc", quiet)
            for times, seconds in zip(
                (guest_logins, rotations), measure_rotation(guest, folder / f"{number}"), strict=True
            ):
                times.append(seconds)
            bench.release(token)
    finally:
        bench.release(token)
    print_row("one login to a lab guest", guest_logins, " s")
    print_row("the change of its host key, with the second login", rotations, " s")
    return bool(statistics.median(overheads) <= MOST_CONTACT_S)


def measure_first_contact(folder: Path) -> tuple[float, float]:
    """Start an SSH server two seconds late; return the seconds from its first greeting until the harness is logged in.

    The second value is the seconds of one more login, to the running server.
    """
    folder.mkdir()
    for name in ("host", "user"):
        keys.generate(folder / name, name)
    shutil.copy(keys.public_file(folder / "user"), folder / "authorized")
    greeted: list[float] = []
    with free_port() as port:
        pass
    host = machine(port, user_key=folder / "user", host_key=keys.read_public_key(folder / "host"))
    argv = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", str(port), "-h", str(folder / "host")]
    options = {"ListenAddress": "127.0.0.1", "AuthorizedKeysFile": folder / "authorized", "StrictModes": "no"}
    argv += [
        argument for name, value in (options | {"PidFile": "none"}).items() for argument in ("-o", f"{name}={value}")
    ]

    def serve() -> "subprocess.Popen[bytes]":
        time.sleep(2)
        server = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        while not ssh.greets_as_ssh(host):
            time.sleep(0.005)
        greeted.append(time.monotonic())
        return server

    with ThreadPoolExecutor(1) as pool, ssh.shared_connection() as control:
        server = pool.submit(serve)
        try:
            known_hosts = ssh.write_known_hosts(host, folder)
            reach = ssh.wait_for_login(host, known_hosts, tries=1, first_backoff_s=1, progress=quiet, control=control)
            logged_in = time.monotonic()
            assert reach.reached, reach.detail
            login_s = timed(lambda: proc.run(ssh.build_command(host, known_hosts, "true"), timeout_s=60))
        finally:
            server.result().terminate()
            server.result().wait(10)
    return max(0.0, logged_in - greeted[0]), login_s


def measure_rotation(host: Machine, folder: Path) -> tuple[float, float]:
    """Return the seconds of a login to a running host, and of the rotation of its host key."""
    folder.mkdir()
    host = dataclasses.replace(host, rotated_key=str(folder / "own"))
    with ssh.shared_connection() as control:
        target = Target(machine=host, known_hosts=ssh.write_known_hosts(host, folder), control=control)
        known_hosts = target.known_hosts
        login_s = timed(
            lambda: ssh.wait_for_login(host, known_hosts, tries=5, first_backoff_s=1, progress=quiet, control=control)
        )
        return login_s, timed(lambda: host_key.rotate_host_key(target, progress=quiet, pause=time.sleep))


def machine(port: int, *, user_key: Path | None = None, host_key: str = "ssh-ed25519 AAAA") -> Machine:
    """Describe a host on this machine; its SSH server may start later."""
    return Machine(
        token=Token(run="benchmark", host="a"),
        instance_type="slow",
        address="127.0.0.1",
        port=port,
        user=os.environ.get("USER") or "root",
        private_key=str(user_key) if user_key else None,
        known_host=keys.known_hosts_line("127.0.0.1", port, host_key) if user_key else f"[127.0.0.1]:{port} {host_key}",
        boots_within_s=60.0 if user_key else 0.0,
        second_opinion=None,
        placement=Placement(precise=None, detail=""),
        claim=None,
        offer=Offer(available=True, where="here"),
    )


# --- stacks ----------------------------------------------------------------------------------------------------------


def stacks(folder: Path, rounds: int) -> bool:
    """Time stacks up and down with doubles of EC2 that answer at once, and measure the peak memory of each process."""
    if shutil.which("pulumi") is None:
        print(f"the engine is not on PATH: {rehearsal.GET_PULUMI}", file=sys.stderr)
        return False
    for name in ("host", "user"):
        keys.generate(folder / name, name)
    with doubles(folder):
        engine = Engine(EngineHome(folder=folder / "stacks", project=ROOT), at_once=AT_ONCE)
        engine.prepare(quiet)
        for at_once, times in ((1, rounds), (AT_ONCE, max(1, rounds // 2))):
            ups, downs, cpu, peaks = measure_stacks(engine, folder, at_once, times)
            name = "one stack" if at_once == 1 else f"{at_once} stacks at once, the last of them"
            print_row(f"{name}: up", ups, " s")
            print_row(f"{name}: down", downs, " s")
            print_row(f"{name}: CPU time of each, up and down", [seconds / at_once for seconds in cpu], " s")
            for program, mib in peaks.items():
                print_row(f"{name}: memory of the {program}", mib, " MiB")
    return True


def measure_stacks(
    engine: Engine, folder: Path, at_once: int, times: int
) -> tuple[list[float], list[float], list[float], Mapping[str, list[float]]]:
    ups, downs, cpu = [], [], []
    with peaks_of_children() as peaks, ThreadPoolExecutor(at_once) as pool:
        for number in range(times):
            before = cpu_of_children()
            names = [f"b{at_once}-{number}-{index}" for index in range(at_once)]
            stack_settings = [stack(folder, name) for name in names]
            silent = [quiet] * at_once
            ups.append(timed(partial(in_parallel, pool, engine.up, names, stack_settings, silent)))
            downs.append(timed(partial(in_parallel, pool, engine.destroy, names, silent)))
            cpu.append(cpu_of_children() - before)
            for name in names:
                engine.remove(name)
    return ups, downs, cpu, peaks


def in_parallel(pool: ThreadPoolExecutor, action: Callable[..., object], *arguments: Sequence[object]) -> None:
    """Call `act` with the first of all arguments, the second of all, ..., all at once; wait for the last."""
    for _ in pool.map(action, *arguments):
        pass


def cpu_of_children() -> float:
    """Return the CPU seconds of our ended child processes; the doubles still run and do not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stack(folder: Path, name: str) -> StackSettings:
    return StackSettings(
        instance_type="m7i.large",
        region="eu-north-1",
        zone=None,
        subnet=None,
        image="al2023",
        placement="precision-time",
        access=Access.SSH,
        controller_cidr="192.0.2.7/32",
        public_key=keys.read_public_key(folder / "user"),
        host_key=(folder / "host").read_text(),
        market=Market.ON_DEMAND,
        lease_s=3600,
        expires="2030-01-31T12:00:00+00:00",
        run="bench",
        host=name,
        token=f"bench/{name}/1",
        owner="benchmark",
        volume_gib=12,
    )


@contextmanager
def doubles(folder: Path) -> Iterator[None]:
    """Serve doubles of EC2 and of the AWS provider until the block ends, and name them in our environment."""
    credentials = {"AWS_ACCESS_KEY_ID": "b", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ.update(credentials | {"HOME": str(folder)})
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        os.environ.pop(name, None)
    with rehearsal.serve_double("ec2_server.py", environ=os.environ) as moto:
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{moto}"
        with rehearsal.serve_double("aws_provider.py", environ=os.environ) as port:
            os.environ["PULUMI_DEBUG_PROVIDERS"] = f"aws:{port}"
            yield


@contextmanager
def peaks_of_children() -> Iterator[Mapping[str, list[float]]]:
    """Collect, by program, the peak memory (VmHWM, MiB) of each process of ours that runs one of PROGRAMS."""
    peak_by_pid: dict[int, tuple[str, float]] = {}
    peaks_by_program: defaultdict[str, list[float]] = defaultdict(list)
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(0.1):
            for path in Path("/proc").glob("[0-9]*"):
                if (program_peak := peak(path)) is not None:
                    peak_by_pid[int(path.name)] = program_peak

    poller = threading.Thread(target=poll, daemon=True)
    poller.start()
    try:
        yield peaks_by_program
    finally:
        stop.set()
        poller.join()
        for program, mib in peak_by_pid.values():
            peaks_by_program[program].append(mib)


def peak(process: Path) -> tuple[str, float] | None:
    """Return program and peak memory (MiB) of a process of ours, known by HOME in its environment; None for others."""
    try:
        if f"HOME={os.environ['HOME']}\0".encode() not in (process / "environ").read_bytes():
            return None
        argv = (process / "cmdline").read_bytes().decode().split("\0")
        status = (process / "status").read_text()
    except OSError:
        return None
    names = {Path(argument).name for argument in argv[:4]}
    program = next((label for name, label in PROGRAMS.items() if name in names), None)
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return (program, int(line.split()[1]) / 1024) if program and line else None


# --- helpers ---------------------------------------------------------------------------------------------------------


def print_row(name: str, values: Sequence[float], unit: str) -> None:
    figures = " | ".join(f"{figure(values):.2f}{unit}" for figure in (statistics.median, min, max))
    print(f"| {name} | {figures} | {len(values)} |", flush=True)


def quiet(*_arguments: object) -> None:
    """Ignore progress."""


def timed(action: Callable[[], object]) -> float:
    started_s = time.monotonic()
    action()
    return time.monotonic() - started_s


@contextmanager
def free_port() -> Iterator[int]:
    """Provide a port of this machine on which no program listens, bound until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


PARTS: dict[str, Callable[[Path, int], bool]] = {
    "campaign": campaigns_at_once,
    "contact": first_contacts,
    "stacks": stacks,
}


if __name__ == "__main__":
    sys.exit(main())

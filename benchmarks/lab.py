"""Measure how fast the lab is, with the real bench: python benchmarks/lab.py [--rounds N] [--only PART].

Run it alone on the machine: other programs change the figures. The docstring of each part says what is timed. The
spread is the coefficient of variation: standard deviation / mean.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from harness import wiring
from harness.benches.lab.bench import LabBench, make_machine
from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords
from harness.benches.lab.pool import lab_source
from harness.benches.lab.pool.lab_source import WarmHost
from harness.benches.lab.pool.pool import WarmPool
from harness.benches.lab.pool.pool_state import PoolRules
from harness.benches.lab.truths.truths import TRUTHS
from harness.host import file_copy, ssh
from harness.model import Machine, Token
from harness.system import proc, settings, signals
from harness.system.settings import Settings

TYPE = "lab.phc"
TOKEN = Token(run="benchmark", host="lab")
COPIED_BYTES = 10 * 2**20
AT_ONCE = 10
BOOTS = 3  # rounds of a part with cold boots, each of which takes half a minute
SHORTEST_STAGE_S = 0.01


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The objects that all parts share, and the rows of figures, each printed as soon as it is known."""

    bench: LabBench
    settings: Settings
    folder: Path
    rounds: int
    rows: list[str] = field(default_factory=list)

    def add_times(self, label: str, seconds: Sequence[float]) -> None:
        mean = statistics.mean(seconds)
        spread = f"{100 * statistics.stdev(seconds) / mean:.0f} %" if len(seconds) > 1 else "-"
        figures = [f"{value:.3g} s" for value in (statistics.median(seconds), min(seconds), max(seconds))]
        self.rows.append(f"| {label} | {' | '.join(figures)} | {spread} | {len(seconds)} |")
        print(self.rows[-1], flush=True)

    def add_rate(self, label: str, executions: int, seconds: float) -> None:
        self.rows.append(f"| {label} | {60 * executions / seconds:.1f} a minute | | | | {executions} |")
        print(self.rows[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="rounds of each, one after another (10)")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be repeated")
    parser.add_argument("--golden", action="store_true", help="also build a golden guest, in a cache of its own")
    options = parser.parse_args()
    with signals.raising_on_stop_signals(), tempfile.TemporaryDirectory() as folder:
        lab_settings = replace(settings.load(), state_dir=Path(folder) / "state")
        lab = Lab(
            bench=wiring.lab_bench(lab_settings), settings=lab_settings, folder=Path(folder), rounds=options.rounds
        )
        lab.bench.prepare([TYPE], print)
        print(f"load before: {os.getloadavg()[0]:.2f}\n")
        print("| what | median | least | most | spread | rounds |\n|---|---|---|---|---|---|", flush=True)
        for name in options.only or PARTS:
            PARTS[name](lab)
        if options.golden:
            lab.add_times("golden guest, boot and save", [golden_build(lab_settings, Path(folder) / "cache")])


# --- the parts ------------------------------------------------------------------------------------------------------


def restores(lab: Lab) -> None:
    """Time from the request for a host to an SSH login with the pinned key, and to /dev/ptp0; then the release."""
    rounds = [time_restore(lab) for _ in range(lab.rounds)]
    lab.add_times("cold restore to SSH", [seconds for seconds, _, _ in rounds])
    lab.add_times("cold restore to /dev/ptp0", [seconds for _, seconds, _ in rounds])
    lab.add_times("release", [seconds for _, _, seconds in rounds])


def stages(lab: Lab) -> None:
    """Time the stages of a cold restore, by the intents that the host's record gets; the shortest are left out."""
    rounds = [time_stages(lab) for _ in range(lab.rounds)]
    for name in rounds[0]:
        seconds = [durations[name] for durations in rounds if name in durations]
        if statistics.median(seconds) >= SHORTEST_STAGE_S:
            lab.add_times(f"stage: {name}", seconds)


def workflows(lab: Lab) -> None:
    """Time workflows (get a host, run `uname` by SSH, release it) with a full pool and without one, and their rate."""
    acquisitions, workflow_times = [], []
    with pool(lab) as host_pool:
        for _ in range(lab.rounds):
            fill(host_pool)
            started_s = time.monotonic()
            held_guest = host_pool.acquire(timeout_s=600)
            acquisitions.append(time.monotonic() - started_s)
            uname(lab, held_guest.guest.machine)
            host_pool.release(held_guest)
            workflow_times.append(time.monotonic() - started_s)
        lab.add_times("acquire a warm host", acquisitions)
        lab.add_times("workflow, warm: acquire, run a command, release", workflow_times)
        fill(host_pool)
        executions = 2 * lab.rounds
        lab.add_rate("executions, one after another", executions, timed(lambda: in_turn(lab, host_pool, executions)))
        fill(host_pool)
        lab.add_rate(f"executions, {AT_ONCE} at once", executions, timed(lambda: at_once(lab, host_pool, executions)))
    lab.add_times("workflow, cold", [timed(lambda: cold_workflow(lab)) for _ in range(lab.rounds)])


def copies(lab: Lab) -> None:
    """Time the copy of a file of 10 MiB to a host and back."""
    with host(lab) as machine:
        known_hosts, sent = ssh.write_known_hosts(machine, lab.folder), lab.folder / "file"
        sent.write_bytes(os.urandom(COPIED_BYTES))
        received = lab.folder / "back"
        to_host_times = [
            timed(lambda: file_copy.copy_to_host(machine, known_hosts, sent, "/root/file")) for _ in range(lab.rounds)
        ]
        lab.add_times("copy 10 MiB onto a host", to_host_times)
        from_host_times = [
            timed(lambda: file_copy.copy_from_host(machine, known_hosts, "/root/file", received))
            for _ in range(lab.rounds)
        ]
        lab.add_times("copy 10 MiB from a host", from_host_times)
        assert received.read_bytes() == sent.read_bytes()


def snapshots(lab: Lab) -> None:
    """Time snapshots of a host with and without memory, their removal, and the start of hosts from them."""
    snapshots_of_kind(lab, memory=True, rounds=lab.rounds)
    snapshots_of_kind(lab, memory=False, rounds=min(BOOTS, lab.rounds))


def snapshots_of_kind(lab: Lab, *, memory: bool, rounds: int) -> None:
    create_times, delete_times, restore_times = [], [], []
    token = replace(TOKEN, host="restored")
    for _ in range(rounds):
        with host(lab) as machine:
            record = lab.bench.records.find(machine.token)
            assert record is not None
            create_times.append(timed(partial(lab.bench.snapshots.create, "s", record, quiet, memory=memory)))
        snapshot = lab.bench.snapshots.find("s")
        assert (snapshot.machine is not None) == memory
        try:
            restore_times.append(timed(partial(lab.bench.restore, token, snapshot, quiet)))
        finally:
            lab.bench.release(token)
        delete_times.append(timed(partial(lab.bench.snapshots.delete, "s", lab.bench.records)))
    content, start = ("with memory", "a restore") if memory else ("of the disk alone", "a cold boot")
    lab.add_times(f"create a snapshot {content}", create_times)
    lab.add_times(f"start a host from it ({start}) to SSH and /dev/ptp0", restore_times)
    lab.add_times("delete it", delete_times)


PARTS: dict[str, Callable[[Lab], None]] = {
    "restores": restores,
    "stages": stages,
    "workflows": workflows,
    "copies": copies,
    "snapshots": snapshots,
}


# --- helpers --------------------------------------------------------------------------------------------------------


def time_restore(lab: Lab) -> tuple[float, float, float]:
    """Return the seconds from the request to SSH, from the request to /dev/ptp0, and of the release."""
    started_s = time.monotonic()
    ssh_s: list[float] = []
    login = threading.Thread(target=lambda: ssh_s.append(first_login(lab) - started_s))
    login.start()
    try:
        lab.bench.provision(TOKEN, TYPE, quiet)  # returns a lab.phc host once its clock exists
        clock_s = time.monotonic() - started_s
        login.join()
    finally:
        release_s = timed(lambda: lab.bench.release(TOKEN))
    return ssh_s[0], clock_s, release_s


def time_stages(lab: Lab) -> dict[str, float]:
    """Return the seconds of each stage of a restore: the stage that an intent names, until the next intent."""
    times = [("before the first record", time.monotonic())]
    write = GuestRecords.write

    def write_timed(records: GuestRecords, record: GuestRecord) -> GuestRecord:
        times.append((record.intent, time.monotonic()))
        return write(records, record)

    with patch.object(GuestRecords, "write", write_timed), host(lab):
        pass
    return {name: later_s - at_s for (name, at_s), (_, later_s) in itertools.pairwise(times)}


def first_login(lab: Lab) -> float:
    """Try to log in from the time that the host's address is recorded; return the monotonic time of the first login."""
    give_up_at = time.monotonic() + 120
    while time.monotonic() < give_up_at:
        record = lab.bench.records.find(TOKEN)
        if record is not None and record.address is not None:
            machine = make_machine(record, TRUTHS[TYPE])
            argv = ssh.build_command(machine, ssh.write_known_hosts(machine, lab.folder), "true")
            if proc.run(argv, timeout_s=60, check=False).status == 0:
                return time.monotonic()
        time.sleep(0.01)
    raise SystemExit("no login within 120 s")


@contextmanager
def host(lab: Lab) -> Iterator[Machine]:
    try:
        yield lab.bench.provision(TOKEN, TYPE, quiet)
    finally:
        lab.bench.release(TOKEN)


def pool(lab: Lab) -> WarmPool[WarmHost]:
    return lab_source.open_pool(lab.bench, TYPE, PoolRules(size=2, most=lab.settings.lab_guests), quiet)


def fill(host_pool: WarmPool[WarmHost]) -> None:
    while len(host_pool.state.warm) < 2:
        time.sleep(0.01)


def uname(lab: Lab, machine: Machine) -> None:
    folder = lab.bench.records.folder(machine.token)
    proc.run(ssh.build_command(machine, ssh.write_known_hosts(machine, folder), "uname"), timeout_s=60)


def execution(lab: Lab, host_pool: WarmPool[WarmHost]) -> None:
    with host_pool.guest(timeout_s=600) as guest:
        uname(lab, guest.machine)


def in_turn(lab: Lab, host_pool: WarmPool[WarmHost], executions: int) -> None:
    for _ in range(executions):
        execution(lab, host_pool)


def at_once(lab: Lab, host_pool: WarmPool[WarmHost], executions: int) -> None:
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        for job in [threads.submit(execution, lab, host_pool) for _ in range(executions)]:
            job.result()


def cold_workflow(lab: Lab) -> None:
    with host(lab) as machine:
        uname(lab, machine)


def golden_build(lab_settings: Settings, cache: Path) -> float:
    """Return the seconds to boot and save one golden guest, with QEMU and the image already in the cache."""
    (cache / "lab").mkdir(parents=True)
    for file in (lab_settings.cache_dir / "lab").iterdir():
        if file.name.startswith(("qemu-", "image-", "acceleration")) and not file.name.endswith((".lock", ".half")):
            (cache / "lab" / file.name).symlink_to(file)
    bench = wiring.lab_bench(replace(lab_settings, cache_dir=cache))
    return timed(lambda: bench.prepare([TYPE], quiet))


def timed(action: Callable[[], object]) -> float:
    started_s = time.monotonic()
    action()
    return time.monotonic() - started_s


def quiet(line: str) -> None:
    """Ignore progress."""


if __name__ == "__main__":
    main()

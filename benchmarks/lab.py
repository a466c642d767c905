"""How fast is the lab? Medians and spread, with the real bench: python benchmarks/lab.py [--rounds N] [--only PART].

Alone on the machine, or the figures are somebody else's. What is timed: see the docstring of each part. The spread is
the coefficient of variation: standard deviation / mean.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import wiring
from harness.benches.lab.bench import LabBench, make_machine
from harness.benches.lab.parts import cache_build
from harness.benches.lab.pool import lab_source
from harness.benches.lab.pool.lab_source import WarmHost
from harness.benches.lab.pool.pool import WarmPool
from harness.benches.lab.pool.pool_state import PoolRules
from harness.benches.lab.truths.truths import TRUTHS
from harness.host import file_copy, ssh
from harness.model import Machine, Token
from harness.system import proc, settings
from harness.system.settings import Settings

TYPE = "lab.phc"
TOKEN = Token(run="benchmark", host="lab")
COPIED_BYTES = 10 * 2**20
AT_ONCE = 10
BOOTS = 3  # a cold boot takes half a minute: so many rounds of what needs one


@dataclass(frozen=True, kw_only=True)
class Lab:
    """What all parts share, and the figures, which are told as soon as they are there."""

    bench: LabBench
    settings: Settings
    folder: Path
    rounds: int
    rows: list[str] = field(default_factory=list)

    def tell(self, what: str, seconds: Sequence[float]) -> None:
        mean = statistics.mean(seconds)
        spread = f"{100 * statistics.stdev(seconds) / mean:.0f} %" if len(seconds) > 1 else "-"
        figures = [f"{value:.3g} s" for value in (statistics.median(seconds), min(seconds), max(seconds))]
        self.rows.append(f"| {what} | {' | '.join(figures)} | {spread} | {len(seconds)} |")
        print(self.rows[-1], flush=True)

    def rate(self, what: str, executions: int, seconds: float) -> None:
        self.rows.append(f"| {what} | {60 * executions / seconds:.1f} a minute | | | | {executions} |")
        print(self.rows[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="rounds of each, one after another (10)")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be repeated")
    parser.add_argument("--golden", action="store_true", help="also build a golden guest, in a cache of its own")
    options = parser.parse_args()
    with cache_build.terminations_interrupt(), tempfile.TemporaryDirectory() as folder:
        mine = replace(settings.load(), state_dir=Path(folder) / "state")
        lab = Lab(bench=wiring.lab_bench(mine), settings=mine, folder=Path(folder), rounds=options.rounds)
        lab.bench.prepare([TYPE], print)
        print(f"load before: {os.getloadavg()[0]:.2f}\n")
        print("| what | median | least | most | spread | rounds |\n|---|---|---|---|---|---|", flush=True)
        for name in options.only or PARTS:
            PARTS[name](lab)
        if options.golden:
            lab.tell("golden guest, boot and save", [golden_build(mine, Path(folder) / "cache")])


# --- the parts ------------------------------------------------------------------------------------------------------


def restores(lab: Lab) -> None:
    """From the request for a host to a login by SSH with the pinned key and to /dev/ptp0, both tried all the time."""
    rounds = [one_restore(lab) for _ in range(lab.rounds)]
    lab.tell("cold restore to SSH", [seconds for seconds, _, _ in rounds])
    lab.tell("cold restore to /dev/ptp0", [seconds for _, seconds, _ in rounds])
    lab.tell("release", [seconds for _, _, seconds in rounds])


def workflows(lab: Lab) -> None:
    """A host, `uname` by SSH, no host: with a full pool, without a pool, and as many a minute as can be."""
    acquisitions, whole = [], []
    with pool(lab) as warm_ones:
        for _ in range(lab.rounds):
            fill(warm_ones)
            begun = time.monotonic()
            held = warm_ones.acquire(timeout_s=600)
            acquisitions.append(time.monotonic() - begun)
            uname(lab, held.guest.machine)
            warm_ones.release(held)
            whole.append(time.monotonic() - begun)
        lab.tell("acquire a warm host", acquisitions)
        lab.tell("workflow, warm: acquire, run a command, release", whole)
        fill(warm_ones)
        executions = 2 * lab.rounds
        lab.rate("executions, one after another", executions, timed(lambda: in_turn(lab, warm_ones, executions)))
        fill(warm_ones)
        lab.rate(f"executions, {AT_ONCE} at once", executions, timed(lambda: at_once(lab, warm_ones, executions)))
    lab.tell("workflow, cold", [timed(lambda: cold_workflow(lab)) for _ in range(lab.rounds)])


def copies(lab: Lab) -> None:
    """A file of 10 MiB onto a host and back."""
    with host(lab) as there:
        known_hosts, mine = ssh.pin(there, lab.folder), lab.folder / "file"
        mine.write_bytes(os.urandom(COPIED_BYTES))
        back = lab.folder / "back"
        to = [timed(lambda: file_copy.copy_to_host(there, known_hosts, mine, "/root/file")) for _ in range(lab.rounds)]
        lab.tell("copy 10 MiB onto a host", to)
        fro = [
            timed(lambda: file_copy.copy_from_host(there, known_hosts, "/root/file", back)) for _ in range(lab.rounds)
        ]
        lab.tell("copy 10 MiB from a host", fro)
        assert back.read_bytes() == mine.read_bytes()


def snapshots(lab: Lab) -> None:
    """A snapshot of a host's disk, its removal, and a host that boots from it."""
    made, removed, booted = [], [], []
    with host(lab) as there:
        record = lab.bench.records.find(there.token)
        assert record is not None
        for number in range(lab.rounds):
            name = f"s{number}"
            made.append(timed(lambda name=name: lab.bench.snapshots.create(name, record, quiet)))
            if number >= BOOTS:
                removed.append(timed(lambda name=name: lab.bench.snapshots.delete(name, lab.bench.records)))
    token = replace(TOKEN, host="restored")
    for number in range(min(BOOTS, lab.rounds)):
        snapshot = lab.bench.snapshots.named(f"s{number}")
        try:
            booted.append(timed(lambda snapshot=snapshot: lab.bench.restore(token, snapshot, quiet)))
        finally:
            lab.bench.release(token)
        removed.append(timed(lambda name=snapshot.name: lab.bench.snapshots.delete(name, lab.bench.records)))
    lab.tell("create a snapshot", made)
    lab.tell("restore a snapshot (a cold boot) to /dev/ptp0", booted)
    lab.tell("delete a snapshot", removed)


PARTS: dict[str, Callable[[Lab], None]] = {
    "restores": restores,
    "workflows": workflows,
    "copies": copies,
    "snapshots": snapshots,
}


# --- what they need -------------------------------------------------------------------------------------------------


def one_restore(lab: Lab) -> tuple[float, float, float]:
    """Seconds from the request to SSH, to /dev/ptp0, and of the release."""
    begun = time.monotonic()
    ssh_s: list[float] = []
    login = threading.Thread(target=lambda: ssh_s.append(first_login(lab) - begun))
    login.start()
    try:
        lab.bench.provision(TOKEN, TYPE, quiet)  # a lab.phc host is given out when its clock is there
        clock_s = time.monotonic() - begun
        login.join()
    finally:
        released = timed(lambda: lab.bench.release(TOKEN))
    return ssh_s[0], clock_s, released


def first_login(lab: Lab) -> float:
    """When the first login with the pinned key succeeded, beginning as soon as the host's address is on record."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        record = lab.bench.records.find(TOKEN)
        if record is not None and record.intent.startswith(("plug", "wait", "running")):
            there = make_machine(record, TRUTHS[TYPE])
            words = ssh.command(there, ssh.pin(there, lab.folder), "true")
            if proc.run(words, timeout_s=60, check=False).status == 0:
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


def fill(warm_ones: WarmPool[WarmHost]) -> None:
    while len(warm_ones.stock.warm) < 2:
        time.sleep(0.01)


def uname(lab: Lab, there: Machine) -> None:
    folder = lab.bench.records.folder(there.token)
    proc.run(ssh.command(there, ssh.pin(there, folder), "uname"), timeout_s=60)


def execution(lab: Lab, warm_ones: WarmPool[WarmHost]) -> None:
    with warm_ones.guest(timeout_s=600) as got:
        uname(lab, got.machine)


def in_turn(lab: Lab, warm_ones: WarmPool[WarmHost], executions: int) -> None:
    for _ in range(executions):
        execution(lab, warm_ones)


def at_once(lab: Lab, warm_ones: WarmPool[WarmHost], executions: int) -> None:
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        for job in [threads.submit(execution, lab, warm_ones) for _ in range(executions)]:
            job.result()


def cold_workflow(lab: Lab) -> None:
    with host(lab) as there:
        uname(lab, there)


def golden_build(mine: Settings, cache: Path) -> float:
    """Seconds to boot and save one golden guest, with QEMU and the image at hand."""
    (cache / "lab").mkdir(parents=True)
    for part in (mine.cache_dir / "lab").iterdir():
        if part.name.startswith(("qemu-", "image-", "acceleration")) and not part.name.endswith((".lock", ".half")):
            (cache / "lab" / part.name).symlink_to(part)
    bench = wiring.lab_bench(replace(mine, cache_dir=cache))
    return timed(lambda: bench.prepare([TYPE], quiet))


def timed(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def quiet(line: str) -> None:
    """Takes progress and says nothing."""


if __name__ == "__main__":
    main()

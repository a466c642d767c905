"""Compare our roles with other roles, and with a faster Ansible, each contender on fresh lab guests.

    .venv/bin/python benchmarks/roles.py --timesync DIR [--mitogen DIR] [--rounds N]

The role chrony_phc is compared with linux-system-roles' timesync (DIR is its checkout); both follow the same clock with
the same second opinion. The figures: seconds of a first and of a second run, the number of changes of the second, and
the time after the first until chronyd selected the clock. Then the whole configure stage runs with and without Mitogen
(DIR is the folder that holds ansible_mitogen), in turns. Other programs on the machine change the figures.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness import wiring
from harness.benches.lab.bench import LabBench
from harness.host import ssh
from harness.host.playbooks import PlayOutcome, PlayResult, Target, play
from harness.model import Token
from harness.system import proc, settings

ROOT = Path(__file__).parents[1]
SELECTED_DEADLINE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A playbook, its variables for a host, and the environment variables of Ansible."""

    name: str
    playbook: Path
    variables: Callable[[Target], dict[str, Any]]
    environment: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Round:
    first_s: float
    again_s: float
    changed_again: int
    selected_after_s: float | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timesync", type=Path, metavar="DIR", help="a checkout of linux-system-roles/timesync")
    parser.add_argument("--mitogen", type=Path, metavar="DIR", help="the folder that holds ansible_mitogen")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each contender (3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ptp-roles-") as folder:
        bench = wiring.lab_bench(settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": folder}))
        bench.prepare(["lab.phc", "lab.driver-off"], print)
        print(f"load before: {os.getloadavg()[0]:.2f}")
        print("| contender | first run | second run | changed by the second | clock selected after the first |")
        print("|---|---|---|---|---|")
        chrony = [chrony_phc(Path(folder))] + ([timesync(Path(folder), options.timesync)] if options.timesync else [])
        compare(chrony, bench, "lab.phc", options.rounds, Path(folder))
        stages = [configure({}, "configure stage")]
        if options.mitogen:
            plugins = {"ANSIBLE_STRATEGY_PLUGINS": str(options.mitogen / "ansible_mitogen/plugins/strategy")}
            stages.append(configure({"ANSIBLE_STRATEGY": "mitogen_linear", **plugins}, "configure stage with Mitogen"))
        compare(stages, bench, "lab.driver-off", options.rounds, Path(folder))
    return 0


# --- contenders


def chrony_phc(folder: Path) -> Contender:
    playbook = write_playbook(folder / "ours", str(ROOT / "roles/chrony_phc"))
    return Contender(name="chrony_phc", playbook=playbook, variables=alone, environment={})


def timesync(folder: Path, checkout: Path) -> Contender:
    playbook = write_playbook(folder / "timesync", str(checkout.absolute()))
    return Contender(name="timesync", playbook=playbook, variables=timesync_variables, environment={})


def configure(environment: dict[str, str], name: str) -> Contender:
    playbook = ROOT / "playbooks/configure.yml"
    return Contender(name=name, playbook=playbook, variables=second_opinion, environment=environment)


def second_opinion(target: Target) -> dict[str, Any]:
    address, port = (target.machine.second_opinion or "").split()
    return {"chrony_phc_second_opinion_address": address, "chrony_phc_second_opinion_port": int(port)}


def alone(target: Target) -> dict[str, Any]:
    """Build the variables of chrony_phc for a host on which the role ena_driver made no link to the clock."""
    return {**second_opinion(target), "chrony_phc_clock_name": "ena-ptp-*"}


def timesync_variables(target: Target) -> dict[str, Any]:
    address, port = (target.machine.second_opinion or "").split()
    return {
        "timesync_ntp_provider": "chrony",
        "timesync_chrony_custom_settings": [
            "refclock PHC /dev/ptp0 poll 0 dpoll 0 delay 0.000010 prefer",
            f"server {address} port {port} iburst minpoll 4 maxpoll 4 noselect",
        ],
    }


def write_playbook(folder: Path, role: str) -> Path:
    """Write a playbook of one role, with our ansible.cfg in the place where play() looks for it."""
    (folder / "playbooks").mkdir(parents=True)
    shutil.copy(ROOT / "ansible.cfg", folder / "ansible.cfg")
    playbook = folder / "playbooks/alone.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "roles": [role]}]))
    return playbook


# --- rounds


def compare(contenders: Sequence[Contender], bench: LabBench, kind: str, rounds: int, folder: Path) -> None:
    """Run the contenders in turns, so that the machine's changing load affects them alike, and print their rows."""
    rounds_by_name: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            with host(bench, kind, f"{contender.name.replace(' ', '-')}-{number}", folder) as target:
                rounds_by_name[contender.name].append(run_round(contender, target))
                print(f"{contender.name}: {rounds_by_name[contender.name][-1]}", file=sys.stderr)
    for name, all_rounds in rounds_by_name.items():
        selected = [row.selected_after_s for row in all_rounds if row.selected_after_s is not None]
        print(
            f"| {name} | {spread([row.first_s for row in all_rounds])} | {spread([row.again_s for row in all_rounds])} "
            f"| {max(row.changed_again for row in all_rounds)} "
            f"| {spread(selected)}, {len(selected)} of {len(all_rounds)} |",
            flush=True,
        )


@contextmanager
def host(bench: LabBench, kind: str, name: str, folder: Path) -> Iterator[Target]:
    token = Token(run="benchmark", host=name)
    (folder / name).mkdir()
    try:
        machine = bench.provision(token, kind, lambda line: None)
        with ssh.shared_connection() as control:
            known_hosts = ssh.write_known_hosts(machine, folder / name)
            ssh.wait_for_login(machine, known_hosts, tries=5, first_backoff_s=1, progress=lambda line: None)
            target = Target(machine=machine, known_hosts=known_hosts, control=control)
            proc.run(target.command("systemctl", "enable", "chrony"), timeout_s=120)  # as the package installs it
            yield target
    finally:
        bench.release(token)


def run_round(contender: Contender, target: Target) -> Round:
    first = play_contender(contender, target)
    selected = selected_after_s(target)
    second = play_contender(contender, target)
    return Round(first_s=first.seconds, again_s=second.seconds, changed_again=second.changed, selected_after_s=selected)


def play_contender(contender: Contender, target: Target) -> PlayResult:
    os.environ.update(contender.environment)
    try:
        result = play(
            contender.playbook,
            target,
            contender.variables(target),
            timeout_s=900,
            progress=lambda text: None,
            cancelled=lambda: False,
        )
    finally:
        for name in contender.environment:
            del os.environ[name]
    if result.outcome is not PlayOutcome.OK:
        raise SystemExit(f"{contender.name}: {result.message}\n{result.stdout[-2000:]}")
    return result


def selected_after_s(target: Target) -> float | None:
    """Return the seconds until chronyd selects a PHC; None when it does not within the deadline."""
    started_s = time.monotonic()
    while time.monotonic() < started_s + SELECTED_DEADLINE_S:
        sources = proc.run(target.command("chronyc", "-c", "sources"), timeout_s=30, check=False).stdout
        if any(line.startswith("#,*,PHC") for line in sources.splitlines()):
            return time.monotonic() - started_s
        time.sleep(0.5)
    return None


def spread(values: Sequence[float]) -> str:
    """Write the median, the minimum and the maximum."""
    return f"{statistics.median(values):.1f} s ({min(values):.1f}..{max(values):.1f})" if values else "never"


if __name__ == "__main__":
    sys.exit(main())

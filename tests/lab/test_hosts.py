"""One's own machines, by an inventory: lab guests stand in for them, as plain hosts that somebody else made."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

ROOT = Path(__file__).parents[2]
FILES = "find /etc /usr/local /var/lib -xdev -type f -printf '%p %s %T@\\n' | sort"


def inventory(host: Any, folder: Path) -> Path:
    """The guest, and one that nobody answers for."""
    machine = host.machine
    address, port = machine.second_opinion.split()
    known = folder / "known_hosts"
    known.write_text(f"{machine.known_host}\n127.0.0.1 {machine.known_host.split(maxsplit=1)[1]}\n")
    mine = {
        "ansible_host": machine.address,
        "ansible_port": machine.port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": machine.private_key,
        "chrony_phc_second_opinion_address": address,
        "chrony_phc_second_opinion_port": int(port),
        "chrony_phc_second_opinion_minpoll": 1,
        "chrony_phc_second_opinion_maxpoll": 1,
        "chrony_phc_delay_s": 0.0003,  # as the lab itself has it
    }
    nobody = {**mine, "ansible_host": "127.0.0.1", "ansible_port": 1}
    known.write_text(known.read_text() + f"[127.0.0.1]:1 {machine.known_host.split(maxsplit=1)[1]}\n")
    document = {"all": {"vars": {"ptp_harness_known_hosts": str(known)}, "hosts": {"mine": mine, "nobody": nobody}}}
    path = folder / "inventory.yaml"
    path.write_text(json.dumps(document))
    return path


def test_own_hosts_are_judged_as_they_are_then_configured_and_left_running(
    provision: Callable[[str, str], Any], tmp_path: Path
) -> None:
    host = provision("mine", "lab.driver-off")
    file = inventory(host, tmp_path)
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "books"), "PTP_HARNESS_SSH_TRIES": "1"}

    def run(*words: str) -> dict[str, tuple[str, str]]:
        command = [sys.executable, "-m", "harness", "run", "--inventory", str(file), "all", *words, "--json"]
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.stdout, done.stderr
        assert "no host made or removed" in done.stderr
        hosts = json.loads(done.stdout)["hosts"]
        print(*(f"{one['name']}: {one['sentence']}" for one in hosts), sep="\n")
        return {one["name"]: (one["outcome"], one["reason"]) for one in hosts}

    before = host.run(FILES)
    looked = run("--read-only", "--depth", "quick")
    assert looked == {"mine": ("FAIL", "driver_off"), "nobody": ("INCONCLUSIVE", "unreachable")}
    assert host.run(FILES) == before
    assert run("--depth", "quick")["mine"] == ("PASS", "synchronised")
    assert host.answers()
    assert "ena-ptp-" in host.run("cat /sys/class/ptp/ptp0/clock_name")

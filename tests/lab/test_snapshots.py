"""A snapshot is a host's disk as it was: what was written before is in a host made from it, what came after is not."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.benches.lab.bench import LabBench
from harness.errors import CommandError, RequestError
from harness.host import ssh
from harness.model import Token
from harness.system import proc

from .conftest import Host

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

ROOT = Path(__file__).parents[2]


def lab(environ: Mapping[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "harness", "lab", *words]
    return subprocess.run(argv, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_a_host_is_made_from_a_snapshot_of_another(bench: LabBench, tmp_path: Path) -> None:
    state = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}
    assert lab(state, "up", "lab.phc").returncode == 0
    lab(state, "ssh", "lab.phc", "echo before > /root/note; ln /root/note /root/same; chmod 640 /root/note")
    made = lab(state, "snapshot", "create", "lab.phc", "noted")
    assert (made.returncode, "snapshot noted of lab.phc" in made.stderr) == (0, True), made.stderr
    taken = lab(state, "snapshot", "create", "lab.phc", "noted")
    assert (taken.returncode, "there is a snapshot noted already" in taken.stderr) == (2, True)
    lab(state, "ssh", "lab.phc", "echo after > /root/note; touch /root/later")
    listed = lab(state, "snapshot", "list").stdout
    assert listed.split()[:2] == ["noted", "lab.phc"]
    assert 100 < float(listed.split()[2]) < 1200

    restored = lab(state, "snapshot", "restore", "noted")
    assert (restored.returncode, "lab.phc-2 is up" in restored.stderr) == (0, True), restored.stderr
    assert lab(state, "down", "lab.phc").returncode == 0  # the snapshot needs nothing of where it comes from
    look = "cat /root/note; stat -c %a /root/note; ls /root; hostname; cat /sys/class/ptp/ptp*/clock_name; date +%s"
    seen = lab(state, "ssh", "lab.phc-2", look)
    note, mode, *names, host, clock, _ = seen.stdout.split()
    assert (note, mode, names, host) == ("before", "640", ["note", "same"], "lab-lab-phc-2-1"), seen.stderr
    assert clock.startswith("ena-ptp-")

    refused = lab(state, "snapshot", "delete", "noted")
    assert refused.returncode == 2
    assert "snapshot noted is the disk of lab.phc-2" in refused.stderr
    assert "ptp-harness lab down lab.phc-2" in refused.stderr
    assert lab(state, "down", "lab.phc-2").returncode == 0
    assert lab(state, "snapshot", "delete", "noted").returncode == 0
    assert lab(state, "snapshot", "list").stderr == "no snapshots\n"
    assert list((tmp_path / "state" / "lab" / "snapshots").glob("noted*/*")) == []


def test_a_restored_host_can_be_kept_again_and_needs_no_earlier_one(
    provision: Callable[[str, str], Host], bench: LabBench, tmp_path: Path
) -> None:
    first = provision("a", "lab.driver-off")
    first.run("echo one > /root/one")
    record = bench.records.find(first.machine.token)
    assert record is not None
    one = bench.snapshots.create("one", record, print)
    second = bench.restore(Token(run="test", host="b"), one, print)
    known_hosts = ssh.write_known_hosts(second, tmp_path)
    proc.run(ssh.build_command(second, known_hosts, "echo two > /root/two"), timeout_s=60)
    record = bench.records.find(second.token)
    assert record is not None
    bench.snapshots.create("two", record, print)
    bench.release(first.machine.token)
    bench.release(second.token)
    bench.snapshots.delete("one", bench.records)
    third = bench.restore(Token(run="test", host="c"), bench.snapshots.find("two"), print)
    known_hosts = ssh.write_known_hosts(third, tmp_path)
    words = proc.run(
        ssh.build_command(third, known_hosts, "cat /root/one /root/two; hostname"), timeout_s=60
    ).stdout.split()
    assert words == ["one", "two", "test-c-1"]
    assert len({first.machine.known_host.split()[2], second.known_host.split()[2], third.known_host.split()[2]}) == 3


def test_a_failed_copy_leaves_no_snapshot_and_the_host_as_it_was(
    provision: Callable[[str, str], Host], bench: LabBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = provision("a", "lab.driver-off")
    record = bench.records.find(host.machine.token)
    assert record is not None
    monkeypatch.setattr("harness.benches.lab.guests.snapshots.COPY_DEADLINE_S", 0.0)
    with pytest.raises(CommandError, match="drive-backup did not end within 0 s"):
        bench.snapshots.create("never", record, print)
    assert bench.snapshots.all() == []
    monkeypatch.undo()
    bench.snapshots.create("then", record, print)
    assert [one.name for one in bench.snapshots.all()] == ["then"]
    bench.release(host.machine.token)
    with pytest.raises(RequestError, match="a does not run"):
        bench.snapshots.create("late", record, print)

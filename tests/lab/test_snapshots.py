"""A snapshot is a host as it was: what was written and ran before is in a host made from it, what came after is not."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.benches.lab.bench import LabBench
from harness.benches.lab.guests import cable
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
    assert (made.returncode, "snapshot noted of lab.phc: disk and memory" in made.stderr) == (0, True), made.stderr
    taken = lab(state, "snapshot", "create", "lab.phc", "noted")
    assert (taken.returncode, "there is a snapshot noted already" in taken.stderr) == (2, True)
    lab(state, "ssh", "lab.phc", "echo after > /root/note; touch /root/later")
    listed = lab(state, "snapshot", "list").stdout
    assert listed.split()[:2] == ["noted", "lab.phc"]
    assert 100 < float(listed.split()[2]) < 2000

    restored = lab(state, "snapshot", "restore", "noted")
    assert (restored.returncode, "lab.phc-2 is up" in restored.stderr) == (0, True), restored.stderr
    assert "restoring a guest from the snapshot" in restored.stderr
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


LOOK = """
cat /proc/sys/kernel/random/boot_id; cut -d ' ' -f 22 /proc/$(cat /run/running)/stat
cat /sys/class/ptp/ptp0/clock_name; systemctl is-active chrony; date +%s
hostname; cat /etc/machine-id; cat /sys/class/net/enp*/address
"""


def test_running_programs_go_on_in_both_hosts_and_each_has_its_identity_time_and_clock(
    provision: Callable[[str, str], Host], bench: LabBench, tmp_path: Path
) -> None:
    first = provision("a", "lab.phc")
    first.run("systemctl start chrony; setsid sleep 10000 > /dev/null 2>&1 < /dev/null & echo $! > /run/running")
    before = first.run(LOOK).split()
    record = bench.records.find(first.machine.token)
    assert record is not None
    snapshot = bench.snapshots.create("s", record, print)
    after = first.run(LOOK).split()
    assert abs(time.time() - int(after[4])) < 5  # the guest stood still for some seconds
    assert (after[:4], after[5:]) == (before[:4], before[5:])
    bench.release(first.machine.token)  # the snapshot needs nothing of it

    machine = bench.restore(Token(run="test", host="b"), snapshot, print)
    (tmp_path / "b").mkdir()
    second = Host(machine=machine, known_hosts=ssh.write_known_hosts(machine, tmp_path / "b"))
    restored = second.run(LOOK).split()
    assert restored[:4] == before[:4]
    assert abs(time.time() - int(restored[4])) < 5
    assert restored[5] == "test-b-1"
    assert [ours == theirs for ours, theirs in zip(restored[6:], before[6:], strict=True)] == [False, False]
    assert machine.known_host.split()[2] != first.machine.known_host.split()[2]
    assert second.run("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub").split() == machine.known_host.split()[1:3]


def test_a_disk_alone_is_booted_also_where_an_earlier_version_kept_it(
    provision: Callable[[str, str], Host], bench: LabBench, tmp_path: Path
) -> None:
    first = provision("a", "lab.driver-off")
    boot = first.boot()
    first.run("echo one > /root/one")
    record = bench.records.find(first.machine.token)
    assert record is not None
    snapshot = bench.snapshots.create("s", record, print, memory=False)
    assert first.boot() == boot
    document = json.loads((snapshot.folder / "snapshot.json").read_text())
    assert document.pop("machine") is None
    (snapshot.folder / "snapshot.json").write_text(json.dumps(document | {"schema": 1}))
    bench.release(first.machine.token)
    machine = bench.restore(Token(run="test", host="b"), bench.snapshots.find("s"), print)
    second = Host(machine=machine, known_hosts=ssh.write_known_hosts(machine, tmp_path))
    assert second.run("cat /root/one; hostname").split() == ["one", "test-b-1"]
    assert second.boot() != boot


def test_the_disk_of_a_host_with_a_cable_is_kept_without_memory(
    provision: Callable[[str, str], Host], bench: LabBench
) -> None:
    first, second = (bench.records.find(provision(name, "lab.driver-off").machine.token) for name in "ab")
    assert first is not None
    assert second is not None
    cable.lay_cable(cable.cable_end(first), cable.cable_end(second))
    messages: list[str] = []
    assert bench.snapshots.create("s", first, messages.append).machine is None
    assert any("QEMU cannot save the end of a cable" in message for message in messages)


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
    boot, card = host.boot(), host.run("ls /sys/bus/pci/drivers/ena | grep :")
    monkeypatch.setattr("harness.benches.lab.guests.guest_copy.COPY_DEADLINE_S", 0.0)
    for memory in (True, False):
        with pytest.raises(CommandError, match="drive-backup did not end within 0 s"):
            bench.snapshots.create("never", record, print, memory=memory)
        assert bench.snapshots.all() == []
        assert (host.boot(), host.run("ls /sys/bus/pci/drivers/ena | grep :")) == (boot, card)
    monkeypatch.undo()
    bench.snapshots.create("then", record, print)
    assert [one.name for one in bench.snapshots.all()] == ["then"]
    bench.release(host.machine.token)
    with pytest.raises(RequestError, match="a does not run"):
        bench.snapshots.create("late", record, print)

"""What is known of snapshots without any guest: which there are, what they are called, and whose disk they are."""

import fcntl
import json
import struct
from pathlib import Path

import pytest

from harness.benches.lab.guests.guest import new_record
from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords
from harness.benches.lab.guests.snapshots import Snapshot, Snapshots, backing, users
from harness.benches.lab.parts.command_line import restore_arguments
from harness.benches.lab.parts.saved_machine import machine_hash
from harness.benches.lab.truths.truths import TRUTHS
from harness.errors import RequestError
from harness.model import Token


def qcow2(path: Path, stands_on: str) -> None:
    """The header of a qcow2 disk, version 3, with the name of its backing file behind it."""
    name = stands_on.encode()
    head = struct.pack(">4sIQI", b"QFI\xfb", 3, 104 if name else 0, len(name))
    path.write_bytes(head.ljust(104, b"\0") + name)


def keep(snapshots: Snapshots, name: str, created: str = "2026-01-01T00:00:00+00:00") -> Snapshot:
    folder = snapshots.root / name
    folder.mkdir(parents=True)
    document = {"schema": 1, "instance_type": "lab.phc", "host": "lab/a/1", "created_utc": created, "release": "7.3"}
    (folder / "snapshot.json").write_text(json.dumps(document))
    qcow2(folder / "disk.qcow2", "")
    return snapshots.find(name)


def begin(records: GuestRecords, host: str) -> GuestRecord:
    token = Token(run="lab", host=host)
    return records.begin(new_record(token, TRUTHS["lab.phc"], records.folder(token)))


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "snapshots")


@pytest.fixture
def records(tmp_path: Path) -> GuestRecords:
    return GuestRecords(tmp_path / "hosts")


def test_whole_ones_are_listed_oldest_first_and_half_made_ones_are_not(snapshots: Snapshots) -> None:
    assert snapshots.all() == []
    second, first = keep(snapshots, "b", "2026-01-02"), keep(snapshots, "z", "2026-01-01")
    (snapshots.root / "a.half").mkdir()
    (snapshots.root / "empty").mkdir()
    keep(snapshots, "future", "2026-01-03")
    (snapshots.root / "future" / "snapshot.json").write_text('{"schema": 3}')
    assert snapshots.all() == [first, second]
    assert (first.name, first.instance_type, first.disk) == ("z", "lab.phc", snapshots.root / "z" / "disk.qcow2")
    assert first.bytes == sum(file.stat().st_blocks * 512 for file in (snapshots.root / "z").iterdir())


def test_one_of_an_earlier_version_has_no_memory(snapshots: Snapshots) -> None:
    truth = TRUTHS["lab.phc"]
    earlier = keep(snapshots, "earlier")
    assert (earlier.machine, earlier.can_load_memory(truth, "tcg", "11.1.3")) == (None, False)


def test_memory_is_loaded_by_the_machine_that_saved_it(snapshots: Snapshots) -> None:
    truth, folder, sockets = TRUTHS["lab.phc"], Path("/hosts/a"), Path("/run/a")
    saved = keep(snapshots, "saved")
    hardware = saved.bootable(truth, "tcg").hardware(
        disk=folder / "disk.qcow2", serial_log=folder / "serial.log", sockets=sockets
    )
    machine = machine_hash(restore_arguments(hardware), "11.1.3", folder=folder, sockets=sockets)
    document = json.loads((saved.folder / "snapshot.json").read_text()) | {"schema": 2, "machine": machine}
    (saved.folder / "snapshot.json").write_text(json.dumps(document))
    saved = snapshots.find("saved")
    assert saved.machine == machine
    assert saved.can_load_memory(truth, "tcg", "11.1.3")
    assert not saved.can_load_memory(truth, "kvm", "11.1.3")
    assert not saved.can_load_memory(truth, "tcg", "11.2.0")


def test_an_unknown_one_is_answered_with_those_that_there_are(snapshots: Snapshots) -> None:
    with pytest.raises(RequestError, match=r"no snapshot 'x' \(snapshots: none; `ptp-harness lab snapshot create`"):
        snapshots.find("x")
    keep(snapshots, "a")
    with pytest.raises(RequestError, match=r"no snapshot 'x' \(snapshots: a\)"):
        snapshots.find("x")


@pytest.mark.parametrize("name", ["", "../x", "/x", ".x", "a b", "x.half", "x.lock", "x" * 65])
def test_names_that_cannot_be_folders_are_refused(snapshots: Snapshots, records: GuestRecords, name: str) -> None:
    with pytest.raises(RequestError, match="cannot name a snapshot"):
        snapshots.create(name, begin(records, "a"), print)


def test_neither_a_taken_name_nor_a_host_that_does_not_run_makes_one(
    snapshots: Snapshots, records: GuestRecords
) -> None:
    keep(snapshots, "taken")
    record = begin(records, "a")
    with pytest.raises(RequestError, match=r"there is a snapshot taken already \(`ptp-harness lab snapshot delete"):
        snapshots.create("taken", record, print)
    with pytest.raises(RequestError, match="a does not run"):
        snapshots.create("free", record, print)


def test_one_is_not_deleted_while_a_host_stands_on_its_disk(snapshots: Snapshots, records: GuestRecords) -> None:
    mine, other = keep(snapshots, "mine"), keep(snapshots, "other")
    qcow2(begin(records, "a").overlay, str(mine.disk))
    qcow2(begin(records, "b").overlay, "/somewhere/else")
    begin(records, "c")  # it has no disk yet
    assert (users(mine, records), users(other, records)) == (["a"], [])
    with pytest.raises(RequestError, match=r"mine is the disk of a \(.*`ptp-harness lab down a`"):
        snapshots.delete("mine", records)
    snapshots.delete("other", records)
    assert [one.name for one in snapshots.all()] == ["mine"]
    records.find(Token(run="lab", host="a")).overlay.unlink()  # type: ignore[union-attr]
    snapshots.delete("mine", records)
    assert [path.name for path in snapshots.root.iterdir()] == [".lock"]


def test_none_is_deleted_while_a_host_is_made_from_one(snapshots: Snapshots, records: GuestRecords) -> None:
    keep(snapshots, "a")
    with snapshots.in_use(), snapshots.in_use(), pytest.raises(RequestError, match="being restored from a snapshot"):
        snapshots.delete("a", records)
    with (snapshots.root / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    snapshots.delete("a", records)
    assert snapshots.all() == []


def test_one_that_was_left_half_made_can_be_deleted(snapshots: Snapshots, records: GuestRecords) -> None:
    (snapshots.root / "a.half").mkdir(parents=True)
    snapshots.delete("a", records)
    assert list(snapshots.root.iterdir()) == []


def test_whose_disk_it_is_stands_in_the_disk(tmp_path: Path) -> None:
    qcow2(tmp_path / "alone", "")
    qcow2(tmp_path / "on", "/a/disk")
    (tmp_path / "short").write_bytes(b"QFI")
    assert [backing(tmp_path / name) for name in ("alone", "on", "short", "none")] == [
        None,
        Path("/a/disk"),
        None,
        None,
    ]

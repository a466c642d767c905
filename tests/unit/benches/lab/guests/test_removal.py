"""Everything of a host goes, found by its marks alone, with real processes."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from harness.benches.lab.guests import removal
from harness.benches.lab.guests.guest_records import GuestRecords
from harness.benches.lab.processes import process_tags, runtime_dir
from harness.errors import CleanupError
from harness.model import Resource, Token
from harness.system import proc

TOKEN = Token(run="removal", host="a")
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN_PROGRAM = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
print("x", flush=True)
time.sleep(600)
"""
STUBBORN = [sys.executable, "-c", STUBBORN_PROGRAM]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = GuestRecords(tmp_path / "hosts").folder(TOKEN)
    made.mkdir(parents=True)
    return made


def start(folder: Path, argv: list[str]) -> proc.ProcessId:
    return proc.spawn(argv, log=folder / "log", env=process_tags.environment(folder, process_tags.GUEST, str(TOKEN)))


def test_nothing_there_is_success(tmp_path: Path) -> None:
    assert not removal.has_resources(tmp_path / "never-was")
    removal.remove(tmp_path / "never-was")
    assert not (tmp_path / "never-was").exists()


def test_processes_sockets_and_folder_go_though_no_record_was_written(folder: Path) -> None:
    sockets = runtime_dir.make_private(runtime_dir.path_for(folder))
    (sockets / "qmp").touch()
    child = start(folder, SLEEP)
    assert removal.has_resources(folder)
    assert removal.resources(GuestRecords(folder.parent)) == [
        Resource(
            token=str(TOKEN),
            kind="folder",
            name=str(folder),
            detail="its maker was killed before its first record",
            owner=f"{folder.owner()}@{socket.gethostname()}",
        ),
        Resource(token=str(TOKEN), kind="folder", name=str(sockets), detail="sockets"),
        Resource(token=str(TOKEN), kind="process", name=str(child.pid), detail="guest"),
    ]
    removal.remove(folder)
    assert (child.alive(), sockets.exists(), folder.exists()) == (False, False, False)
    assert removal.resources(GuestRecords(folder.parent)) == []


def test_a_process_whose_folder_is_gone_is_still_found_and_ended(folder: Path) -> None:
    child = start(folder, SLEEP)
    (folder / "log").unlink()
    folder.rmdir()
    assert removal.resources(GuestRecords(folder.parent)) == [
        Resource(token=str(TOKEN), kind="process", name=str(child.pid), detail="guest")
    ]
    removal.remove(folder)
    assert not child.alive()


@pytest.mark.programs
def test_a_process_that_ignores_sigterm_and_its_child_are_killed(folder: Path) -> None:
    start(folder, STUBBORN)
    give_up = time.monotonic() + 10
    while (folder / "log").read_text() != "x\nx\n":
        assert time.monotonic() < give_up
        time.sleep(0.02)
    assert len(process_tags.processes_of_folder(folder)) == 2
    removal.remove(folder)
    assert process_tags.processes_of_folder(folder) == []


def test_another_hosts_processes_are_left_alone(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "hosts" / (folder.name + "1")
    other.mkdir()
    child = start(other, SLEEP)
    removal.remove(folder)
    assert child.alive()
    removal.remove(other)
    assert not child.alive()


def test_what_cannot_be_removed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.rmtree", lambda path, ignore_errors: None)
    with pytest.raises(CleanupError) as raised:
        removal.remove(folder)
    assert raised.value.leftovers == (str(folder),)
    assert str(folder) in raised.value.next_step


def test_the_token_of_a_folder_without_record_has_the_same_folder(tmp_path: Path) -> None:
    records = GuestRecords(tmp_path)
    for token in (TOKEN, Token(run="k3f9", host="lab.no-phc-2", attempt=12)):
        assert records.folder(removal.read_token(records.folder(token))) == records.folder(token)


def test_our_own_process_is_never_among_the_marked() -> None:
    assert os.getpid() not in [marked.process.pid for marked in process_tags.running_processes()]

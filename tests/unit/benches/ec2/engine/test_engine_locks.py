"""Whose lock is it, and does its holder live?"""

import datetime
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from harness.benches.ec2.engine import engine_locks
from harness.system import proc

NOW = datetime.datetime.now(datetime.UTC)


def lock(backend: Path, **others: object) -> Path:
    """A lock file as pkg/backend/diy/lock.go writes it."""
    path = backend / ".pulumi/locks/organization/ptp-harness/k3f9-m7i.large/0a1b.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name("0a1b.json.attrs").write_text("{}")
    told = {"pid": os.getpid(), "username": "ada", "hostname": socket.gethostname(), "timestamp": NOW.isoformat()}
    path.write_text(json.dumps(told | others))
    return path


def only(backend: Path) -> engine_locks.StackLock:
    (found,) = engine_locks.read_locks(backend, "ptp-harness", "k3f9-m7i.large")
    return found


def test_a_process_that_runs_holds_its_lock(tmp_path: Path) -> None:
    lock(tmp_path)
    assert only(tmp_path).held()
    assert str(only(tmp_path)).startswith(f"process {os.getpid()} of ada on {socket.gethostname()}, since ")


def test_a_process_that_is_gone_does_not(tmp_path: Path) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    lock(tmp_path, pid=child.pid)
    assert not only(tmp_path).held()


def test_one_that_began_after_the_lock_is_another_s(tmp_path: Path) -> None:
    me = proc.identify(os.getpid())
    assert me is not None
    before = datetime.datetime.fromtimestamp(proc.compute_start_s(me) - 60, datetime.UTC)
    lock(tmp_path, timestamp=before.isoformat())
    assert not only(tmp_path).held()


def test_a_lock_of_another_machine_is_taken_to_be_held(tmp_path: Path) -> None:
    lock(tmp_path, hostname="elsewhere", pid=1)
    assert only(tmp_path).held()
    assert not only(tmp_path).here


def test_other_stacks_locks_are_not_ours(tmp_path: Path) -> None:
    lock(tmp_path)
    assert engine_locks.read_locks(tmp_path, "ptp-harness", "k3f9-m7i.large-2") == []
    assert engine_locks.read_locks(tmp_path / "nowhere", "ptp-harness", "k3f9-m7i.large") == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 7}'])
def test_a_lock_that_was_never_finished_is_removed(tmp_path: Path, text: str) -> None:
    path = lock(tmp_path)
    path.write_text(text)
    assert engine_locks.read_locks(tmp_path, "ptp-harness", "k3f9-m7i.large") == []
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["2026-11-21T17:55:01.123456789Z", "2026-11-21T17:55:01.1+01:00", "2026-11-21T17:55:01Z"]
)
def test_go_s_times_are_read(tmp_path: Path, text: str) -> None:
    lock(tmp_path, timestamp=text)
    assert (only(tmp_path).acquired_at.year, only(tmp_path).acquired_at.second) == (2026, 1)

"""Whose lock is it, and does its holder live?"""

import datetime
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from harness.benches.ec2.engine import engine_locks
from harness.benches.ec2.engine.engine_locks import LockPatience
from harness.benches.ec2.engine.resource_failures import LockedError
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


PATIENCE = LockPatience(others_s=0.5, orphans_s=1.5)


def release(backend: Path, patience: LockPatience = PATIENCE) -> list[str]:
    said: list[str] = []
    engine_locks.release_locks(backend, "ptp-harness", "k3f9-m7i.large", patience, said.append)
    return said


def start_engine(owner: proc.ProcessId) -> "subprocess.Popen[bytes]":
    """A process in a session of its own with a child, as a worker and its engine are."""
    environ = {**os.environ, engine_locks.OWNER: f"{owner.pid}:{owner.start_ticks}"}
    words = ["sh", "-c", "sleep 60 & echo up; wait"]
    engine = subprocess.Popen(words, env=environ, start_new_session=True, stdout=subprocess.PIPE)
    assert engine.stdout is not None
    assert engine.stdout.readline() == b"up\n"
    return engine


def test_an_engine_whose_owner_has_ended_is_waited_for_and_killed(tmp_path: Path) -> None:
    engine = start_engine(proc.ProcessId(pid=os.getpid(), start_ticks=1))
    lock(tmp_path, pid=engine.pid, timestamp=datetime.datetime.now(datetime.UTC).isoformat())
    said = release(tmp_path)
    assert engine.wait(timeout=10) == -signal.SIGKILL
    assert engine.stdout is not None
    assert engine.stdout.read() == b"", "its child has ended too, which held the other end"
    assert engine_locks.read_locks(tmp_path, "ptp-harness", "k3f9-m7i.large") == []
    whose = f"process {engine.pid} of ada on {socket.gethostname()}, since "
    assert said[0].startswith("waiting up to ")
    assert f" s for Pulumi's engine of a run that has ended: {whose}" in said[0]
    assert said[1].startswith(f"killing Pulumi's engine, {whose}")


def test_an_orphan_that_ends_by_itself_is_not_killed(tmp_path: Path) -> None:
    engine = start_engine(proc.ProcessId(pid=os.getpid(), start_ticks=1))
    lock(tmp_path, pid=engine.pid, timestamp=datetime.datetime.now(datetime.UTC).isoformat())
    threading.Timer(0.5, lambda: os.killpg(engine.pid, signal.SIGTERM)).start()
    threading.Thread(target=engine.wait, daemon=True).start()
    (said,) = release(tmp_path, LockPatience(others_s=0.1, orphans_s=60))
    assert said.startswith("waiting up to 60 s for Pulumi's engine of a run that has ended: ")
    assert engine.wait(timeout=10) == -signal.SIGTERM


def test_the_engine_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    engine = start_engine(proc.own_process())
    lock(tmp_path, pid=engine.pid, timestamp=datetime.datetime.now(datetime.UTC).isoformat())
    try:
        with pytest.raises(LockedError, match=f"locked by process {engine.pid} of ada"):
            release(tmp_path)
        assert engine.poll() is None
    finally:
        proc.end_session(engine.pid)
        engine.wait()


def test_a_lock_of_another_machine_is_not_waited_for(tmp_path: Path) -> None:
    lock(tmp_path, hostname="elsewhere", pid=1)
    with pytest.raises(LockedError, match="on elsewhere"):
        release(tmp_path, LockPatience(others_s=60, orphans_s=60))


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

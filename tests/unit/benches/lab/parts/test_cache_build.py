"""Folders of the cache are whole or not there, and a half-built one is built again."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.benches.lab.parts import cache_build
from harness.benches.lab.processes import process_tags
from harness.errors import SetupError
from harness.system import proc, signals


def build(half: Path) -> None:
    (half / "content").write_text("whole")


def refuse(half: Path) -> None:
    raise AssertionError("built twice")


def test_built_once_and_found_the_next_time(tmp_path: Path) -> None:
    said: list[str] = []
    folder = cache_build.build_once(tmp_path / "x", "the thing", build, said.append)
    assert cache_build.build_once(tmp_path / "x", "the thing", refuse, said.append) == folder
    assert ((folder / "content").read_text(), said) == ("whole", [])


def test_a_half_built_one_is_thrown_away_with_whatever_works_on_it(tmp_path: Path) -> None:
    half = tmp_path / "x.half"
    half.mkdir()
    worker = proc.spawn(["sleep", "600"], log=half / "log", env=process_tags.environment(half, "build"))
    said: list[str] = []
    folder = cache_build.build_once(tmp_path / "x", "the thing", build, said.append)
    assert said == ["the thing: an earlier build was left half done; it is thrown away and built again"]
    assert [path.name for path in folder.iterdir()] == ["content"]
    assert not worker.alive()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SetupError("no")])
def test_a_build_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException] | BaseException) -> None:
    def fail(half: Path) -> None:
        build(half)
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        cache_build.build_once(tmp_path / "x", "the thing", fail, print)
    assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_a_killed_build_left_mounted_is_not_removed_with_it(tmp_path: Path) -> None:
    outside, inside = tmp_path / "the machine's own", tmp_path / "x.half" / "a root" / "dev"
    outside.mkdir()
    (outside / "null").touch()
    (outside / "pts").mkdir()
    inside.mkdir(parents=True)
    for point in (inside, inside / "pts"):
        proc.run(["mount", "--bind", str(outside), str(point)], timeout_s=30)
    cache_build.discard(tmp_path / "x.half")
    assert not (tmp_path / "x.half").exists()
    assert (outside / "null").exists()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_a_command_that_sigterm_ends_leaves_no_half_built_folder(tmp_path: Path) -> None:
    def be_terminated(half: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    with pytest.raises(KeyboardInterrupt), signals.raising_on_stop_signals():
        cache_build.build_once(tmp_path / "x", "the thing", be_terminated, print)
    assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]


def test_a_second_builder_waits_for_the_first(tmp_path: Path) -> None:
    said: list[str] = []
    with (tmp_path / "x.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(
            target=cache_build.build_once, args=(tmp_path / "x", "the thing", refuse, said.append)
        )
        second.start()
        while not said:
            time.sleep(0.01)
        (tmp_path / "x").mkdir()
    second.join(timeout=10)
    assert (second.is_alive(), said) == (False, ["the thing: another run is at it; waiting"])


def test_the_lock_of_a_killed_builder_holds_nobody_up(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    holds = f"import fcntl, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); "
    argv = [sys.executable, "-c", holds + "time.sleep(600)"]
    said: list[str] = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"1\n"
        second = threading.Thread(target=cache_build.build_once, args=(tmp_path / "x", "the thing", build, said.append))
        second.start()
        while not said:
            time.sleep(0.01)
        assert said == ["the thing: another run is at it; waiting"]
        holder.kill()
    second.join(timeout=10)
    assert ((tmp_path / "x" / "content").read_text(), lock.exists()) == ("whole", True), "the stale file may stay"


def test_too_little_room_is_told_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"the thing needs 1000000000 MiB of disk space and .* has \d+ MiB free"):
        cache_build.require_disk(tmp_path, 10**9, "the thing")


def test_only_what_is_whole_and_long_unused_is_pruned(tmp_path: Path) -> None:
    for name in ("image-old", "image-new", "image-old.half"):
        (tmp_path / name).mkdir()
    for name in ("image-old", "image-old.half"):
        os.utime(tmp_path / name, (0, 0))
    now_s = (tmp_path / "image-new").stat().st_mtime
    assert cache_build.prune(tmp_path, "image-*", now_s) == [tmp_path / "image-old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image-new", "image-old.half"]


def test_a_cache_that_cannot_be_written_gives_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache_build.build_once(tmp_path / "x", "the thing", build, print)
    monkeypatch.setattr(os, "access", lambda _path, mode: not mode & os.W_OK)
    assert cache_build.build_once(tmp_path / "x", "the thing", refuse, print) == folder
    with pytest.raises(cache_build.PartMissingError, match="has no other thing for this machine, and cannot be writ"):
        cache_build.build_once(tmp_path / "y", "other thing", refuse, print)
    assert not (tmp_path / "y.half").exists()


def test_a_part_that_this_user_may_not_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_listing(_path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refuse_listing)
    with pytest.raises(SetupError, match=rf"x cannot be read by the user {os.geteuid()} "):
        cache_build.build_once(tmp_path / "x", "the thing", refuse, print)


def test_a_shared_cache_can_be_read_by_all(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    program = cache_build.build_once(cache / "qemu-1", "QEMU", build, print) / "content"
    program.chmod(0o700)
    golden = cache_build.build_once(cache / "golden-1", "guest", build, print) / "content"
    golden.chmod(0o600)
    (golden.parent / "link").symlink_to("/nowhere")
    half = cache / "image-1.half"
    half.mkdir(mode=0o700)
    cache_build.share(cache)
    modes = [path.stat().st_mode & 0o777 for path in (cache, program.parent, program, golden, half)]
    assert modes == [0o755, 0o755 | program.parent.stat().st_mode & 0o777, 0o755, 0o644, 0o700]

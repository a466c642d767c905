"""How is a folder of the cache built once and whole, whoever asks for it at the same time and whatever interrupts it?

A folder is built under another name and renamed when it is complete, so that one that exists is whole. A lock lets one
process build; another waits. What a killed process left half-built, and what still works on it, is removed first.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.processes import process_tags
from harness.errors import SetupError
from harness.system import proc

HALF = ".half"
KEPT_UNUSED_S = 3 * 86_400
_REMOVAL_DEADLINE_S = 15.0


def build_once(folder: Path, what: str, build: Callable[[Path], None], progress: Progress) -> Path:
    """The folder, built by `build(half)` if it is not there. Raises what `build` raises, and SetupError."""
    if folder.is_dir():
        with suppress(OSError):
            os.utime(folder)  # used today: prune() looks at this
        return folder
    make_writable(folder.parent)
    with _locked(folder.with_name(folder.name + ".lock"), what, progress):
        if folder.is_dir():
            return folder
        half = folder.with_name(folder.name + HALF)
        if half.exists():
            progress(f"{what}: an earlier build was left half done; it is thrown away and built again")
            discard(half)
        half.mkdir()
        try:
            build(half)
        except BaseException:
            discard(half)
            raise
        half.rename(folder)
    return folder


def discard(folder: Path) -> None:
    """Remove a folder after ending whatever still works for it. Raises SetupError when it cannot be removed."""
    left = process_tags.end_all(folder)
    _unmount_within(folder)
    give_up = time.monotonic() + _REMOVAL_DEADLINE_S
    while folder.exists() and time.monotonic() < give_up:
        shutil.rmtree(folder, ignore_errors=True)  # what was killed may write on for a moment
        time.sleep(0.05)
    if folder.exists() or left:
        pids = ", ".join(str(marked.process.pid) for marked in left) or "none of ours"
        raise SetupError(f"cannot remove {folder} (processes in it: {pids})", next_step=f"rm -r {folder}")


def _unmount_within(folder: Path) -> None:
    """Undo the mounts of a killed build: whoever removes a folder with /dev mounted in it removes the machine's own.

    Raises SetupError when one stays.
    """
    for point in reversed(_mounts_within(folder)):  # the latest may lie in an earlier one
        proc.run(["umount", "--lazy", str(point)], timeout_s=30, check=False)
    if left := _mounts_within(folder):
        points = " ".join(map(str, left))
        raise SetupError(f"a killed build left mounts that cannot be undone: {points}", next_step=f"umount {points}")


def _mounts_within(folder: Path) -> list[Path]:
    """Mount points under a folder, in the order of their making: field 5 of proc_pid_mountinfo(5), blanks as \\040."""
    whole = folder.resolve()
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split(" ")[4].replace("\\040", " ")) for line in lines]
    return [point for point in points if whole in point.parents]


def prune(cache: Path, pattern: str, now_s: float) -> list[Path]:
    """Remove what nobody has used for some days, such as the images of earlier recipes; returns what was removed."""
    whole = [path for path in cache.glob(pattern) if path.is_dir() and path.suffix != HALF]
    old = [path for path in whole if now_s - path.stat().st_mtime > KEPT_UNUSED_S]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return old


def make_writable(folder: Path) -> Path:
    """The folder, made if need be. Raises SetupError when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        allowed = os.access(folder, os.W_OK | os.X_OK)
        why = "permission denied"
    except OSError as error:
        allowed, why = False, error.strerror or str(error)
    if not allowed:
        raise SetupError(
            f"{folder} cannot be written: {why}",
            next_step="set PTP_HARNESS_STATE_DIR and PTP_HARNESS_CACHE_DIR to directories that can",
        )
    return folder


def require_disk(folder: Path, needed_mib: int, what: str) -> None:
    """Raises SetupError when the disk under `folder` has less than `needed_mib` free."""
    free_mib = shutil.disk_usage(folder).free // 2**20
    if free_mib < needed_mib:
        raise SetupError(
            f"{what} needs {needed_mib} MiB of disk space and {folder} has {free_mib} MiB free",
            next_step="free some space, or set PTP_HARNESS_CACHE_DIR and PTP_HARNESS_STATE_DIR to another disk",
        )


@contextmanager
def _locked(path: Path, what: str, progress: Progress) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"{what}: another process is building it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield

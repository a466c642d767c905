"""Build each folder of the cache once and completely, with concurrent callers and after interrupted builds.

A cache that machines share may be read-only for some of them: they use what is there, and build nothing.

A folder is built under another name and renamed when complete: a folder under its final name is complete. A lock lets
one process build while others wait. Before a build, the half-built folder of a killed process is removed, and processes
that still work in it are ended.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from harness.benches.bench import Progress
from harness.benches.lab.processes import process_tags
from harness.errors import SetupError
from harness.system import file_locks, proc

HALF = ".half"
COMPLETE = ("golden-*", "image-*", "qemu-*")
"""Patterns of the folders of the cache; those of half-built ones end with HALF."""

KEPT_UNUSED_S = 3 * 86_400
_REMOVAL_DEADLINE_S = 15.0


class PartMissingError(SetupError):
    """A cache lacks a part of the lab, and cannot be written here."""


def build_once(folder: Path, label: str, build: Callable[[Path], None], progress: Progress) -> Path:
    """Return the folder; if absent, build it by `build(half)` first.

    Raises PartMissingError where it is absent and cannot be built, SetupError, and the errors of `build`.
    """
    if _is_complete(folder):
        with suppress(OSError):
            os.utime(folder)  # prune() reads the time of last use from here
        return folder
    if folder.parent.is_dir() and not os.access(folder.parent, os.W_OK | os.X_OK):
        raise PartMissingError(f"{folder.parent} has no {label} for this machine, and cannot be written here")
    make_writable(folder.parent)
    with file_locks.locked(folder.with_name(folder.name + ".lock"), label, progress):
        if folder.is_dir():
            return folder
        half = folder.with_name(folder.name + HALF)
        if half.exists():
            progress(f"{label}: an earlier build was left half done; it is thrown away and built again")
            discard(half)
        half.mkdir()
        try:
            build(half)
        except BaseException:
            discard(half)
            raise
        half.rename(folder)
    return folder


def _is_complete(folder: Path) -> bool:
    """Whether a folder of the cache is there. Raises SetupError where this user may not read it."""
    try:
        next(folder.iterdir(), None)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise SetupError(
            f"{folder} cannot be read by the user {os.geteuid()}",
            next_step="`ptp-harness lab build` with PTP_HARNESS_LAB_CACHE makes a cache that all users may read",
        ) from error
    return True


def share(cache: Path) -> None:
    """Let all users read the cache and its complete folders, as far as they belong to this user."""
    paths = [cache]
    for part in _list_complete(cache, COMPLETE):
        paths += [part, *part.rglob("*")]
    for path in paths:
        mode = path.lstat().st_mode
        readable = mode | (0o555 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o444)
        if readable != mode and not stat.S_ISLNK(mode):
            with suppress(PermissionError):
                path.chmod(stat.S_IMODE(readable))


def discard(folder: Path) -> None:
    """End the processes that work for a folder, then remove the folder. Raises SetupError when either fails."""
    remaining = process_tags.end_all(folder)
    _unmount_within(folder)
    deadline = time.monotonic() + _REMOVAL_DEADLINE_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)  # a killed process may write for a moment longer
        time.sleep(0.05)
    if folder.exists() or remaining:
        pids = ", ".join(str(tagged.process.pid) for tagged in remaining) or "none of ours"
        raise SetupError(f"cannot remove {folder} (processes in it: {pids})", next_step=f"rm -r {folder}")


def _unmount_within(folder: Path) -> None:
    """Undo the mounts of a killed build: removing a folder with /dev mounted in it would remove the machine's /dev.

    Raises SetupError when a mount stays.
    """
    for mount_point in reversed(_mounts_within(folder)):  # a later mount may lie within an earlier one
        proc.run(["umount", "--lazy", str(mount_point)], timeout_s=30, check=False)
    if remaining := _mounts_within(folder):
        points = " ".join(map(str, remaining))
        raise SetupError(f"a killed build left mounts that cannot be undone: {points}", next_step=f"umount {points}")


def _mounts_within(folder: Path) -> list[Path]:
    """List mount points under a folder, oldest first: field 5 of proc_pid_mountinfo(5), blanks as \\040."""
    resolved = folder.resolve()
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mount_points = [Path(line.split(" ")[4].replace("\\040", " ")) for line in lines]
    return [mount_point for mount_point in mount_points if resolved in mount_point.parents]


def _list_complete(cache: Path, patterns: Iterable[str]) -> list[Path]:
    found = [path for pattern in patterns for path in cache.glob(pattern)]
    return [path for path in found if path.suffix != HALF and path.is_dir()]


def prune(cache: Path, pattern: str, now_s: float) -> list[Path]:
    """Remove complete folders unused for KEPT_UNUSED_S, such as images of earlier recipes; return their paths."""
    old = [path for path in _list_complete(cache, [pattern]) if now_s - path.stat().st_mtime > KEPT_UNUSED_S]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return old


def make_writable(folder: Path) -> Path:
    """Create the folder if absent and return it. Raises SetupError when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        cause = "permission denied"
    except OSError as error:
        writable, cause = False, error.strerror or str(error)
    if not writable:
        raise SetupError(
            f"{folder} cannot be written: {cause}",
            next_step="set PTP_HARNESS_STATE_DIR and PTP_HARNESS_CACHE_DIR to directories that can",
        )
    return folder


def require_disk(folder: Path, needed_mib: int, label: str) -> None:
    """Check the free disk space under `folder`. Raises SetupError below `needed_mib`."""
    free_mib = shutil.disk_usage(folder).free // 2**20
    if free_mib < needed_mib:
        raise SetupError(
            f"{label} needs {needed_mib} MiB of disk space and {folder} has {free_mib} MiB free",
            next_step="free some space, or set PTP_HARNESS_CACHE_DIR and PTP_HARNESS_STATE_DIR to another disk",
        )

"""Run a program that sees only the files it needs, as a separate user: confine.py SPECIFICATION PROGRAM...

This script is run by its path, as root, with the standard library alone: it must start quickly. The specification is
one JSON object, written by `confinement.py`. In a private mount namespace this process binds the named files and
folders under a new root, each at its original path, leaves the old root, drops root's rights by setpriv(1), and
executes the program.
"""

import ctypes
import json
import os
import stat
import sys
from collections.abc import Iterable
from typing import Any

# <linux/sched.h>, <linux/mount.h>, <linux/fs.h>
NEW_MOUNTS, NEW_IPC, NEW_NETWORK = 0x00020000, 0x08000000, 0x40000000
READ_ONLY, NO_SETUID, NO_DEVICES, NO_PROGRAMS, REMOUNT = 0x1, 0x2, 0x4, 0x8, 0x20
NO_ACCESS_TIMES, NO_FOLDER_TIMES, RELATIVE_TIMES = 0x400, 0x800, 0x200000
BIND, RECURSIVE, PRIVATE = 0x1000, 0x4000, 0x40000
DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # glibc has no function for this system call
_LINKS = ("bin", "lib", "lib32", "lib64", "sbin")  # symbolic links into /usr on systems with a merged /usr
_KEPT = {
    os.ST_NOSUID: NO_SETUID,
    os.ST_NODEV: NO_DEVICES,
    os.ST_NOEXEC: NO_PROGRAMS,
    os.ST_NOATIME: NO_ACCESS_TIMES,
    os.ST_NODIRATIME: NO_FOLDER_TIMES,
    os.ST_RELATIME: RELATIVE_TIMES,
}
"""Flags of a mount point (statvfs(3)) that a remount must repeat, with the flags of mount(2)."""

_libc: Any = ctypes.CDLL(None, use_errno=True)


def main(specification: dict[str, Any], program: list[str]) -> None:
    """Build the new root and execute the program; never returns. Raises OSError when this machine does not allow it."""
    umask = os.umask(0o022)
    stage = specification["stage"]
    namespaces = NEW_MOUNTS | NEW_IPC | (0 if specification["network"] else NEW_NETWORK)
    _check(_libc.unshare(namespaces), "unshare")
    _mount(None, "/", None, RECURSIVE | PRIVATE)
    _mount("tmpfs", stage, "tmpfs", NO_SETUID, "mode=755,size=16m")
    _show(stage, specification["read"], specification["write"])
    for folder in specification["copy"]:
        if os.path.isdir(stage + folder):  # within a folder that is bound, as an installed package is
            _mount("tmpfs", stage + folder, "tmpfs", NO_SETUID, "mode=755,size=16m")
        _copy(folder, stage)
    _make_devices(stage, specification["devices"], specification["uid"])
    _enter(stage)
    os.umask(umask | 0o077)
    os.execv(specification["setpriv"], [*_rights(specification), *program])


def _rights(specification: dict[str, Any]) -> list[str]:
    """Make setpriv(1)'s arguments: another user, only the named capabilities, no new privileges."""
    uid, group = str(specification["uid"]), str(specification["group"])
    caps = ",".join(["-all", *(f"+{name}" for name in specification["capabilities"])])
    user = ["--reuid", uid, "--regid", uid, "--groups", group]
    sets = [argument for name in ("--inh-caps", "--ambient-caps", "--bounding-set") for argument in (name, caps)]
    return ["setpriv", *user, *sets, "--no-new-privs", "--"]


def _show(stage: str, read: Iterable[str], write: Iterable[str]) -> None:
    """Bind files and folders below `stage` at their original paths, a folder before its contents."""
    for name in _LINKS:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{stage}/{name}")
    writable = set(write)
    bound: list[str] = []
    for path in sorted({*read, *writable}, key=len):
        inside = any(path.startswith(folder + "/") for folder in bound)
        if inside and path not in writable:
            continue
        if not os.path.exists(path) or (os.path.islink(path) and path[1:] in _LINKS):
            continue
        bound.append(path)
        _bind(stage, path, READ_ONLY if path not in writable else 0)


def _bind(stage: str, path: str, flags: int) -> None:
    source, target = os.path.realpath(path), stage + path
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    _mount(source, target, None, BIND | RECURSIVE)
    current = os.statvfs(target).f_flag
    inherited = sum(flag for reported, flag in _KEPT.items() if current & reported)
    _mount(None, target, None, REMOUNT | BIND | NO_SETUID | NO_DEVICES | inherited | flags)


def _copy(folder: str, stage: str) -> None:
    """Copy files so that the user can read them, whatever the originals' modes. Python's cache needs the same times."""
    for path, _, names in os.walk(folder):
        os.makedirs(stage + path, exist_ok=True)
        for name in names:
            source = f"{path}/{name}"
            with open(source, "rb") as original, open(stage + source, "wb") as copy:
                copy.write(original.read())
                status = os.stat(original.fileno())
            os.utime(stage + source, ns=(status.st_atime_ns, status.st_mtime_ns))


def _make_devices(stage: str, devices: Iterable[str], uid: int) -> None:
    """Make device nodes owned by the user, independent of the modes of the machine's nodes."""
    for path in devices:
        if os.path.exists(path):
            os.makedirs(os.path.dirname(stage + path), exist_ok=True)
            os.mknod(stage + path, stat.S_IFCHR | 0o600, os.stat(path).st_rdev)
            os.chown(stage + path, uid, uid)


def _enter(stage: str) -> None:
    """Make the new root the only root (pivot_root(2), "pivot_root(".", ".")"), and read-only."""
    os.chdir(stage)
    _check(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", DETACH), "umount2")
    os.chdir("/")
    _mount(None, "/", None, REMOUNT | BIND | NO_SETUID | READ_ONLY)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _check(_libc.mount(*texts, ctypes.c_ulong(flags), None if options is None else options.encode()), f"mount {target}")


def _check(result: int, operation: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{operation}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]), sys.argv[2:])
    except OSError as error:
        print(f"confine: {error.strerror or error}", file=sys.stderr)
        sys.exit(126)

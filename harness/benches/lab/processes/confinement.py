"""Which user does a process that serves a guest run as, and what of this machine does it see?

QEMU, the emulated card and the NTP server read what a guest's root writes. Started by root, each guest's run as a user
of their own, without root's rights, and see nothing but the files that they need. Started by anybody else they run as
that user. `confine.py` does it; here stands who they are and what they see.
"""

import compileall
import functools
import hashlib
import json
import os
import pwd
import shutil
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.benches.lab.processes import confine, runtime_dir
from harness.errors import HarnessError
from harness.system import proc

SHARED_GROUP = 70_000
"""Reads what all guests are made of."""

FIRST_USER, USERS = 70_001, 9_999
"""Numbers without an account: between those that Debian and systemd give out and those for users' containers
(https://systemd.io/UIDS-GIDS, subuid(5))."""

_SYSTEM = tuple(map(Path, ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/sbin", "/etc/ld.so.cache")))
_DEVICES = ("/dev/null", "/dev/urandom")
_TRIAL_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileView:
    """What a program sees beside the system's programs and libraries, and the capabilities that it keeps.

    Of what is in `copy` it sees copies, so that their modes do not matter.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    copy: tuple[Path, ...] = ()
    devices: tuple[str, ...] = ()
    network: bool = False
    capabilities: tuple[str, ...] = ()


INTERPRETER = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The Python that a virtual environment is made from: guests' users may not be allowed into the environment itself."""


def python_view() -> tuple[Path, ...]:
    """What a Python program must see of it, where it needs the standard library alone."""
    return (Path(sys.base_prefix),)


@functools.cache
def compile_package(package: Path) -> Path:
    """The package, compiled where it lies: whoever is confined sees a copy, and would compile that at each start."""
    if can_confine():
        compileall.compile_dir(package, quiet=2)
    return package


def command(program: Sequence[str], folder: Path, view: FileView) -> list[str]:
    """The command line that starts a program for the guest whose folder it is: confined, where that is possible.

    Where it is not, the program gains no rights at least.
    """
    if can_confine():
        return _confined(program, guest_uid(folder), view)
    return [_setpriv(), "--no-new-privs", "--", *program]


def guest_uid(folder: Path) -> int:
    """The user of the guest whose folder it is, the same one each time. It has no account."""
    number = int.from_bytes(hashlib.sha256(str(folder).encode()).digest()[:8], "big")
    while _has_account(user := FIRST_USER + number % USERS):
        number += 1
    return user


def is_lab_uid(uid: int) -> bool:
    """Whether processes of this user may be this lab's."""
    return uid == os.geteuid() or (os.geteuid() == 0 and FIRST_USER <= uid < FIRST_USER + USERS)


def can_confine() -> bool:
    """Whether guests' processes run as users of their own."""
    return os.geteuid() == 0 and not why_not_confined()


@functools.cache
def why_not_confined() -> str:
    """Why root cannot start a program that is confined on this machine: what a trial says, or nothing."""
    try:
        trial = _confined([str(INTERPRETER), "-c", "pass"], FIRST_USER, FileView(read=python_view()))
        done = proc.run(trial, timeout_s=_TRIAL_DEADLINE_S, check=False)
    except HarnessError as error:
        return error.message
    words = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.status == 0 else (words[-1] if words else f"status {done.status}")


def unconfined_warning() -> str:
    """What root should know of guests that cannot be confined, or nothing."""
    if os.geteuid() == 0 and why_not_confined():
        return f"guests run as root, as this machine lets nobody confine them: {why_not_confined()}"
    return ""


def describe() -> str:
    """A sentence for `doctor`."""
    if os.geteuid() != 0:
        return "guests run as this user"
    if words := unconfined_warning():
        return words
    return f"each guest runs as a user of its own ({FIRST_USER} to {FIRST_USER + USERS - 1}) and sees its own files"


def share_read_only(*folders: Path) -> None:
    """Let all guests read these folders and the files in them, which are root's."""
    if can_confine():
        for folder in {folder.resolve() for folder in folders}:
            for path in (folder, *folder.iterdir()):
                with suppress(FileNotFoundError):  # another process renames what it has built
                    _share(path)


def give_to_guest(folder: Path, *files: Path) -> None:
    """Make files the guest's whose folder it is, and nobody else's."""
    for file in files:
        file.chmod(0o600)
        if can_confine():
            os.chown(file, guest_uid(folder), guest_uid(folder))


def let_guest_in(folder: Path, *, sockets: Path) -> None:
    """Let the guest into its folder, and let it make sockets; what is not its own it cannot remove there."""
    if can_confine():
        for path, mode in ((folder, 0o710), (sockets, 0o1770)):
            os.chown(path, -1, guest_uid(folder))
            path.chmod(mode)


def _share(path: Path) -> None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return
    if (found.st_uid, found.st_gid) != (0, SHARED_GROUP):
        os.chown(path, 0, SHARED_GROUP)
    wanted = found.st_mode & 0o777 | (0o750 if stat.S_ISDIR(found.st_mode) else 0o040)
    if found.st_mode & 0o777 != wanted:
        path.chmod(wanted)


def _setpriv() -> str:
    return shutil.which("setpriv") or "/usr/bin/setpriv"


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _confined(program: Sequence[str], user: int, view: FileView) -> list[str]:
    specification = {
        "stage": str(runtime_dir.make_private(runtime_dir.sockets_root() / "new-root")),
        "setpriv": _setpriv(),
        "uid": user,
        "group": SHARED_GROUP,
        "read": [str(path) for path in (*_SYSTEM, *view.read)],
        "write": [str(path) for path in view.write],
        "copy": [str(path) for path in view.copy],
        "devices": [*_DEVICES, *view.devices],
        "network": view.network,
        "capabilities": view.capabilities,
    }
    return [sys.executable, "-I", "-S", confine.__file__, json.dumps(specification), *program]

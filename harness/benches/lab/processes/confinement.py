"""Confine the processes that serve a guest: choose their user and the files that they see.

QEMU, the emulated card and the NTP server read data that a guest's root writes. Started by root, the processes of each
guest run as a separate user, without root's rights, and see only the files that they need. Started by another user,
they run as that user. This module chooses users and files; `confine.py` applies them.
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
"""Group that may read the files that all guests share."""

FIRST_USER, USERS = 70_001, 9_999
"""User ids without an account: between the ranges of Debian and systemd and the range of users' containers
(https://systemd.io/UIDS-GIDS, subuid(5))."""

_SYSTEM = tuple(map(Path, ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/sbin", "/etc/ld.so.cache")))
_DEVICES = ("/dev/null", "/dev/urandom")
_TUN = "/dev/net/tun"
_NETWORK_RIGHTS = ("net_admin", "net_bind_service")
_TRIAL_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileView:
    """The files that a program sees besides the system's programs and libraries, and the capabilities that it keeps.

    The program sees copies of the files in `copy`, so the originals' modes do not matter. With `network_admin` it may
    configure its network, which then is always its own, also where the program cannot be confined.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    copy: tuple[Path, ...] = ()
    devices: tuple[str, ...] = ()
    network: bool = False
    network_admin: bool = False
    capabilities: tuple[str, ...] = ()


INTERPRETER = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The base Python of the virtual environment: guests' users may have no access to the environment itself."""


def python_view() -> tuple[Path, ...]:
    """Return the folders that a Python program with only the standard library must see."""
    return (Path(sys.base_prefix),)


@functools.cache
def compile_package(package: Path) -> Path:
    """Compile a package in place and return it: a confined process sees a copy, and would compile it at each start."""
    if can_confine():
        compileall.compile_dir(package, quiet=2)
    return package


def command(program: Sequence[str], folder: Path, view: FileView) -> list[str]:
    """Make the command line that starts a program for the guest of `folder`, confined where possible.

    Where confinement is not possible, the program at least cannot gain privileges.
    """
    if can_confine():
        return _confine_command(program, guest_uid(folder), view)
    return [*_own_network(view), _setpriv(), "--no-new-privs", "--", *program]


def guest_uid(folder: Path) -> int:
    """Return the user id of the guest of `folder`, always the same, without an account."""
    number = int.from_bytes(hashlib.sha256(str(folder).encode()).digest()[:8], "big")
    while _has_account(uid := FIRST_USER + number % USERS):
        number += 1
    return uid


def is_lab_uid(uid: int) -> bool:
    """Tell whether processes of this user may belong to this lab."""
    return uid == os.geteuid() or (os.geteuid() == 0 and FIRST_USER <= uid < FIRST_USER + USERS)


def can_confine() -> bool:
    """Tell whether each guest's processes run as a separate user."""
    return os.geteuid() == 0 and not why_not_confined()


@functools.cache
def why_not_confined() -> str:
    """Try to start a confined program as root. Return the trial's error message, or an empty string on success."""
    try:
        argv = _confine_command([str(INTERPRETER), "-c", "pass"], FIRST_USER, FileView(read=python_view()))
        result = proc.run(argv, timeout_s=_TRIAL_DEADLINE_S, check=False)
    except HarnessError as error:
        return error.message
    lines = (result.stderr or result.stdout).strip().splitlines()
    return "" if result.status == 0 else (lines[-1] if lines else f"status {result.status}")


def unconfined_warning() -> str:
    """Return a warning for root when guests cannot be confined, else an empty string."""
    if os.geteuid() == 0 and why_not_confined():
        return f"guests run as root, since this machine cannot confine them: {why_not_confined()}"
    return ""


def describe() -> str:
    """Describe the confinement in one sentence for `doctor`."""
    if os.geteuid() != 0:
        return "guests run as this user"
    if warning := unconfined_warning():
        return warning
    return f"each guest runs as a user of its own ({FIRST_USER} to {FIRST_USER + USERS - 1}) and sees its own files"


def share_read_only(*folders: Path) -> None:
    """Let all guests read these folders and the files in them; root owns both."""
    if can_confine():
        for folder in {folder.resolve() for folder in folders}:
            for path in (folder, *folder.iterdir()):
                with suppress(FileNotFoundError):  # another process renames a completed build
                    _share(path)


def give_to_guest(folder: Path, *files: Path) -> None:
    """Give files to the guest of `folder` alone."""
    for file in files:
        file.chmod(0o600)
        if can_confine():
            os.chown(file, guest_uid(folder), guest_uid(folder))


def let_guest_in(folder: Path, *, sockets: Path) -> None:
    """Let the guest enter its folder and create sockets. It cannot remove other users' files there."""
    if can_confine():
        for path, mode in ((folder, 0o710), (sockets, 0o1770)):
            os.chown(path, -1, guest_uid(folder))
            path.chmod(mode)


def _own_network(view: FileView) -> tuple[str, ...]:
    """Return an unshare(1) prefix for a program that configures its network; nothing for any other program."""
    if not view.network_admin:
        return ()
    return ("unshare", "--net", "--") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net", "--")


def _share(path: Path) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return
    if (status.st_uid, status.st_gid) != (0, SHARED_GROUP):
        os.chown(path, 0, SHARED_GROUP)
    mode = status.st_mode & 0o777 | (0o750 if stat.S_ISDIR(status.st_mode) else 0o040)
    if status.st_mode & 0o777 != mode:
        path.chmod(mode)


def _setpriv() -> str:
    return shutil.which("setpriv") or "/usr/bin/setpriv"


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _confine_command(program: Sequence[str], user: int, view: FileView) -> list[str]:
    specification = {
        "stage": str(runtime_dir.make_private(runtime_dir.sockets_root() / "new-root")),
        "setpriv": _setpriv(),
        "uid": user,
        "group": SHARED_GROUP,
        "read": [str(path) for path in (*_SYSTEM, *view.read)],
        "write": [str(path) for path in view.write],
        "copy": [str(path) for path in view.copy],
        "devices": [*_DEVICES, *view.devices, *([_TUN] if view.network_admin else [])],
        "network": view.network,
        "capabilities": [*view.capabilities, *(_NETWORK_RIGHTS if view.network_admin else ())],
    }
    return [sys.executable, "-I", "-S", confine.__file__, json.dumps(specification), *program]

"""Choose the private directory for a guest's sockets. Its path is short: a unix socket's path has at most 107 bytes."""

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from harness.errors import SetupError


def sockets_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return this user's directory for sockets, created if absent. Raises SetupError when it is not private."""
    xdg_runtime_dir = environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        folder = Path("/run/ptp-harness")
    elif xdg_runtime_dir and os.access(xdg_runtime_dir, os.W_OK) and len(xdg_runtime_dir) < 60:
        folder = Path(xdg_runtime_dir) / "ptp-harness"
    else:
        folder = Path(f"/tmp/ptp-harness-{os.geteuid()}")
    return make_private(folder)


def make_private(folder: Path) -> Path:
    """Create a directory with mode 0700 if absent. Raises SetupError when another user owns it or may enter it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise SetupError(f"{folder} cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise SetupError(
            f"{folder} is not a private directory of this user",
            next_step=f"check its content, then `rm -r {folder}` or `chmod 700 {folder}`",
        )
    return folder


def make_empty(folder: Path) -> Path:
    """Make a directory private and empty, removing the remains of a killed process. Raises SetupError."""
    shutil.rmtree(folder, ignore_errors=True)
    return make_private(folder)


def path_for(folder: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory for the sockets of the guest of `folder`; the same for every call."""
    return sockets_root(environ) / hashlib.sha256(str(folder).encode()).hexdigest()[:12]

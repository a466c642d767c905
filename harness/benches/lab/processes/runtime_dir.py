"""Where do a guest's sockets live? In a short private directory, as a unix socket's path has at most 107 bytes."""

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from harness.errors import SetupError


def sockets_root(environ: Mapping[str, str] = os.environ) -> Path:
    """This user's directory for sockets, made if need be. Raises SetupError when it is not this user's alone."""
    given = environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        folder = Path("/run/ptp-harness")
    elif given and os.access(given, os.W_OK) and len(given) < 60:
        folder = Path(given) / "ptp-harness"
    else:
        folder = Path(f"/tmp/ptp-harness-{os.geteuid()}")
    return make_private(folder)


def make_private(folder: Path) -> Path:
    """The directory, made with mode 0700 if need be. Raises SetupError when somebody else owns it or may enter it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        seen = folder.lstat()
    except OSError as error:
        raise SetupError(f"{folder} cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
        raise SetupError(
            f"{folder} is not a directory of this user's alone",
            next_step=f"look at what it is, then `rm -r {folder}` or `chmod 700 {folder}`",
        )
    return folder


def make_empty(folder: Path) -> Path:
    """The directory, private and empty: what somebody who was killed left of it is removed. Raises SetupError."""
    shutil.rmtree(folder, ignore_errors=True)
    return make_private(folder)


def path_for(folder: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The directory for the sockets of the guest that is kept in `folder`: the same one each time, whoever asks."""
    return sockets_root(environ) / hashlib.sha256(str(folder).encode()).hexdigest()[:12]

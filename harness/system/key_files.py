"""Read keys from files, and make such files: a key is written once, readable by its owner alone."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from harness.errors import SetupError

LEAST_BYTES = 32


def read_key(path: Path, *, title: str, next_step: str) -> bytes:
    """Read the key in a file. Raises SetupError when the file cannot be read, or the key is too short."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise SetupError(f"the {title} {path} cannot be read: {error.strerror}", next_step=next_step) from error
    if len(key) < LEAST_BYTES:
        raise SetupError(f"the {title} {path} is too short: {len(key)} bytes of {LEAST_BYTES}", next_step=next_step)
    return key


def make_key(path: Path, *, title: str) -> None:
    """Write a new key if there is none. Two processes that do this at the same time end up with the same key.

    Raises SetupError when it cannot be written.
    """
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(LEAST_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
        partial.unlink()
    except OSError as error:
        raise SetupError(
            f"the {title} cannot be written to {path.parent}: {error.strerror}",
            next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
        ) from error

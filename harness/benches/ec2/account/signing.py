"""Load or create the key that signs resources made in EC2. It is created once, readable by its owner alone.

Controllers that share the file (PTP_HARNESS_SIGNING_KEY) can remove each other's leftovers and start hosts from each
other's baked images.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from harness.errors import SetupError
from harness.model.ownership import Signer
from harness.system.settings import Settings

_LEAST_BYTES = 32
_NEXT = "`openssl rand -hex 32 > FILE` makes one; unset PTP_HARNESS_SIGNING_KEY for a key of this state directory"


def load(settings: Settings) -> Signer:
    """Return the signer with the key file that the settings name, or with the key of the state directory.

    Raises SetupError when the file cannot be read or written, or the key is too short.
    """
    if settings.signing_key is not None:
        return Signer(_read(settings.signing_key))
    path = settings.state_dir / "ec2" / "signing-key"
    _make(path)
    return Signer(_read(path))


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise SetupError(f"the signing key {path} cannot be read: {error.strerror}", next_step=_NEXT) from error
    if len(key) < _LEAST_BYTES:
        raise SetupError(f"the signing key {path} is too short: {len(key)} bytes of {_LEAST_BYTES}", next_step=_NEXT)
    return key


def _make(path: Path) -> None:
    """Write a new key if there is none. Two processes that do this at the same time end up with the same key."""
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
        partial.unlink()
    except OSError as error:
        raise SetupError(
            f"the signing key cannot be written to {path.parent}: {error.strerror}",
            next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
        ) from error

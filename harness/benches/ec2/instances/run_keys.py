"""By which keys does a run speak to its hosts? Made here, for this run alone, and deleted after it.

A run's folder holds one user key pair, and per host the key by which it is first known. That one travels in the host's
user data; harness.host.host_key replaces it at first contact, and what takes its place is kept beside it.
"""

import shutil
import threading
from pathlib import Path

from harness.errors import SetupError
from harness.host import keys
from harness.model import Token

_MAKING = threading.Lock()
"""Threads of one process may ask for the same key at once. A run belongs to one process."""


class RunKeys:
    """The keys of one run, below a folder of its own (0700); files in it are 0600."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def user_key(self) -> Path:
        """The private key that logs in to the run's hosts; made when it is not there."""
        return _pair(self._folder / "user_key", "ptp-harness")

    @property
    def public_key(self) -> str:
        """Its public part."""
        return keys.public_key(self.user_key)

    def first_host_key(self, token: Token) -> str:
        """The OpenSSH private key that a host is to begin with; made when it is not there."""
        return _pair(self._host(token) / "first_key", token.slug).read_text()

    def rotated_key(self, token: Token) -> Path:
        """Where the lines of known_hosts are kept of a host whose key was changed."""
        return self._host(token) / "known_hosts"

    def known_host(self, token: Token, address: str, port: int = 22) -> str:
        """The lines by which a host is known now: those of its own key, else that of the one it began with."""
        kept = self.rotated_key(token)
        if kept.exists():
            return kept.read_text().strip()
        return keys.known_hosts_line(address, port, keys.public_key(_pair(self._host(token) / "first_key", token.slug)))

    def forget_host(self, token: Token) -> None:
        """Delete a host's keys. None there is success."""
        shutil.rmtree(self._host(token), ignore_errors=True)

    def forget(self) -> None:
        """Delete all keys of the run."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _host(self, token: Token) -> Path:
        return self._folder / f"{token.host}-{token.attempt}"


def _pair(path: Path, comment: str) -> Path:
    """The key pair at `path`, made under another name first: it is there whole or not at all."""
    with _MAKING:
        if not path.exists():
            new = path.with_name(f".{path.name}.new")
            try:
                for folder in reversed(path.parents[:3]):
                    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                for left in (new, keys.public_file(new)):  # by a process that was killed
                    left.unlink(missing_ok=True)
                keys.generate(new, comment)
                keys.public_file(new).replace(keys.public_file(path))
                new.replace(path)
            except OSError as error:
                raise SetupError(
                    f"keys cannot be written to {path.parent}: {error.strerror}",
                    next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
                ) from error
    return path

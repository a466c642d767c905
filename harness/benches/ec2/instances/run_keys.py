"""Make and delete the keys by which a run talks to its hosts. They are made for one run and deleted after it.

A run's folder holds one user key pair, and per host the host key that the host starts with. That host key travels in
the host's user data; harness.host.host_key replaces it at first contact, and the new key's line is stored beside it.
"""

import shutil
import threading
from pathlib import Path

from harness.errors import SetupError
from harness.host import keys
from harness.model import Token

_MAKING = threading.Lock()
"""Threads of one process may request the same key at the same time. A run belongs to one process."""


class RunKeys:
    """The keys of one run, in a folder of the run (0700); its files are 0600."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def user_key(self) -> Path:
        """The private key that logs in to the run's hosts; made when it does not exist."""
        return _pair(self._folder / "user_key", "ptp-harness")

    @property
    def public_key(self) -> str:
        """The public part of the user key."""
        return keys.read_public_key(self.user_key)

    def first_host_key(self, token: Token) -> str:
        """Return the OpenSSH private key that a host starts with; made when it does not exist."""
        return _pair(self._host(token) / "first_key", token.slug).read_text()

    def rotated_key(self, token: Token) -> Path:
        """Return the file with the known_hosts lines of a host whose key was rotated."""
        return self._host(token) / "known_hosts"

    def known_host(self, token: Token, address: str, port: int = 22) -> str:
        """Return the host's present known_hosts lines: for the rotated key if there is one, else for the first key."""
        rotated = self.rotated_key(token)
        if rotated.exists():
            return rotated.read_text().strip()
        return keys.known_hosts_line(
            address, port, keys.read_public_key(_pair(self._host(token) / "first_key", token.slug))
        )

    def forget_host(self, token: Token) -> None:
        """Delete a host's keys. A host without keys is success."""
        shutil.rmtree(self._host(token), ignore_errors=True)

    def forget(self) -> None:
        """Delete all keys of the run."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _host(self, token: Token) -> Path:
        return self._folder / f"{token.host}-{token.attempt}"


def _pair(path: Path, comment: str) -> Path:
    """Return the key pair at `path`. It is made under a temporary name, so that `path` never has half a pair."""
    with _MAKING:
        if not path.exists():
            partial = path.with_name(f".{path.name}.new")
            try:
                for folder in reversed(path.parents[:3]):
                    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                for file in (partial, keys.public_file(partial)):  # files of a process that was killed
                    file.unlink(missing_ok=True)
                keys.generate(partial, comment)
                keys.public_file(partial).replace(keys.public_file(path))
                partial.replace(path)
            except OSError as error:
                raise SetupError(
                    f"keys cannot be written to {path.parent}: {error.strerror}",
                    next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
                ) from error
    return path

"""Watch for exposed secrets while the command runs: in arguments of all processes and by modes of its files."""

import os
import stat
import threading
from pathlib import Path
from typing import Self

_INTERVAL_S = 0.25
_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----"


class Witness:
    """Watch in a thread during the `with` block. `secrets` are those that the command created meanwhile."""

    def __init__(self, state: Path) -> None:
        self._state_dir = state / "ec2"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.arguments: set[str] = set()
        self.secrets: set[str] = set()
        self.open_to_others: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def arguments_with_secrets(self, *, extra_secret: str) -> list[str]:
        """List the arguments that contained one of the secrets, or the extra one."""
        return [line for line in self.arguments if any(secret in line for secret in (*self.secrets, extra_secret))]

    def _watch(self) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            self.arguments |= {line for line in map(_arguments, _processes()) if line}
            for folder, _, names in os.walk(self._state_dir):
                self._inspect(Path(folder), 0o700)
                for name in names:
                    self._inspect(Path(folder) / name, 0o600)

    def _inspect(self, path: Path, mode: int) -> None:
        try:
            file_mode = path.lstat().st_mode
            if not stat.S_ISLNK(file_mode) and stat.S_IMODE(file_mode) & ~mode & 0o077:
                self.open_to_others.add(str(path.relative_to(self._state_dir.parent)))
            if path.name in ("passphrase", "signing-key"):
                self.secrets.add(path.read_text().strip())
            elif "keys" in path.parts and stat.S_ISREG(file_mode) and (text := path.read_text()).startswith(_KEY):
                self.secrets.add(text.splitlines()[4])  # one of the lines with the key itself
        except (OSError, IndexError):
            pass  # gone, or not whole yet


def find_files_with(folder: Path, secrets: set[str]) -> list[str]:
    """List the files, those of the ledger and the engine included, that contain one of the secrets."""
    paths = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        paths += [str(path.relative_to(folder)) for secret in secrets if secret.encode() in data]
    return paths


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()]


def _arguments(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""

"""Who sees a secret while the command runs? The arguments of all processes and the modes of its files are looked at."""

import os
import stat
import threading
from pathlib import Path
from typing import Self

_EVERY_S = 0.25
_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----"


class Witness:
    """Looks on in a thread for as long as the context lasts. `secrets` are those that the command made meanwhile."""

    def __init__(self, state: Path) -> None:
        self._ours = state / "ec2"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.arguments: set[str] = set()
        self.secrets: set[str] = set()
        self.open_to_others: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def told(self, *, beside: str) -> list[str]:
        """The arguments in which one of the secrets stood, or this one."""
        return [line for line in self.arguments if any(secret in line for secret in (*self.secrets, beside))]

    def _look_on(self) -> None:
        while not self._over.wait(_EVERY_S):
            self.arguments |= {line for line in map(_arguments, _processes()) if line}
            for folder, _, names in os.walk(self._ours):
                self._look_at(Path(folder), 0o700)
                for name in names:
                    self._look_at(Path(folder) / name, 0o600)

    def _look_at(self, path: Path, mode: int) -> None:
        try:
            said = path.lstat().st_mode
            if not stat.S_ISLNK(said) and stat.S_IMODE(said) & ~mode & 0o077:
                self.open_to_others.add(str(path.relative_to(self._ours.parent)))
            if path.name in ("passphrase", "signing-key"):
                self.secrets.add(path.read_text().strip())
            elif "keys" in path.parts and stat.S_ISREG(said) and (text := path.read_text()).startswith(_KEY):
                self.secrets.add(text.splitlines()[4])  # one of the lines with the key itself
        except (OSError, IndexError):
            pass  # gone, or not whole yet


def holding(folder: Path, secrets: set[str]) -> list[str]:
    """The files, also of the ledger and the engine, in which one of the secrets stands."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        found += [str(path.relative_to(folder)) for secret in secrets if secret.encode() in data]
    return found


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()]


def _arguments(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""

"""Read and write the host's files, and read what systemd says of units: what several modules of the roles do.

The modules import this by `..module_utils`, which Ansible resolves for a module of a role and of the collection alike.
"""

from __future__ import annotations

import json
import os

UNIT_PROPERTIES = "--property=Id,LoadState,ActiveState,UnitFileState,MainPID"


def text(path: str) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def read_json(path: str) -> dict | None:
    """The document in a file; None where there is no readable one."""
    try:
        return json.loads(text(path) or "null")
    except ValueError:
        return None


def write(module, path: str, wanted: str) -> list[str]:
    """The path in a list, when the file had to be written (in check mode: would have to be); else an empty list."""
    if text(path) == wanted:
        return []
    if not module.check_mode:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(wanted)
        os.chmod(path + ".new", 0o644)
        module.atomic_move(path + ".new", path)
    return [path]


def shown_units(said: str) -> list[dict]:
    """The units in what `systemctl show` says: properties by name, a block for each unit."""
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in said.split("\n\n") if block.strip()]


def unsettled_units(units: list[dict]) -> list[str]:
    """The names of units that are there and run, or would run after the next boot."""
    return [
        unit["Id"]
        for unit in units
        if unit["LoadState"] == "loaded"
        and (unit["ActiveState"] not in ("inactive", "failed") or unit["UnitFileState"] == "enabled")
    ]

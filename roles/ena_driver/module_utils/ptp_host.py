"""Read and write the host's files and parse systemd's properties of units, for several modules of the roles.

The modules import this by `..module_utils`, which Ansible resolves for a module of a role and of the collection alike.
"""

from __future__ import annotations

import json
import os

UNIT_PROPERTIES = "--property=Id,LoadState,ActiveState,UnitFileState,MainPID"


def text(path: str) -> str:
    """Read the text of a file; empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def read_json(path: str) -> dict | None:
    """Read a JSON document from a file; None when there is no readable one."""
    try:
        return json.loads(text(path) or "null")
    except ValueError:
        return None


def write(module, path: str, content: str) -> list[str]:
    """Write a file if its content differs; return [path] if it was written (in check mode: would be), else []."""
    if text(path) == content:
        return []
    if not module.check_mode:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(path + ".new", 0o644)
        module.atomic_move(path + ".new", path)
    return [path]


def parse_units(systemctl_output: str) -> list[dict]:
    """Parse the output of `systemctl show`: a block for each unit -> its properties by name."""
    return [
        dict(line.split("=", 1) for line in block.splitlines())
        for block in systemctl_output.split("\n\n")
        if block.strip()
    ]


def unsettled_units(units: list[dict]) -> list[str]:
    """List the names of units that are installed and run, or would run after the next boot."""
    return [
        unit["Id"]
        for unit in units
        if unit["LoadState"] == "loaded"
        and (unit["ActiveState"] not in ("inactive", "failed") or unit["UnitFileState"] == "enabled")
    ]

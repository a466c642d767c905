"""Run programs, read and write files, read the PTP clock, parse systemd's properties of units: for the roles' modules.

The modules import this by `..module_utils`, which Ansible resolves for a module of a role and of the collection alike.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import time

READS, READ_GAP_S = 5, 0.04  # chrony reads 25 times in a row: readings this far apart cannot all collide with them
PTP_SYS_OFFSET_EXTENDED = 0xC4C03D09  # _IOWR('=', 9, 1216 bytes): n_samples, 3 reserved, 25 x 3 x (s64 s, u32 ns, u32)
UNIT_PROPERTIES = "--property=Id,LoadState,ActiveState,UnitFileState,MainPID"


def run_program(
    module, argv: list[str], *, check_rc: bool = False, data: str | None = None, environ_update: dict | None = None
) -> tuple[int, str, str]:
    """Run a program to its end: (exit status, standard output, standard error), as `module.run_command` does.

    On a slow host that one loses what a program writes just before it ends (ansible/ansible#51393; so in ansible-core
    2.19 too). Fails the task when the program cannot be run, and with `check_rc` when it fails.
    """
    stdin = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    env = {**os.environ, **(environ_update or {})}
    try:
        done = subprocess.run(argv, **stdin, capture_output=True, encoding="utf-8", errors="replace", env=env)
    except OSError as error:
        module.fail_json(msg=f"{argv[0]} cannot be run: {error.strerror}", rc=error.errno)
    if check_rc and done.returncode != 0:
        module.fail_json(
            msg=done.stderr.rstrip(), cmd=" ".join(argv), rc=done.returncode, stdout=done.stdout, stderr=done.stderr
        )
    return done.returncode, done.stdout, done.stderr


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


def read_phc(device: str) -> tuple[int, int, int]:
    """Read a PTP clock five times; return the fastest reading: system clock before, PHC, system clock after, in ns.

    Raises OSError when the device cannot be opened or read.
    """
    readings = []
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(READS):
            time.sleep(READ_GAP_S)
            request = bytearray(1216)
            struct.pack_into("I", request, 0, 1)
            fcntl.ioctl(fd, PTP_SYS_OFFSET_EXTENDED, request)
            times = struct.unpack_from("qIIqIIqII", request, 16)
            readings.append(tuple(times[i] * 10**9 + times[i + 1] for i in (0, 3, 6)))
    finally:
        os.close(fd)
    return min(readings, key=lambda reading: reading[2] - reading[0])


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

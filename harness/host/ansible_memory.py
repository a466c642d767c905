"""Limit the memory of Ansible, because a host determines the length of its answers.

Ansible keeps the whole answer of a module. Its processes run within a limit of address space (ulimit -v). An answer
above the limit makes the task fail, and the harness goes on. The memory of the harness's own process is bounded by that
limit and by ansible-runner, which leaves a result of more than 700,000 characters out of its events.
"""

import shlex
import sys
from pathlib import Path

MOST_KIB = 512 * 1024
"""Maximum address space of each process; ansible-core 2.19 itself takes 210 MiB."""

MOST_STDOUT = 4 << 20
"""Maximum bytes of a play's output that are kept as evidence."""


def limited_ansible_folder(private: Path) -> Path:
    """Make a folder to put first on PATH: its `ansible-playbook` starts the real one within the memory limit."""
    folder = private / "bin"
    folder.mkdir(exist_ok=True)
    real = Path(sys.executable).parent / "ansible-playbook"
    command = folder / "ansible-playbook"
    command.write_text(f'#!/bin/sh\nulimit -v {MOST_KIB}\nexec {shlex.quote(str(real))} "$@"\n')
    command.chmod(0o700)
    return folder


def clip_output(stdout: Path) -> str:
    """Read a play's output; of a longer one only the first MOST_STDOUT bytes."""
    with stdout.open("rb") as file:
        return file.read(MOST_STDOUT).decode(errors="replace")

"""How much memory may Ansible take for what a host answers? So much and no more: a host decides how long its answer is.

Ansible keeps the whole answer of a module. Its processes run within a limit of their own (ulimit -v); where an answer
does not fit, the task fails, and we go on. What our own process gets of it is bounded by that, and by ansible-runner,
which leaves a result of more than 700,000 characters out of its events.
"""

import shlex
import sys
from pathlib import Path

MOST_KIB = 512 * 1024
"""Of address space for each process: ansible-core 2.19 itself takes 210 MiB."""

MOST_STDOUT = 4 << 20
"""Bytes of a play's words that are kept as evidence."""


def limited_ansible_folder(private: Path) -> Path:
    """A folder to put first on PATH, in which `ansible-playbook` is the real one within its limit."""
    made = private / "bin"
    made.mkdir(exist_ok=True)
    real = Path(sys.executable).parent / "ansible-playbook"
    command = made / "ansible-playbook"
    command.write_text(f'#!/bin/sh\nulimit -v {MOST_KIB}\nexec {shlex.quote(str(real))} "$@"\n')
    command.chmod(0o700)
    return made


def clip_output(stdout: Path) -> str:
    """What a play said, its beginning alone where it is long."""
    with stdout.open("rb") as file:
        return file.read(MOST_STDOUT).decode(errors="replace")

"""Name the virtual machine on which a guest's memory was saved. Only the same machine can load the memory.

The same machine has the same devices, the same release of QEMU, whose `q35` differs from other releases', and the same
processor, in whose ticks the guest's clock counts.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from harness.benches.lab.parts import golden

_FIRST = "-nodefaults"  # the first of boot_arguments(); QEMU's path and its sandbox come before
_NO_HARDWARE = {"-kernel": 2, "-initrd": 2, "-incoming": 2, "-S": 1}
"""Options that say how a guest starts, each with the number of its arguments."""


def machine_hash(arguments: Sequence[str], qemu_version: str, *, folder: Path, sockets: Path) -> str:
    """Hash what a saved guest depends on, from a command line of QEMU.

    `folder` and `sockets` are the folders of the guest, whose names do not matter.
    """
    options = list(arguments[arguments.index(_FIRST) :])
    for name, length in _NO_HARDWARE.items():
        if name in options:
            del options[options.index(name) : options.index(name) + length]
    options = [option.replace(str(sockets), "SOCKETS").replace(str(folder), "FOLDER") for option in options if option]
    dependencies = [qemu_version, golden.processor_name(), *options]
    return hashlib.sha256("\n".join(dependencies).encode()).hexdigest()[:12]

"""Read how much memory this machine has available, or this container where it may have less."""

import re
from pathlib import Path

_CGROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, usage and reclaimable part of the memory of a container's cgroup: version 2, version 1 (cgroups(7))."""


def read_available_mib(meminfo: Path = Path("/proc/meminfo"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Read the memory that is available without swapping, by the kernel's estimate (proc_meminfo(5)); 0 without one.

    In a container with a limit it is at most what is left of the limit.
    """
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    machine_mib = int(match[1]) // 1024 if match else 0
    container_mib = _read_left_of_limit_mib(cgroups)
    return machine_mib if container_mib is None else min(machine_mib, container_mib)


def _read_left_of_limit_mib(cgroups: Path) -> int | None:
    """Read what is left of a container's limit; None where there is no container or no limit."""
    for limit, usage, reclaimable in _CGROUPS:
        try:
            most, used = int((cgroups / limit).read_text()), int((cgroups / usage).read_text())
            stat = (cgroups / limit).with_name("memory.stat").read_text()
        except (OSError, ValueError):  # the limit of version 2 may be the word "max"
            continue
        match = re.search(rf"^{reclaimable} (\d+)$", stat, re.MULTILINE)
        return max(0, most - used + (int(match[1]) if match else 0)) // 2**20
    return None

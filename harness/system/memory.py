"""Read how much memory this machine has available."""

import re
from pathlib import Path


def read_available_mib(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Read the memory that is available without swapping, by the kernel's estimate (proc_meminfo(5)); 0 without one."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    return int(match[1]) // 1024 if match else 0

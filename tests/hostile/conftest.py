"""What hostile hosts, tags and files may say, and how much memory reading it may take."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20


@pytest.fixture
def memory_limit() -> Iterator[None]:
    """Within 512 MiB beside what this process has already; beyond that a test gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 512 * MIB, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

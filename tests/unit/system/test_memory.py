"""What the kernel says of memory."""

from pathlib import Path

import pytest

from harness.system import memory


@pytest.mark.parametrize(
    ("text", "mib"),
    [("MemTotal: 9 kB\nMemAvailable:    2097152 kB\n", 2048), ("MemAvailable: 1023 kB\n", 0), ("MemTotal: 9 kB\n", 0)],
)
def test_memory_is_what_the_kernel_estimates_and_nothing_where_it_does_not(text: str, mib: int, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(text)
    assert memory.read_available_mib(tmp_path / "meminfo") == mib


def test_this_machine_says_how_much_is_available() -> None:
    assert memory.read_available_mib() > 0

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


def describe_container(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


MIB = 2**20
VERSION_1 = {
    "memory/memory.limit_in_bytes": f"{1536 * MIB}\n",
    "memory/memory.usage_in_bytes": f"{700 * MIB}\n",
    "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n",
}
VERSION_2 = {
    "memory.max": f"{1536 * MIB}\n",
    "memory.current": f"{700 * MIB}\n",
    "memory.stat": f"anon 5\ninactive_file {100 * MIB}\n",
}


@pytest.mark.parametrize(
    ("files", "mib"),
    [
        (VERSION_1, 936),
        (VERSION_2, 936),
        ({**VERSION_2, "memory.current": f"{1700 * MIB}"}, 0),
        ({**VERSION_2, "memory.max": "max\n"}, 2048),
        ({**VERSION_1, "memory/memory.limit_in_bytes": "9223372036854771712\n"}, 2048),
        ({}, 2048),
    ],
)
def test_a_container_has_at_most_what_is_left_of_its_limit(files: dict[str, str], mib: int, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable:    2097152 kB\n")
    cgroups = describe_container(tmp_path / "cgroups", files)
    assert memory.read_available_mib(tmp_path / "meminfo", cgroups) == mib

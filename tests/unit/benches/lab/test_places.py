"""Places for guests are counted over all processes, and memory is looked at before anything is started."""

from pathlib import Path

import pytest

from harness import proc
from harness.bench import CapacityError
from harness.benches.lab import marks, places, removal

MEMINFO = "MemTotal:       16000000 kB\nMemAvailable:    1048576 kB\n"


def test_memory_just_fits(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(MEMINFO)
    places.fits(768, meminfo)
    with pytest.raises(CapacityError, match="needs 1025 MiB of memory and this machine has 1024 MiB available"):
        places.fits(769, meminfo)


def test_a_terabyte_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(CapacityError, match="needs 1048832 MiB"), places.one(most=3, memory_mib=2**20, progress=print):
        pytest.fail("a place was given")


def test_a_full_machine_is_told_with_who_fills_it(tmp_path: Path) -> None:
    folder = tmp_path / "h"
    folder.mkdir()
    proc.spawn(["sleep", "600"], log=folder / "log", env=marks.environment(folder, marks.GUEST, "places/a/1"))
    said: list[str] = []
    taken = len(places.guests())
    try:
        with (
            pytest.raises(CapacityError, match=rf"all {taken} places for lab guests stayed taken .*places/a/1"),
            places.one(most=taken, memory_mib=1, progress=said.append, wait_s=0.5),
        ):
            pytest.fail("a place was given")
        with places.one(most=taken + 50, memory_mib=1, progress=said.append):
            pass
    finally:
        removal.remove(folder)
    assert len(said) == 1
    assert said[0].startswith(f"waiting for one of {taken} places for guests, held by ")

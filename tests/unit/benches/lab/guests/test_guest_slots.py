"""Slots for guests are counted over all processes, and memory is looked at before anything is started."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.benches.bench import CapacityError
from harness.benches.lab.guests import guest_slots, removal
from harness.benches.lab.processes import process_tags
from harness.system import proc

MEMINFO = "MemTotal:       16000000 kB\nMemAvailable:    1048576 kB\n"


def test_memory_just_fits(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(MEMINFO)
    guest_slots.require_memory(768, meminfo)
    with pytest.raises(CapacityError, match="needs 1025 MiB of memory and this machine has 1024 MiB available"):
        guest_slots.require_memory(769, meminfo)


def test_a_terabyte_is_refused_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(CapacityError, match="needs 1048832 MiB"),
        guest_slots.guest_slot(most=3, memory_mib=2**20, progress=print),
    ):
        pytest.fail("a slot was given")


@pytest.fixture
def counted_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the guests of this test count: those of other tests, which run at the same time, begin and end."""
    of_the_machine = guest_slots.running_guests
    monkeypatch.setattr(
        guest_slots, "running_guests", lambda: [g for g in of_the_machine() if g.folder.is_relative_to(tmp_path)]
    )


@pytest.mark.usefixtures("counted_here")
def test_a_full_machine_is_told_with_who_fills_it(tmp_path: Path) -> None:
    folder = tmp_path / "h"
    folder.mkdir()
    proc.spawn(
        ["sleep", "600"], log=folder / "log", env=process_tags.environment(folder, process_tags.GUEST, "places/a/1")
    )
    said: list[str] = []
    try:
        assert not guest_slots.slot_is_free(1)
        assert guest_slots.slot_is_free(2)
        with (
            pytest.raises(CapacityError, match=r"all 1 slots for lab guests stayed taken .*places/a/1"),
            guest_slots.guest_slot(most=1, memory_mib=1, progress=said.append, wait_s=0.5),
        ):
            pytest.fail("a slot was given")
        with guest_slots.guest_slot(most=2, memory_mib=1, progress=said.append):
            pass
    finally:
        removal.remove(folder)
    assert len(said) == 1
    assert said[0].startswith("waiting for one of 1 slots for guests, held by places/a/1")


@pytest.mark.skipif(os.getuid() != 0, reason="only root sees the environment of other users' processes")
@pytest.mark.parametrize("hidden", [False, True], ids=["as it is", "owned by root in /proc"])
def test_another_user_takes_no_slot_and_is_not_ended(tmp_path: Path, hidden: bool) -> None:
    """A process that cannot be read by its own user (prctl(2), PR_SET_DUMPABLE) belongs to root in /proc."""
    hide = "libc.prctl(4, 0, 0, 0, 0); " if hidden else ""
    nobody = f"import ctypes, os, time; libc = ctypes.CDLL(None); os.setuid(65534); {hide}time.sleep(600)"
    process = proc.spawn(
        [sys.executable, "-c", nobody],
        log=tmp_path / "log",
        env=process_tags.environment(tmp_path, process_tags.GUEST, "theirs/a/1"),
    )
    try:
        assert eventually(lambda: "65534" in Path(f"/proc/{process.pid}/status").read_text())
        assert process not in [guest.process for guest in guest_slots.running_guests()]
        assert process_tags.end_all(tmp_path) == []
        assert process.alive()
    finally:
        proc.end(process)


def eventually(true: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + 20
    while not true() and time.monotonic() < give_up:
        time.sleep(0.05)
    return true()

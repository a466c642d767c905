"""Parse the marks of disturb.py: when each disturbance began and ended, in slots of the samples taken meanwhile."""

from collections.abc import Sequence
from typing import Any

from harness.model import Unparsed
from harness.model.disturbances import Disturbance, DisturbanceWindow
from harness.probes.reading import LONGEST_LINE, ParseNotes, json_object
from harness.probes.samples import Boot
from harness.untrusted.plain_text import clip

MOST_MARKS = 200
_EXPECTED = "a mark of disturb.py"
_NO_END = "its end was not marked"
_LONGEST_DETAIL = 300


def read_marks(
    text: str, *, where: str, boots: Sequence[Boot]
) -> tuple[tuple[DisturbanceWindow, ...], tuple[Unparsed, ...]]:
    """Parse marks in the order of their lines. `boots` are those of the samples, which give marks their slots.

    A disturbance whose end is not marked has a failure. A reboot ends with the first slot of the boot after it.
    """
    notes = ParseNotes(where)
    windows: list[DisturbanceWindow] = []
    open_marks: dict[Disturbance, tuple[int, int]] = {}  # the index of its window, and of its boot
    for number, line in enumerate(text.split("\n")[: MOST_MARKS + 1], 1):
        if not line.strip():
            continue
        try:
            if len(line) > LONGEST_LINE or number > MOST_MARKS:
                raise ValueError("too long")
            mark = json_object(line)
            name = Disturbance(mark["name"])
            boot, slot = _find_slot(mark, boots)
            if mark["kind"] == "begun":
                open_marks[name] = len(windows), boot
                windows.append(DisturbanceWindow(disturbance=name, begun=slot, ended=slot, failure=_NO_END))
            elif mark["kind"] == "ended":
                index, begun_boot = open_marks.pop(name)
                if name is Disturbance.REBOOT and begun_boot + 1 < len(boots):
                    slot = boots[begun_boot + 1].slot
                windows[index] = _close(windows[index], mark, slot)
            else:
                raise ValueError("unknown kind")
        except (ValueError, KeyError, TypeError, RecursionError):
            notes.refuse_line(number, line[:LONGEST_LINE], _EXPECTED)
    return tuple(windows), notes.unparsed


def _find_slot(mark: dict[str, Any], boots: Sequence[Boot]) -> tuple[int, int]:
    """Find the boot and the slot of a mark. Raises ValueError where the samples have no such boot."""
    mono_ns = mark["mono_ns"]
    if isinstance(mono_ns, bool) or not isinstance(mono_ns, int):
        raise ValueError("mono_ns is a whole number")
    for number, boot in enumerate(boots):
        if boot.boot_id == mark["boot_id"]:
            slot = boot.slot_of(mono_ns)
            if not 0 <= slot < 1 << 40:
                raise ValueError("a moment before the samples")
            return number, slot
    raise ValueError("a boot without samples")


def _close(window: DisturbanceWindow, mark: dict[str, Any], slot: int) -> DisturbanceWindow:
    if slot < window.begun:
        raise ValueError("an end before its beginning")
    error = mark.get("error")
    return DisturbanceWindow(
        disturbance=window.disturbance,
        begun=window.begun,
        ended=slot,
        detail=_describe(mark),
        failure=None if error is None else clip(str(error), _LONGEST_DETAIL),
    )


def _describe(mark: dict[str, Any]) -> str:
    """Say what the program tells of what it did: the programs that it ran, the bytes that it sent."""
    match mark["name"]:
        case Disturbance.CPU_LOAD if isinstance(mark.get("programs"), int):
            return f"{mark['programs']} busy program{'s' if mark['programs'] != 1 else ''}"
        case Disturbance.NETWORK_LOAD if isinstance(mark.get("bytes"), int) and isinstance(mark.get("interface"), str):
            return clip(f"{mark['bytes'] / 1e6:.0f} MB sent by {mark['interface']}", _LONGEST_DETAIL)
        case _:
            return ""

"""Does the role linuxptp know where ptp4l can run?"""

from collections.abc import Callable
from types import ModuleType

import pytest

FULL = """Time stamping parameters for eth0:
Capabilities:
\thardware-transmit
\tsoftware-transmit
\thardware-receive
\tsoftware-receive
\tsoftware-system-clock
\thardware-raw-clock
PTP Hardware Clock: 1
Hardware Transmit Timestamp Modes:
\toff
\ton
"""  # igb


@pytest.fixture(scope="module")
def why_not(load: Callable[[str], ModuleType]) -> Callable[[str, str], list[str]]:
    module = load("linuxptp/library/linuxptp_tools.py")
    return lambda said, max_adjustment: list(module.list_obstacles(said, lambda _path: max_adjustment))


@pytest.mark.parametrize("folder", ["in-tree-7.2-phc-on", "phc-on-debug"])
def test_an_ena_clock_can_only_be_read(
    why_not: Callable[[str, str], list[str]], captured: Callable[[str], str], folder: str
) -> None:
    assert why_not(captured(f"{folder}/ethtool-T.txt"), "0\n") == [
        "the clock is read-only",
        "there is no TX timestamping",
    ]


@pytest.mark.parametrize("folder", ["in-tree-6.12", "in-tree-7.2-phc-off", "no-phc-feature"])
def test_a_card_without_a_clock(
    why_not: Callable[[str, str], list[str]], captured: Callable[[str], str], folder: str
) -> None:
    assert why_not(captured(f"{folder}/ethtool-T.txt"), "") == ["the card has no PTP hardware clock"]


def test_a_card_that_stamps_both_ways_and_can_be_steered(why_not: Callable[[str, str], list[str]]) -> None:
    assert why_not(FULL, "62499999\n") == []


def test_each_lack_is_named(why_not: Callable[[str, str], list[str]]) -> None:
    assert why_not(FULL, "0\n") == ["the clock is read-only"]
    assert why_not(FULL.replace("\thardware-transmit\n", ""), "62499999\n") == ["there is no TX timestamping"]
    assert why_not(FULL.replace("\thardware-raw-clock\n", ""), "62499999\n") == ["the card lacks hardware-raw-clock"]

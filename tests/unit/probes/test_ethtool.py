"""ethtool's words on real drivers, in all three forms."""

from collections.abc import Callable

import pytest

from harness.errors import ParseError
from harness.probes import ethtool

Said = Callable[[str], str]

SOFTWARE = frozenset({"software-transmit", "software-receive", "software-system-clock"})
OUT_OF_TREE = ethtool.DriverInfo(driver="ena", version="2.17.0g", bus="0000:00:04.0")
OLD_KERNEL = ethtool.DriverInfo(driver="ena", version="6.12.107+deb13-amd64", bus="0000:00:05.0")
NEW_KERNEL = ethtool.DriverInfo(driver="ena", version="7.2.12+deb13-amd64", bus="0000:00:05.0")

STATES = {
    "in-tree-6.12": (OLD_KERNEL, None),
    "in-tree-7.2-phc-off": (NEW_KERNEL, None),
    "in-tree-7.2-phc-on": (NEW_KERNEL, 0),
    "mode-err_both": (OUT_OF_TREE, 0),
    "mode-err_eb": (OUT_OF_TREE, 0),
    "mode-err_ts": (OUT_OF_TREE, 0),
    "mode-silent": (OUT_OF_TREE, 0),
    "no-phc-feature": (OUT_OF_TREE, None),
    "phc-off": (OUT_OF_TREE, None),
    "phc-on-debug": (OUT_OF_TREE, 0),
    "spin": (OUT_OF_TREE, 0),
}


def test_every_captured_state(said: Said, states: tuple[str, ...]) -> None:
    found = {
        state: (
            ethtool.parse_driver_info(said(f"ena/{state}/ethtool-i.txt"), state),
            ethtool.parse_timestamping(said(f"ena/{state}/ethtool-T.txt"), state),
        )
        for state in states
    }
    assert found == {
        state: (info, ethtool.Timestamping(capabilities=SOFTWARE, clock_index=index))
        for state, (info, index) in STATES.items()
    }


def test_the_provider_form_of_newer_kernels_differs(said: Said) -> None:
    assert "Hardware timestamp provider index: 0" in said("ena/in-tree-7.2-phc-on/ethtool-T.txt")
    assert "PTP Hardware Clock: 0" in said("ena/phc-on-debug/ethtool-T.txt")


FULL = """Time stamping parameters for eth0:
Capabilities:
\thardware-transmit     (SOF_TIMESTAMPING_TX_HARDWARE)
\thardware-receive      (SOF_TIMESTAMPING_RX_HARDWARE)
\thardware-raw-clock    (SOF_TIMESTAMPING_RAW_HARDWARE)
PTP Hardware Clock: 1
Hardware Transmit Timestamp Modes:
\toff                   (HWTSTAMP_TX_OFF)
\ton                    (HWTSTAMP_TX_ON)
"""


def test_a_card_that_can_timestamp_fully() -> None:
    found = ethtool.parse_timestamping(FULL, "T")
    assert found == ethtool.Timestamping(
        capabilities=frozenset({"hardware-transmit", "hardware-receive", "hardware-raw-clock"}), clock_index=1
    )
    assert found.full_hardware


def test_receive_alone_is_not_full() -> None:
    """r7i.large, ENA 2.15.0g with PHC off: hardware-receive, and PTP Hardware Clock: none."""
    text = "Capabilities:\n\thardware-receive\n\thardware-raw-clock\nPTP Hardware Clock: none\n"
    found = ethtool.parse_timestamping(text, "T")
    assert (found.full_hardware, found.clock_index) == (False, None)


@pytest.mark.parametrize("line", ["PTP Hardware Clock: maybe", "netlink error: Operation not permitted", "Cannot get"])
def test_a_strange_line_is_refused(line: str) -> None:
    with pytest.raises(ParseError) as refused:
        ethtool.parse_timestamping(f"Capabilities:\n{line}\n", "ethtool-T/eth1")
    assert (refused.value.where, refused.value.line_number, refused.value.line) == ("ethtool-T/eth1", 2, line)


def test_no_line_about_the_clock_shows_nothing() -> None:
    with pytest.raises(ParseError):
        ethtool.parse_timestamping("Capabilities:\n\tsoftware-transmit\n", "T")


@pytest.mark.parametrize("text", ["", "version: 2.17.0g\n", "driver: ena\nCannot get driver information\n"])
def test_driver_info_without_a_driver_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        ethtool.parse_driver_info(text, "i")

"""Clocks, links, module, devlink and error bound: what the kernel's files say on real drivers."""

import errno
from collections.abc import Callable

import pytest

from harness.errors import ParseError
from harness.model import Capture, Clock
from harness.probes import devlink, error_bound, modinfo, module, ptp_sysfs

Said = Callable[[str], str]

CLOCK_04 = (Clock(device="ptp0", name="ena-ptp-04", pci="0000:00:04.0", max_adjustment_ppb=None),)
CLOCK_05 = (Clock(device="ptp0", name="ena-ptp-05", pci="0000:00:05.0", max_adjustment_ppb=None),)
WITHOUT = ("in-tree-6.12", "in-tree-7.2-phc-off", "no-phc-feature", "phc-off")


def test_clocks_in_every_captured_state(said: Said, states: tuple[str, ...]) -> None:
    found = {state: ptp_sysfs.parse_clocks(said(f"ena/{state}/ptp-class.txt"), state) for state in states}
    assert found == {
        state: () if state in WITHOUT else CLOCK_05 if state.startswith("in-tree") else CLOCK_04 for state in states
    }
    assert len(found) == 11


def test_clocks_as_the_collector_writes_them() -> None:
    text = (
        "/sys/class/ptp/ptp10/clock_name ptp_kvm\n/sys/class/ptp/ptp10/max_adjustment 0\n"
        "/sys/class/ptp/ptp10/device -\n"
        "/sys/class/ptp/ptp2/clock_name ena-ptp-05\n/sys/class/ptp/ptp2/max_adjustment -\n"
        "/sys/class/ptp/ptp2/device 0000:00:05.0\n"
    )
    assert ptp_sysfs.parse_clocks(text, "ptp-class") == (
        Clock(device="ptp2", name="ena-ptp-05", pci="0000:00:05.0", max_adjustment_ppb=None),
        Clock(device="ptp10", name="ptp_kvm", pci=None, max_adjustment_ppb=0),
    )


@pytest.mark.parametrize(
    "text",
    [
        "/sys/class/ptp/ptp0/max_adjustment 0\n",
        "/sys/class/ptp/ptp0/clock_name ena\n/sys/class/ptp/ptp0/max_adjustment many\n",
        "cat: /sys/class/ptp/ptp0/clock_name: Permission denied\n",
        "lrwxrwxrwx 1 root root 0 Nov 21 03:00 ptp0 -> ../../devices/virtual/ptp/ptp0\n",
    ],
)
def test_a_clock_without_a_name_and_other_words_are_refused(text: str) -> None:
    with pytest.raises(ParseError):
        ptp_sysfs.parse_clocks(text, "ptp-class")


def test_links() -> None:
    assert ptp_sysfs.parse_links("/dev/ptp_ena -> ptp0\n/dev/ptp_kvm -> /dev/ptp1\n", "l") == {
        "/dev/ptp_ena": "ptp0",
        "/dev/ptp_kvm": "ptp1",
    }
    assert ptp_sysfs.parse_links("", "l") == {}
    with pytest.raises(ParseError):
        ptp_sysfs.parse_links("/dev/ptp_ena -> sda\n", "l")


PARAMETERS = {
    "debug": "-1",
    "enable_bql": "0",
    "enable_frag_bypass": "0",
    "force_large_llq_header": "65535",
    "num_io_queues": "128",
    "phc_enable": "1",
    "rx_queue_size": "1024",
}


def test_loaded_module_in_every_captured_state(said: Said, states: tuple[str, ...]) -> None:
    in_tree = module.LoadedModule(version=None, parameters={}, loaded=("ena",))
    on = module.LoadedModule(version="2.17.0g", parameters=PARAMETERS, loaded=("ena",))
    off = module.LoadedModule(version="2.17.0g", parameters={**PARAMETERS, "phc_enable": "0"}, loaded=("ena",))
    found = {state: module.parse(said(f"ena/{state}/module.txt"), state) for state in states}
    assert found == {
        state: in_tree if state.startswith("in-tree") else off if state == "phc-off" else on for state in states
    }


def test_a_strange_module_line_is_refused() -> None:
    with pytest.raises(ParseError) as refused:
        module.parse("2.17.0g\nlsmod: command not found\n", "module")
    assert (refused.value.line_number, refused.value.line) == (2, "lsmod: command not found")


OUT_OF_TREE = ("debug", "rx_queue_size", "force_large_llq_header", "num_io_queues", "enable_bql", "enable_frag_bypass")
MODINFO = {
    "in-tree-6.12": modinfo.ModuleFile(version=None, parameters=()),
    "in-tree-7.2": modinfo.ModuleFile(version=None, parameters=()),
    "2.17.0g-phc": modinfo.ModuleFile(version="2.17.0g", parameters=(*OUT_OF_TREE, "lpc_size", "phc_enable")),
    "2.17.0g-no-phc": modinfo.ModuleFile(version="2.17.0g", parameters=(*OUT_OF_TREE, "lpc_size")),
}


@pytest.mark.parametrize("name", MODINFO)
def test_modinfo_of_real_modules(said: Said, name: str) -> None:
    assert modinfo.parse(said(f"ena/modinfo/{name}.txt"), name) == MODINFO[name]


@pytest.mark.parametrize("text", ["", "modinfo: ERROR: Module ena not found.\n", "filename: x\nwhat is this\n"])
def test_modinfo_s_errors_are_refused(text: str) -> None:
    with pytest.raises(ParseError):
        modinfo.parse(text, "modinfo")


def test_devlink_in_every_captured_state(said: Said, states: tuple[str, ...]) -> None:
    found = {state: devlink.parse(said(f"ena/{state}/devlink.txt"), state) for state in states}
    switches = {"in-tree-7.2-phc-off": {"0000:00:05.0": False}, "in-tree-7.2-phc-on": {"0000:00:05.0": True}}
    assert found == {state: switches.get(state, {}) for state in states}


def test_devlink_of_other_cards_is_noise() -> None:
    text = (
        "pci/0000:01:00.0\npci/0000:01:00.0:\n  name max_macs type generic\n    values:\n"
        "      cmode driverinit value 128\n  name enable_phc type generic\n    values:\n"
        "      cmode runtime value true\npci/0000:01:00.0:\n  driver mlx5_core\n  versions:\n      fixed:\n"
        "        fw.psid MT_0000000080\n"
    )
    assert devlink.parse(text, "devlink") == {"0000:01:00.0": None}


@pytest.mark.parametrize(
    "text",
    [
        "devlink answers: Operation not permitted\n",
        "  driver ena\n",
        "      cmode driverinit value true\n",
        "pci/0000:00:05.0:\n  name enable_phc type generic\n      cmode driverinit value perhaps\n",
    ],
)
def test_devlink_s_other_words_are_refused(text: str) -> None:
    with pytest.raises(ParseError):
        devlink.parse(text, "devlink")


def test_error_bound_in_every_captured_state(said: Said, states: tuple[str, ...]) -> None:
    absent = error_bound.ErrorBound(published=False, value_ns=None)
    refused = error_bound.ErrorBound(published=True, value_ns=None)
    found = {}
    for state in states:
        text = said(f"ena/{state}/error-bound.txt")
        rc = 0 if text.strip().isdigit() else 1
        found[state] = error_bound.parse(Capture(command="cat", rc=rc, out=text), state)
    assert found == {
        **dict.fromkeys(("in-tree-6.12", "in-tree-7.2-phc-off", "in-tree-7.2-phc-on"), absent),
        **dict.fromkeys(("no-phc-feature", "phc-off"), absent),
        **dict.fromkeys(("mode-err_both", "mode-err_eb", "mode-err_ts", "mode-silent"), refused),
        "phc-on-debug": error_bound.ErrorBound(published=True, value_ns=0),
        "spin": error_bound.ErrorBound(published=True, value_ns=20_000),
    }


@pytest.mark.parametrize(
    ("rc", "out", "wanted"),
    [
        (0, "20000\n", error_bound.ErrorBound(published=True, value_ns=20_000)),
        (errno.EBUSY, "", error_bound.ErrorBound(published=True, value_ns=None)),
        (errno.ENOENT, "", error_bound.ErrorBound(published=False, value_ns=None)),
        (errno.EACCES, "", None),
        (None, "", None),
    ],
)
def test_error_bound_as_the_collector_writes_it(rc: int | None, out: str, wanted: object) -> None:
    assert error_bound.parse(Capture(command="phc_error_bound", rc=rc, out=out), "e") == wanted


@pytest.mark.parametrize("out", ["", "-1", "20 us", "20000\n20000"])
def test_an_error_bound_that_is_no_number_is_refused(out: str) -> None:
    with pytest.raises(ParseError):
        error_bound.parse(Capture(command="phc_error_bound", rc=0, out=out), "e")

"""Does ena_phc.py find the way to a clock, and the right words where there is none?"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PCI = "0000:00:05.0"
SET = f"devlink dev param set pci/{PCI} name enable_phc value true cmode driverinit"
REFUSED = (
    "devlink dev param set ...",
    95,
    "",
    "Error: ena: Device doesn't support PHC.\nkernel answers: Operation not supported\n",
)


@pytest.fixture(scope="module")
def script(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("ena_driver/files/ena_phc.py")


@pytest.fixture
def host(script: ModuleType) -> Any:
    """A host with an ENA card whose driver has no switch (in-tree 6.12)."""
    return script.Host(
        boot_id="b0", kernel="6.12.107+deb13-amd64", kernel_has_ptp=True, module="m0", outdated=False,
        devices={PCI: script.Device("ena", ["eth1"], False)}, clock=None, parameter=None, devlink={},
    )  # fmt: skip


BY_PARAMETER = [["modprobe ptp", "modprobe -r ena", "modprobe ena phc_enable=1 dyndbg=format PHC +p"]]
# Never a reload that devlink's `set` has not allowed: where the in-tree driver cannot start the clock, it hangs.
BY_DEVLINK = [[SET, f"devlink dev reload pci/{PCI}"]]


@pytest.mark.parametrize(
    ("change", "decision", "commands"),
    [
        ({"devices": {}}, "no_device", []),
        ({}, "not_capable", []),
        ({"clock": "ptp0", "devlink": {PCI: True}}, "clock_present", []),
        ({"clock": "ptp0", "parameter": "1"}, "clock_present", []),
        ({"devlink": {PCI: False}}, "devlink", BY_DEVLINK),
        ({"devlink": {PCI: True}}, "already_on", BY_DEVLINK),
        # The parameter goes before devlink in a driver that has both.
        ({"parameter": "0", "devlink": {PCI: False}}, "module_parameter", BY_PARAMETER),
        ({"parameter": "1"}, "already_on", BY_PARAMETER),
        # Another driver has been installed since: it is loaded in place of this one.
        ({"parameter": "", "outdated": True}, "module_parameter", BY_PARAMETER),
        ({"parameter": "1", "outdated": True}, "module_parameter", BY_PARAMETER),
        ({"clock": "ptp0", "parameter": "1", "outdated": True}, "module_parameter", BY_PARAMETER),
    ],
)
def test_the_order_of_decisions(
    script: ModuleType, host: Any, change: dict[str, Any], decision: str, commands: list[list[str]]
) -> None:
    seen = replace(host, **change)
    assert script.decide(seen) == decision
    assert [[" ".join(argv) for argv in way] for way in script.plan_commands(seen, decision)] == commands


def test_nothing_is_run_after_a_refusal(script: ModuleType, tmp_path: Path) -> None:
    attempts: list[Any] = []
    assert not script.run_in_order([["false"], ["touch", str(tmp_path / "ran")]], attempts)
    assert [(attempt.command, attempt.rc) for attempt in attempts] == [("false", 1)]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("refused", "ran"),
    [
        ((), ["modprobe ena"]),
        (("modprobe",), ["modprobe ena", "insmod {modules}/k/kernel/drivers/net/ethernet/amazon/ena/ena.ko.xz"]),
        (
            ("modprobe", "insmod"),
            ["modprobe ena", "insmod {modules}/k/kernel/drivers/net/ethernet/amazon/ena/ena.ko.xz"],
        ),
    ],
)
def test_a_host_whose_new_driver_is_refused_gets_the_kernels_own_back(
    script: ModuleType,
    host: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: tuple[str, ...],
    ran: list[str],
) -> None:
    """Else it would have no network any more, and nobody could ask it why."""
    modules, loaded = tmp_path / "modules", tmp_path / "loaded"
    for place in ("kernel/drivers/net/ethernet/amazon/ena", "updates"):
        (modules / "k" / place).mkdir(parents=True)
        (modules / "k" / place / "ena.ko.xz").touch()
    for name in ("modprobe", "insmod"):
        program = tmp_path / name
        end = "exit 1" if name in refused else f"mkdir {loaded}"
        program.write_text(f"#!/bin/sh\n{end}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(script, "LOADED", str(loaded))
    monkeypatch.setattr(script, "MODULES", str(modules))
    attempts: list[Any] = []
    script.bring_driver_back(replace(host, kernel="k"), attempts)
    assert [attempt.command for attempt in attempts] == [command.format(modules=modules) for command in ran]
    assert loaded.exists() is (len(refused) < 2)


def test_a_command_that_does_not_end_is_left_behind(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "COMMAND_DEADLINE_S", 1)
    assert script.run(["sleep", "600"]) == script.Attempt("sleep 600", None, err="did not end within 1 s")


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("in-tree-6.12", {}),
        ("in-tree-7.2-phc-off", {PCI: False}),
        ("in-tree-7.2-phc-on", {PCI: True}),
        ("phc-on-debug", {}),
    ],
)
def test_devlinks_words(
    script: ModuleType, captured: Callable[[str], str], folder: str, found: dict[str, bool]
) -> None:
    assert script.parse_devlink(captured(f"{folder}/devlink.txt")) == found


def test_another_parameter_of_another_device_is_not_ours(script: ModuleType) -> None:
    said = (
        "pci/0000:00:06.0:\n  name enable_roce type generic\n    values:\n      cmode driverinit value true\n"
        f"pci/{PCI}:\n  name enable_sriov type generic\n    values:\n      cmode permanent value true\n"
        "  name enable_phc type generic\n    values:\n      cmode driverinit value false\n"
    )
    assert script.parse_devlink(said) == {PCI: False}


def test_no_remedy_where_nothing_is_wrong(script: ModuleType, host: Any) -> None:
    assert script.remedy(replace(host, clock="ptp0"), "devlink", [], []) is None


def test_a_driver_that_cannot_is_mended_by_a_newer_one(script: ModuleType, host: Any) -> None:
    assert script.remedy(host, "not_capable", [], []) == (
        "the ena driver of kernel 6.12.107+deb13-amd64 has neither the parameter phc_enable nor devlink's enable_phc: "
        "boot a kernel >= 6.17 (such as the one in the distribution's backports) or install Amazon's ena release "
        ">= 2.10 built with ENA_PHC_INCLUDE=1"
    )


def test_a_kernel_without_ptp_is_named_first(script: ModuleType, host: Any) -> None:
    assert script.remedy(replace(host, kernel_has_ptp=False), "not_capable", [], []) == (
        "kernel 6.12.107+deb13-amd64 is built without CONFIG_PTP_1588_CLOCK: boot a kernel that has it"
    )


NO_FEATURE = "the device has no PHC feature: choose another instance type, or a placement that gives this one a clock"


def test_devlinks_refusal_is_the_devices_word(script: ModuleType, host: Any) -> None:
    refused = [script.Attempt(*REFUSED)]
    assert script.remedy(replace(host, devlink={PCI: False}), "devlink", refused, []) == NO_FEATURE


def test_the_kernel_logs_line_is_the_devices_word(script: ModuleType, host: Any) -> None:
    log = ["[  313.956605] ena 0000:00:04.0: PHC feature is not supported by the device"]
    assert script.remedy(replace(host, parameter="1"), "already_on", [], log) == NO_FEATURE


def test_a_command_that_failed_is_quoted(script: ModuleType, host: Any) -> None:
    failed = [script.Attempt("modprobe -r ena", 1, "", "modprobe: FATAL: Module ena is in use.\n")]
    assert script.remedy(replace(host, parameter="0"), "module_parameter", failed, []) == (
        "the clock could not be switched on: `modprobe -r ena` said 'modprobe: FATAL: Module ena is in use.'"
    )


def test_a_module_that_secure_boot_refuses(script: ModuleType, host: Any) -> None:
    words = "modprobe: ERROR: could not insert 'ena': Key was rejected by service\n"
    failed = [script.Attempt("modprobe ena phc_enable=1", 1, "", words)]
    assert script.remedy(replace(host, parameter="0"), "module_parameter", failed, []) == (
        "Secure Boot refuses the module: sign it with a key that the firmware knows, or switch it off"
    )


@pytest.mark.parametrize(
    ("change", "attempt", "helps"),
    [
        ({}, ("modprobe -r ena", 1), True),
        ({}, (f"devlink dev reload pci/{PCI}", 1), True),
        ({"clock": "ptp0", "outdated": True}, ("modprobe -r ena", 1), True),
        ({"clock": "ptp0"}, ("modprobe -r ena", 0), False),
        ({}, ("modprobe ena phc_enable=1", 1), False),
        ({}, (SET, 95, "", "Error: ena: Device doesn't support PHC."), False),
    ],
)
def test_a_reboot_helps_where_the_running_driver_does_not_let_go(
    script: ModuleType, host: Any, change: dict[str, Any], attempt: tuple[Any, ...], helps: bool
) -> None:
    assert script.reboot_helps(replace(host, **change), [script.Attempt(*attempt)], []) is helps


@pytest.mark.parametrize(
    ("said", "identity"),
    [
        ("filename:  /x/ena.ko\nsrcversion:     1C1A6E9BD9\nparm:   phc_enable:Enable (int)\n", "1C1A6E9BD9"),
        ("filename:  /x/ena.ko\nlicense:  GPL\n", os.uname().release),
    ],
)  # fmt: skip
def test_the_identity_of_the_module_on_disk(script: ModuleType, said: str, identity: str) -> None:
    assert script.identity_on_disk(said) == identity


def test_a_kernel_that_cannot_show_debug_messages_is_not_to_blame(script: ModuleType, host: Any) -> None:
    tried = [script.Attempt("echo 'module ena format PHC +p' > /proc/dynamic_debug/control", 2, err="no such file")]
    refused = [*tried, script.Attempt(*REFUSED)]
    assert script.remedy(replace(host, devlink={PCI: False}), "devlink", refused, []) == NO_FEATURE


def test_a_switch_that_is_on_without_a_clock_asks_for_the_log(script: ModuleType, host: Any) -> None:
    done = [script.Attempt("devlink dev reload ...", 0)]
    assert script.remedy(replace(host, devlink={PCI: True}), "already_on", done, []) == (
        "the clock is switched on and the driver registered none: read the kernel log of the ena driver"
    )


def test_a_switch_that_is_on_without_a_clock_quotes_the_cause_where_the_driver_says_it(
    script: ModuleType, host: Any
) -> None:
    done = [script.Attempt("devlink dev reload ...", 0)]
    log = [
        "[   66.774367] ena 0000:00:05.0 eth1: Unsupported PHC version (0x1), error: -95",
        "[   66.774401] ena 0000:00:05.0 eth1: Failed to config phc, error: -95",
    ]
    assert script.remedy(replace(host, devlink={PCI: False}), "devlink", done, log) == (
        "the clock is switched on and the driver registered none: it says "
        "'ena 0000:00:05.0 eth1: Unsupported PHC version (0x1), error: -95'"
    )


def _run(roles: Path, *arguments: str) -> dict[str, Any]:
    argv = [sys.executable, "-I", str(roles / "ena_driver/files/ena_phc.py"), *arguments]
    return dict(json.loads(subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout))


@pytest.fixture
def without_ena(roles: Path, tmp_path: Path) -> Path:
    """Where a record may be written, on a machine without an ENA card."""
    if _run(roles, "--plan", "--record", str(tmp_path / "none.json"))["decision"] != "no_device":
        pytest.skip("this machine has an ENA card, which a test must not touch")
    return tmp_path / "state" / "ena_driver.json"


def test_a_plan_changes_nothing(roles: Path, without_ena: Path) -> None:
    plan = _run(roles, "--plan", "--record", str(without_ena))
    assert (plan["decision"], plan["commands"], plan["known"]) == ("no_device", [], None)
    assert not without_ena.parent.exists()


def test_the_record_says_what_was_seen_and_stays_while_it_is_true(roles: Path, without_ena: Path) -> None:
    said = _run(roles, "--record", str(without_ena))
    assert said == json.loads(without_ena.read_text())
    assert said["boot_id"]
    assert said["module"]
    assert {key: value for key, value in said.items() if key not in ("boot_id", "module")} == {
        "schema": 1, "devices": [], "decision": "no_device", "clock": None, "attempts": [], "kernel_log": [],
        "remedy": "there is no ENA device in this machine: choose one that has an ENA network card",
        "reboot": False,
    }  # fmt: skip
    written = without_ena.stat().st_mtime_ns
    assert _run(roles, "--record", str(without_ena)) == said
    assert without_ena.stat().st_mtime_ns == written


@pytest.mark.parametrize("wrong", ["", "no JSON", "[]", '{"boot_id": "of another boot"}'])
def test_a_record_that_is_not_of_now_is_made_anew(roles: Path, without_ena: Path, wrong: str) -> None:
    without_ena.parent.mkdir()
    without_ena.write_text(wrong)
    assert _run(roles, "--record", str(without_ena))["decision"] == "no_device"
    assert json.loads(without_ena.read_text())["schema"] == 1

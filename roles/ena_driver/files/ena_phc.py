#!/usr/bin/python3
"""Probe whether this host's ENA driver can give a PTP hardware clock, and switch the clock on.

    ena_phc.py --record FILE            switch the clock on if the driver can; write a record of it to FILE
    ena_phc.py --record FILE --plan     print the plan as JSON and change nothing

A capability is probed, never derived from a version number. In this order: a clock named ena-ptp-* exists; the
module lists the parameter phc_enable; devlink lists the parameter enable_phc; else the driver cannot.
The driver gives the reason for a missing clock only at debug level ("PHC feature is not supported by the device" is
hardware, "... not enabled by the kernel" is configuration; ena_phc.c); attempts run with these messages switched on.

Runs on the measured host as root: Python 3.9, standard library only.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

ENA_IDS = ("0x0ec2", "0x1ec2", "0xec20", "0xec21", "0x0051")  # ena_pci_id_tbl.h; 0xefa0 is EFA, which has no clock
DEBUG_CONTROLS = ("/proc/dynamic_debug/control", "/sys/kernel/debug/dynamic_debug/control")
DEBUG_QUERY = "module ena format PHC"
COMMAND_DEADLINE_S = 30
CLOCK_DEADLINE_S = 5.0
LOCK = "/run/ptp-harness-ena-phc.lock"
LOADED, MODULES = "/sys/module/ena", "/lib/modules"
SWITCHES = ("module_parameter", "devlink", "already_on")
NEWER_DRIVER = "boot a kernel >= 6.17 (such as the one in the distribution's backports) or install Amazon's ena release"


@dataclass(frozen=True)
class Attempt:
    """A command and its output; rc is None when the program is missing or did not end, an errno for a file."""

    command: str
    rc: int | None
    out: str = ""
    err: str = ""


@dataclass(frozen=True)
class Device:
    """An ENA PCI function. `carries`: one of its interfaces has an address, so the connection may pass through it."""

    driver: str | None
    interfaces: list[str]
    carries: bool


@dataclass(frozen=True)
class Host:
    """The host's state. `parameter`: phc_enable's value, None when not listed; `devlink`: enable_phc by PCI address."""

    boot_id: str
    kernel: str
    kernel_has_ptp: bool | None
    module: str  # the loaded module's identity
    outdated: bool  # modprobe would load another one
    devices: dict[str, Device]
    clock: str | None  # "ptp0"
    parameter: str | None
    devlink: dict[str, bool]


def decide(host: Host) -> str:
    """Decide which action, if any, gives this host a clock."""
    if not host.devices:
        return "no_device"
    if host.clock and not (host.outdated and host.parameter is not None):
        return "clock_present"
    if host.parameter is not None:
        return "module_parameter" if host.outdated or host.parameter in ("0", "N", "") else "already_on"
    if host.devlink:
        return "already_on" if all(host.devlink.values()) else "devlink"
    return "not_capable"


def remedy(host: Host, decision: str, attempts: list[Attempt], kernel_log: list[str]) -> str | None:
    """Name the remedy for a missing clock in one sentence; None when there is nothing to repair."""
    if host.clock and not host.outdated:
        return None
    if decision == "no_device":
        return "there is no ENA device in this machine: choose one that has an ENA network card"
    if host.kernel_has_ptp is False:
        return f"kernel {host.kernel} is built without CONFIG_PTP_1588_CLOCK: boot a kernel that has it"
    if decision == "not_capable":
        return (
            f"the ena driver of kernel {host.kernel} has neither the parameter phc_enable nor devlink's enable_phc: "
            f"{NEWER_DRIVER} >= 2.10 built with ENA_PHC_INCLUDE=1"
        )
    if device_lacks_clock(attempts, kernel_log):
        return "the device has no PHC feature: choose another instance type, or a placement that gives this one a clock"
    for attempt in attempts:
        if attempt.rc != 0 and not attempt.command.startswith("echo "):  # a silent driver is no reason for no clock
            output_lines = (attempt.err or attempt.out).strip().splitlines() or ["nothing"]
            if "Key was rejected" in output_lines[-1]:
                return "Secure Boot refuses the module: sign it with a key that the firmware knows, or switch it off"
            return f"the clock could not be switched on: `{attempt.command}` said {output_lines[-1]!r}"
    said = [line.partition("] ")[2] for line in kernel_log if re.search("Failed|Unsup", line)][:1]  # first: the cause
    found_out = f"it says {said[0]!r}" if said else "read the kernel log of the ena driver"
    return f"the clock is switched on and the driver registered none: {found_out}"


def device_lacks_clock(attempts: list[Attempt], kernel_log: list[str]) -> bool:
    """Tell whether the driver reported that the device itself has no clock."""
    output = "\n".join([*(a.out + a.err for a in attempts), *kernel_log])
    return "PHC feature is not supported by the device" in output or "Device doesn't support PHC" in output


def reboot_helps(host: Host, attempts: list[Attempt], kernel_log: list[str]) -> bool:
    """Tell whether a reboot may bring the clock: the only failure was that the running driver could not be unloaded."""
    stuck = any(a.rc != 0 and a.command.startswith(("modprobe -r ", "devlink dev reload ")) for a in attempts)
    return stuck and (host.clock is None or host.outdated) and not device_lacks_clock(attempts, kernel_log)


def plan_commands(host: Host, decision: str) -> list[list[list[str]]]:
    """Plan the commands that switch the clock on: a list per device, each run only when the one before succeeded.

    devlink's `set` precedes every reload, because the driver checks there whether the device has the feature. Without
    it a reload must not be tried: where the in-tree driver cannot start the clock, it waits for devlink's lock, which
    the reload holds, and the network never comes back (ena_phc_init, ena_devlink_disable_phc_param; seen in 7.2.12).
    """
    if decision in ("no_device", "clock_present", "not_capable"):
        return []
    if host.parameter is not None:
        loaded = ["modprobe", "ena", "phc_enable=1", f"dyndbg={DEBUG_QUERY.partition('ena ')[2]} +p"]
        return [[["modprobe", "ptp"], ["modprobe", "-r", "ena"], loaded]]
    enable = ["name", "enable_phc", "value", "true", "cmode", "driverinit"]
    return [
        [["devlink", "dev", "param", "set", f"pci/{pci}", *enable], ["devlink", "dev", "reload", f"pci/{pci}"]]
        for pci in host.devlink
    ]


def parse_devlink(text: str) -> dict[str, bool]:
    """Parse `devlink dev param show`: PCI address -> enable_phc, for the devices that list it."""
    enabled: dict[str, bool] = {}
    pci, name = "", ""
    for line in text.splitlines():
        fields = line.split()
        if line.startswith("pci/"):
            pci, name = line.strip().rstrip(":").partition("/")[2], ""
        elif fields[:1] == ["name"]:
            name = fields[1]
        elif name == "enable_phc" and fields[:1] == ["cmode"] and "value" in fields:
            enabled[pci] = fields[fields.index("value") + 1] == "true"
    return enabled


def probe_host() -> Host:
    """Read the host's state. What cannot be read counts as absent."""
    devices = ena_devices()
    kernel = os.uname().release
    on_disk = run(["modinfo", "ena"]).out if devices else ""
    has_parameter = re.search(r"^parm:\s*phc_enable:", on_disk, re.MULTILINE) is not None
    devlink = parse_devlink(run(["devlink", "dev", "param", "show"]).out) if devices and not has_parameter else {}
    return Host(
        boot_id=read("/proc/sys/kernel/random/boot_id"),
        kernel=kernel,
        kernel_has_ptp=kernel_has_ptp(kernel),
        module=module_identity(),
        outdated=bool(on_disk) and identity_on_disk(on_disk) != module_identity(),
        devices=devices,
        clock=ena_clock(),
        parameter=read("/sys/module/ena/parameters/phc_enable") if has_parameter else None,
        devlink={pci: on for pci, on in devlink.items() if pci in devices},
    )


def ena_devices() -> dict[str, Device]:
    """Find the ENA PCI functions, in bus order."""
    devices: dict[str, Device] = {}
    for folder in sorted(glob.glob("/sys/bus/pci/devices/*")):
        if read(f"{folder}/vendor") == "0x1d0f" and read(f"{folder}/device") in ENA_IDS:
            interfaces = [os.path.basename(path) for path in sorted(glob.glob(f"{folder}/net/*"))]
            carries = any(run(["ip", "-o", "address", "show", "dev", i, "scope", "global"]).out for i in interfaces)
            driver = os.path.basename(os.path.realpath(f"{folder}/driver"))  # "driver" itself when none is bound
            devices[os.path.basename(folder)] = Device(None if driver == "driver" else driver, interfaces, carries)
    return devices


def module_identity() -> str:
    """Return the loaded ena module's source checksum, or the kernel's release when it has none."""
    return read("/sys/module/ena/srcversion") or os.uname().release


def identity_on_disk(modinfo: str) -> str:
    """Return the identity, as of `module_identity`, of the module that modprobe would load."""
    match = re.search(r"^srcversion:\s*(\S+)$", modinfo, re.MULTILINE)
    return match[1] if match else os.uname().release


def ena_clock() -> str | None:
    """Find the first PTP clock that an ENA device registered."""
    names = sorted(glob.glob("/sys/class/ptp/ptp*/clock_name"))
    return next((path.split("/")[4] for path in names if read(path).startswith("ena-ptp-")), None)


def kernel_has_ptp(kernel: str) -> bool | None:
    """Tell whether the kernel was built with PTP clocks; None when its configuration cannot be read."""
    if os.path.isdir("/sys/class/ptp"):
        return True
    text = read(f"/boot/config-{kernel}")
    return None if not text else "\nCONFIG_PTP_1588_CLOCK=" in text


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def run(argv: list[str]) -> Attempt:
    """Run one command to its end or its deadline."""
    command = " ".join(argv)
    path = shutil.which(argv[0], path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        return Attempt(command, None, err=f"{argv[0]}: not found")
    child = subprocess.Popen(
        [path, *argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    try:
        out, err = child.communicate(timeout=COMMAND_DEADLINE_S)
    except subprocess.TimeoutExpired:
        child.kill()  # no wait follows: a process blocked in the kernel does not end even when killed
        return Attempt(command, None, err=f"did not end within {COMMAND_DEADLINE_S} s")
    return Attempt(command, child.returncode, out, err)


@contextmanager
def driver_debug(attempts: list[Attempt]) -> Iterator[None]:
    """Enable the driver's debug messages about the clock for the `with` block; they go to the kernel log."""
    attempts.append(set_debug_flags("+p"))
    try:
        yield
    finally:
        set_debug_flags("-p")


def set_debug_flags(flags: str) -> Attempt:
    control = next((path for path in DEBUG_CONTROLS if os.path.exists(path)), DEBUG_CONTROLS[0])
    command = f"echo '{DEBUG_QUERY} {flags}' > {control}"
    try:
        with open(control, "w", encoding="ascii") as file:
            file.write(f"{DEBUG_QUERY} {flags}\n")
    except OSError as error:
        return Attempt(command, error.errno, err=str(error))
    return Attempt(command, 0)


class KernelLog:
    """Kernel messages about ena and its clock, from the moment this is created."""

    def __init__(self) -> None:
        try:
            self._kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self._kmsg, 0, os.SEEK_END)
        except OSError:
            self._kmsg = -1

    def lines(self) -> list[str]:
        """Read them in dmesg's form; a record is `priority,sequence,microseconds,flags;text` (ABI/testing/dev-kmsg)."""
        lines: list[str] = []
        while self._kmsg >= 0:
            try:
                header, _, text = os.read(self._kmsg, 8192).decode(errors="replace").partition(";")
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten before it was read
                    continue
                break
            line = text.splitlines()[0] if text else ""
            if re.search(r"\bena\b", line) and re.search(r"PHC|phc|ptp clock", line):
                lines.append(f"[{int(header.split(',')[2]) / 1e6:12.6f}] {line}")
        return lines


def switch_on(host: Host, decision: str) -> tuple[list[Attempt], list[str]]:
    """Run the plan until there is a clock; return each command's result and the driver's kernel messages."""
    attempts: list[Attempt] = []
    log = KernelLog()
    with driver_debug(attempts):
        for commands in plan_commands(host, decision):
            if (host.outdated or ena_clock() is None) and run_in_order(commands, attempts):
                wait_for_clock()
        if not os.path.isdir(LOADED):
            bring_driver_back(host, attempts)
    return attempts, log.lines()


def bring_driver_back(host: Host, attempts: list[Attempt]) -> None:
    """Never leave a host without its network driver: where the new one cannot be loaded, load the kernel's own."""
    in_tree = glob.glob(f"{MODULES}/{host.kernel}/kernel/**/ena.ko*", recursive=True)
    for argv in [["modprobe", "ena"], *(["insmod", path] for path in in_tree)]:
        if not os.path.isdir(LOADED):
            attempts.append(run(argv))


def run_in_order(commands: list[list[str]], attempts: list[Attempt]) -> bool:
    """Run commands up to the first that fails; true when all succeeded."""
    for argv in commands:
        attempts.append(run(argv))
        if attempts[-1].rc != 0:
            return False
    return True


def wait_for_clock() -> None:
    give_up = time.monotonic() + CLOCK_DEADLINE_S
    while ena_clock() is None and time.monotonic() < give_up:
        time.sleep(0.05)


def read_record(path: str) -> dict[str, object]:
    """Read the record of an earlier run; empty when there is none."""
    try:
        record = json.loads(read(path) or "null")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def valid_record(path: str, host: Host) -> dict[str, object] | None:
    """Return an earlier record that is still valid: same boot, same devices, same module, same clock."""
    record = read_record(path)
    now = {"boot_id": host.boot_id, "devices": sorted(host.devices), "module": host.module, "clock": host.clock}
    return record if not host.outdated and now.items() <= record.items() else None


def switch_on_and_record(path: str, host: Host) -> dict[str, object]:
    """Switch the clock on if the decision calls for it, and write the record."""
    decision = decide(host)
    attempts, kernel_log = switch_on(host, decision) if decision in SWITCHES else ([], [])
    after = probe_host() if attempts else host
    before = read_record(path)
    in_vain = bool(before.get("reboot")) and before.get("boot_id") != host.boot_id  # a reboot did not help
    record: dict[str, object] = {
        "schema": 1,
        "boot_id": host.boot_id,
        "devices": sorted(host.devices),
        "module": after.module,
        "decision": decision,
        "clock": after.clock,
        "attempts": [asdict(attempt) for attempt in attempts],
        "kernel_log": kernel_log,
        "remedy": remedy(after, decision, attempts, kernel_log),
        "reboot": reboot_helps(after, attempts, kernel_log) and not in_vain,
    }
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
    os.replace(f"{path}.new", path)
    return record


@contextmanager
def exclusive() -> Iterator[None]:
    """Let one run at a time do the `with` block; systemd starts a run by itself where it cuts the connection."""
    try:
        lock = open(LOCK, "w", encoding="ascii")  # noqa: SIM115 - closed below
    except PermissionError:  # an ordinary user may request the plan
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description="Switch on the PTP hardware clock of this host's ENA driver.")
    parser.add_argument("--plan", action="store_true", help="print the plan and change nothing")
    parser.add_argument("--record", metavar="FILE", required=True, help="the file of the record")
    arguments = parser.parse_args()
    with exclusive():
        host = probe_host()
        record = valid_record(arguments.record, host)
        if arguments.plan:
            commands = plan_commands(host, decide(host))
            record = {"decision": decide(host), "commands": commands, "known": record, "host": asdict(host)}
        json.dump(record or switch_on_and_record(arguments.record, host), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

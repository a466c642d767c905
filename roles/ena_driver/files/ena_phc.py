#!/usr/bin/python3
"""Can this host's ENA driver give a PTP hardware clock, and what does it say when it is asked to?

    ena_phc.py --record FILE            switch the clock on where that is all it lacks; write what was seen to FILE
    ena_phc.py --record FILE --plan     say what would be done, as JSON, and change nothing

A capability is probed, never derived from a version number. In this order: a clock named ena-ptp-* is there; the
module lists the parameter phc_enable; devlink lists the parameter enable_phc; else the driver cannot.
Why there is no clock the driver says only at debug level ("PHC feature is not supported by the device" is hardware,
"... not enabled by the kernel" is configuration; ena_phc.c), so these messages are switched on around an attempt.

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
SWITCHES = ("module_parameter", "devlink", "already_on")
NEWER_DRIVER = (
    "boot a kernel >= 6.17 (such as the one in the distribution's backports) or install Amazon's ena release"
    " >= 2.10 built with ENA_PHC_INCLUDE=1"
)


@dataclass(frozen=True)
class Attempt:
    """One command and what it said; rc is None when it is not there or did not end, an errno for a file."""

    command: str
    rc: int | None
    out: str = ""
    err: str = ""


@dataclass(frozen=True)
class Device:
    """One ENA PCI function. `carries`: one of its interfaces has an address, so the connection may pass through it."""

    driver: str | None
    interfaces: list[str]
    carries: bool


@dataclass(frozen=True)
class Host:
    """What was found. `parameter`: phc_enable's value, None when not listed; `devlink`: enable_phc by PCI address."""

    boot_id: str
    kernel: str
    kernel_has_ptp: bool | None
    module: str  # the loaded module's identity
    outdated: bool  # modprobe would load another one
    devices: dict[str, Device]
    clock: str | None  # "ptp0"
    parameter: str | None
    devlink: dict[str, bool]


# --- deciding: plain data in, a word out -----------------------------------------------------------------------------


def decide(host: Host) -> str:
    """Which way leads to a clock on this host."""
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
    """What would help, in one sentence; None when nothing has to be mended."""
    if host.clock and not host.outdated:
        return None
    if decision == "no_device":
        return "there is no ENA device in this machine: choose one that has an ENA network card"
    if host.kernel_has_ptp is False:
        return f"kernel {host.kernel} is built without CONFIG_PTP_1588_CLOCK: boot a kernel that has it"
    if decision == "not_capable":
        return (
            f"the ena driver of kernel {host.kernel} has neither the parameter phc_enable nor devlink's enable_phc: "
            f"{NEWER_DRIVER}"
        )
    if device_has_none(attempts, kernel_log):
        return "the device has no PHC feature: choose another instance type, or a placement that gives this one a clock"
    for attempt in attempts:
        if attempt.rc != 0 and not attempt.command.startswith("echo "):  # a silent driver is no reason for no clock
            words = (attempt.err or attempt.out).strip().splitlines() or ["nothing"]
            if "Key was rejected" in words[-1]:
                return "Secure Boot refuses the module: sign it with a key that the firmware knows, or switch it off"
            return f"the clock could not be switched on: `{attempt.command}` said {words[-1]!r}"
    return "the clock is switched on and the driver registered none: read the kernel log of the ena driver"


def device_has_none(attempts: list[Attempt], kernel_log: list[str]) -> bool:
    """Whether the driver said that it is the device that has no clock."""
    said = "\n".join([*(a.out + a.err for a in attempts), *kernel_log])
    return "PHC feature is not supported by the device" in said or "Device doesn't support PHC" in said


def reboot_helps(host: Host, attempts: list[Attempt], kernel_log: list[str]) -> bool:
    """Whether the clock may come with the next boot, since all that failed was letting the running driver go."""
    stuck = any(one.rc != 0 and one.command.startswith(("modprobe -r ", "devlink dev reload ")) for one in attempts)
    return stuck and (host.clock is None or host.outdated) and not device_has_none(attempts, kernel_log)


def plan_commands(host: Host, decision: str) -> list[list[list[str]]]:
    """What switches the clock on: per device, commands of which each is run only when the one before succeeded.

    devlink's `set` goes before every reload, since the driver checks there whether the device has the feature. Without
    it a reload must not be tried: where the in-tree driver cannot start the clock, it waits for devlink's lock, which
    the reload holds, and never lets the network go again (ena_phc_init, ena_devlink_disable_phc_param; seen in 7.2.12).
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
    """`devlink dev param show`: PCI address -> enable_phc, for the devices that list it."""
    found: dict[str, bool] = {}
    pci, name = "", ""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("pci/"):
            pci, name = line.strip().rstrip(":").partition("/")[2], ""
        elif words[:1] == ["name"]:
            name = words[1]
        elif name == "enable_phc" and words[:1] == ["cmode"] and "value" in words:
            found[pci] = words[words.index("value") + 1] == "true"
    return found


# --- looking: what the host says -------------------------------------------------------------------------------------


def look() -> Host:
    """Read the host's state. Whatever cannot be read counts as not there."""
    devices = ena_devices()
    kernel = os.uname().release
    on_disk = run(["modinfo", "ena"]).out if devices else ""
    listed = re.search(r"^parm:\s*phc_enable:", on_disk, re.MULTILINE) is not None
    devlink = parse_devlink(run(["devlink", "dev", "param", "show"]).out) if devices and not listed else {}
    return Host(
        boot_id=read("/proc/sys/kernel/random/boot_id"),
        kernel=kernel,
        kernel_has_ptp=kernel_has_ptp(kernel),
        module=module_identity(),
        outdated=bool(on_disk) and identity_on_disk(on_disk) != module_identity(),
        devices=devices,
        clock=ena_clock(),
        parameter=read("/sys/module/ena/parameters/phc_enable") if listed else None,
        devlink={pci: on for pci, on in devlink.items() if pci in devices},
    )


def ena_devices() -> dict[str, Device]:
    """The ENA PCI functions in bus order."""
    devices: dict[str, Device] = {}
    for folder in sorted(glob.glob("/sys/bus/pci/devices/*")):
        if read(f"{folder}/vendor") == "0x1d0f" and read(f"{folder}/device") in ENA_IDS:
            interfaces = [os.path.basename(path) for path in sorted(glob.glob(f"{folder}/net/*"))]
            carries = any(run(["ip", "-o", "address", "show", "dev", i, "scope", "global"]).out for i in interfaces)
            driver = os.path.basename(os.path.realpath(f"{folder}/driver"))  # "driver" itself when none is bound
            devices[os.path.basename(folder)] = Device(None if driver == "driver" else driver, interfaces, carries)
    return devices


def module_identity() -> str:
    """The loaded ena module's source checksum, or the kernel's release where there is none."""
    return read("/sys/module/ena/srcversion") or os.uname().release


def identity_on_disk(modinfo: str) -> str:
    """The same of the module that modprobe would load."""
    found = re.search(r"^srcversion:\s*(\S+)$", modinfo, re.MULTILINE)
    return found[1] if found else os.uname().release


def ena_clock() -> str | None:
    """The first PTP clock that an ENA device registered."""
    names = sorted(glob.glob("/sys/class/ptp/ptp*/clock_name"))
    return next((path.split("/")[4] for path in names if read(path).startswith("ena-ptp-")), None)


def kernel_has_ptp(kernel: str) -> bool | None:
    """Whether the kernel was built with PTP clocks; None where its configuration is not at hand."""
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
        child.kill()  # and not waited for: a command that the kernel holds does not even end by this
        return Attempt(command, None, err=f"did not end within {COMMAND_DEADLINE_S} s")
    return Attempt(command, child.returncode, out, err)


# --- acting ----------------------------------------------------------------------------------------------------------


@contextmanager
def driver_debug(attempts: list[Attempt]) -> Iterator[None]:
    """The driver's debug messages about the clock are in the kernel log while this lasts."""
    attempts.append(debug_words("+p"))
    try:
        yield
    finally:
        debug_words("-p")


def debug_words(flags: str) -> Attempt:
    control = next((path for path in DEBUG_CONTROLS if os.path.exists(path)), DEBUG_CONTROLS[0])
    command = f"echo '{DEBUG_QUERY} {flags}' > {control}"
    try:
        with open(control, "w", encoding="ascii") as file:
            file.write(f"{DEBUG_QUERY} {flags}\n")
    except OSError as error:
        return Attempt(command, error.errno, err=str(error))
    return Attempt(command, 0)


class KernelLog:
    """What the kernel says from now on about ena and its clock."""

    def __init__(self) -> None:
        try:
            self._kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self._kmsg, 0, os.SEEK_END)
        except OSError:
            self._kmsg = -1

    def lines(self) -> list[str]:
        """In dmesg's form; a record is `priority,sequence,microseconds,flags;text` (kernel: ABI/testing/dev-kmsg)."""
        found: list[str] = []
        while self._kmsg >= 0:
            try:
                header, _, text = os.read(self._kmsg, 8192).decode(errors="replace").partition(";")
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten before it was read
                    continue
                break
            line = text.splitlines()[0] if text else ""
            if re.search(r"\bena\b", line) and "PHC" in line:
                found.append(f"[{int(header.split(',')[2]) / 1e6:12.6f}] {line}")
        return found


def switch_on(host: Host, decision: str) -> tuple[list[Attempt], list[str]]:
    """Carry the plan out until there is a clock; what each command said, and the driver in the kernel log."""
    attempts: list[Attempt] = []
    log = KernelLog()
    with driver_debug(attempts):
        for commands in plan_commands(host, decision):
            if (host.outdated or ena_clock() is None) and run_in_order(commands, attempts):
                wait_for_clock()
        if not os.path.isdir("/sys/module/ena"):  # never leave a host without its network driver
            attempts.append(run(["modprobe", "ena"]))
    return attempts, log.lines()


def run_in_order(commands: list[list[str]], attempts: list[Attempt]) -> bool:
    """Run commands up to the first that fails; whether none did."""
    for argv in commands:
        attempts.append(run(argv))
        if attempts[-1].rc != 0:
            return False
    return True


def wait_for_clock() -> None:
    give_up = time.monotonic() + CLOCK_DEADLINE_S
    while ena_clock() is None and time.monotonic() < give_up:
        time.sleep(0.05)


def earlier(path: str) -> dict[str, object]:
    """The record of an earlier run; empty where there is none."""
    try:
        record = json.loads(read(path) or "null")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def known(path: str, host: Host) -> dict[str, object] | None:
    """An earlier record, while it still tells the truth: same boot, same devices, same module, same clock."""
    record = earlier(path)
    now = {"boot_id": host.boot_id, "devices": sorted(host.devices), "module": host.module, "clock": host.clock}
    return record if not host.outdated and now.items() <= record.items() else None


def act(path: str, host: Host) -> dict[str, object]:
    """Switch on where that helps, and write the record."""
    decision = decide(host)
    attempts, kernel_log = switch_on(host, decision) if decision in SWITCHES else ([], [])
    after = look() if attempts else host
    before = earlier(path)
    tried = bool(before.get("reboot")) and before.get("boot_id") != host.boot_id  # a reboot did not help then
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
        "reboot": reboot_helps(after, attempts, kernel_log) and not tried,
    }
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
    os.replace(f"{path}.new", path)
    return record


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for another run, such as one that systemd carries out apart from a connection that it cuts."""
    try:
        lock = open(LOCK, "w", encoding="ascii")  # noqa: SIM115 - closed below
    except PermissionError:  # an ordinary user may ask for the plan
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description="Can this host's ENA driver give a PTP hardware clock?")
    parser.add_argument("--plan", action="store_true", help="say what would be done and change nothing")
    parser.add_argument("--record", metavar="FILE", required=True, help="where what was seen is kept")
    arguments = parser.parse_args()
    with one_at_a_time():
        host = look()
        record = known(arguments.record, host)
        if arguments.plan:
            commands = plan_commands(host, decide(host))
            record = {"decision": decide(host), "commands": commands, "known": record, "host": asdict(host)}
        json.dump(record or act(arguments.record, host), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

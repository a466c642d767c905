#!/usr/bin/python3
"""Collect the raw output of this host's tools and files about its clocks.

    collect.py [--ntp ADDRESS[:PORT] ...]     one JSON object on standard output (format: docs/evidence-format.md)

Judges nothing and changes nothing. Every command has a deadline, and a missing tool or file is recorded as such.
Runs on the measured host, from standard input or a file: Python 3.9, standard library only.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import glob
import gzip
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable

DEADLINE_S = 10.0
NTP_DEADLINE_S = 1.0
NTP_EPOCH_S = 2_208_988_800  # seconds from 1900 to 1970 (RFC 5905)
ENA_IDS = ("0x0ec2", "0x1ec2", "0xec20", "0xec21", "0x0051")  # ena_pci_id_tbl.h; 0xefa0 is EFA, which has no clock
STATE = "/var/lib/ptp-harness"
TOOL_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
NTP_UNITS = (
    "chrony.service", "chronyd.service", "systemd-timesyncd.service", "ntp.service", "ntpd.service", "ntpsec.service",
    "openntpd.service",
)  # fmt: skip
PTP_UNITS = ("ptp4l*", "phc2sys*", "ts2phc*", "timemaster*")
RESTARTS, UP_S = 3, 10.0  # a unit that was restarted so often and is up for less does not stay up
CLOCK_PROCESSES = ("chronyd", "systemd-timesyn", "ntpd", "openntpd", "ptp4l", "phc2sys", "ts2phc", "timemaster")
PTP_SYS_OFFSET_EXTENDED = 0xC4C03D09  # _IOWR('=', 9, 1216 bytes): n_samples, 3 reserved, 25 x 3 x (s64 s, u32 ns, u32)

Capture = dict[str, object]


def capture(command: str, rc: int | None, out: str = "", err: str = "") -> Capture:
    return {"command": command, "rc": rc, "out": out, "err": err}


def run(*argv: str) -> Capture:
    """Run a program and capture its output; rc is None when the program is missing or did not end in time."""
    command, path = " ".join(argv), shutil.which(argv[0], path=TOOL_PATH)
    if path is None:
        return capture(command, None, err=f"{argv[0]}: not found")
    child = subprocess.Popen(
        [path, *argv[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace", env={**os.environ, "LC_ALL": "C", "PATH": TOOL_PATH},
    )  # fmt: skip
    try:
        out, err = child.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        child.kill()  # no wait follows: a process blocked in the kernel does not end even when killed
        return capture(command, None, err=f"did not end within {DEADLINE_S:g} s")
    return capture(command, child.returncode, out, err)


def run_all(*commands: tuple[str, ...]) -> Capture:
    """Run several commands as one capture; rc is the first one that is not 0."""
    results = [run(*argv) for argv in commands]
    rc = next((result["rc"] for result in results if result["rc"] != 0), 0)
    return {**capture("; ".join(str(result["command"]) for result in results), None), "rc": rc,
            **{key: "".join(str(result[key]) for result in results) for key in ("out", "err")}}  # fmt: skip


def capture_call(label: str, read: Callable[[], str]) -> Capture:
    """Capture the text that `read` returns, or the errno of its OSError."""
    try:
        return capture(label, 0, read())
    except OSError as error:
        return capture(label, error.errno or errno.EIO, err=str(error))
    except (ValueError, IndexError) as error:  # a file of unknown format costs only this capture
        return capture(label, None, err=f"{type(error).__name__}: {error}")


def read_text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as capture_file:
        return capture_file.read()


def read_word(path: str) -> str:
    """Read the single value of a sysfs file; "-" when there is none."""
    try:
        return read_text(path).strip() or "-"
    except OSError:
        return "-"


def capture_file(path: str) -> Capture:
    return capture_call(path, lambda: read_text(path))


def filter_lines(captured: Capture, pattern: str, last: int = 400) -> Capture:
    """Reduce a capture to its last `last` lines that match the pattern."""
    lines = [line for line in str(captured["out"]).splitlines() if re.search(pattern, line)]
    return {
        **captured,
        "command": f"{captured['command']} | grep -E '{pattern}'",
        "out": "".join(f"{x}\n" for x in lines[-last:]),
    }


# --- facts from this host's files ------------------------------------------------------------------------------------


def ena_functions() -> list[tuple[str, list[str]]]:
    """List PCI address and interfaces of each ENA function."""
    functions = []
    for folder in sorted(glob.glob("/sys/bus/pci/devices/*")):
        if read_word(f"{folder}/vendor") == "0x1d0f" and read_word(f"{folder}/device") in ENA_IDS:
            functions.append(
                (os.path.basename(folder), [os.path.basename(p) for p in sorted(glob.glob(f"{folder}/net/*"))])
            )
    return functions


def pci_lines() -> str:
    lines = []
    for pci, interfaces in ena_functions():
        folder = f"/sys/bus/pci/devices/{pci}"
        driver = os.path.basename(os.path.realpath(f"{folder}/driver")) if os.path.exists(f"{folder}/driver") else "-"
        ids = f"{read_word(f'{folder}/vendor')} {read_word(f'{folder}/device')}"
        lines.append(f"{pci} {ids} driver={driver} net={','.join(interfaces) or '-'}\n")
    return "".join(lines)


def machine_lines() -> str:
    """Describe what a clock's quality depends on: a line for each name that this machine has a value for."""
    cpu = "/sys/devices/system/cpu"
    source = "/sys/devices/system/clocksource/clocksource0"
    values = [
        ("clocksource", read_word(f"{source}/current_clocksource")),
        ("clocksources", read_word(f"{source}/available_clocksource")),
        ("cmdline", read_word("/proc/cmdline")),
        ("idle-driver", read_word(f"{cpu}/cpuidle/current_driver")),
        ("idle-governor", read_word(f"{cpu}/cpuidle/current_governor_ro")),
        ("frequency-governor", read_word(f"{cpu}/cpu0/cpufreq/scaling_governor")),
        *((f"numa-node {pci}", read_word(f"/sys/bus/pci/devices/{pci}/numa_node")) for pci, _ in ena_functions()),
        ("vmclock", " ".join(sorted(glob.glob("/dev/vmclock*"))) or "-"),
    ]
    return "".join(f"{name} {value}\n" for name, value in values if value != "-")


def module_lines() -> str:
    """Describe the loaded ena module: its version, if any, parameter=value lines, then the lines of lsmod."""
    loaded = [line.split() for line in read_text("/proc/modules").splitlines()]
    if not os.path.isdir("/sys/module/ena"):
        raise FileNotFoundError(errno.ENOENT, "the module ena is not loaded")
    lines = [read_text(path).strip() for path in glob.glob("/sys/module/ena/version")]
    lines += [
        f"{os.path.basename(path)}={read_word(path)}" for path in sorted(glob.glob("/sys/module/ena/parameters/*"))
    ]
    lines += [
        f"{m[0]:<19} {m[1]:>8}  {m[2]} {m[3].rstrip(',').strip('-')}".rstrip() for m in loaded if m[0] in ("ena", "ptp")
    ]
    return "".join(f"{line}\n" for line in lines)


def module_options() -> str:
    """List settings of the module ena as `FILE: LINE`, from modprobe's folders and the kernel's command line."""
    folders = ("/lib", "/usr/lib", "/usr/local/lib", "/run", "/etc")  # modprobe.d(5), the most important last
    lines = []
    for folder in dict.fromkeys(os.path.realpath(f"{folder}/modprobe.d") for folder in folders):
        for path in sorted(glob.glob(f"{folder}/*.conf")):
            found = re.findall(r"^\s*(options\s+ena\s.*\S)", read_word(path), re.MULTILINE)
            lines += [f"{path}: {line}\n" for line in found]
    words = [word for word in read_word("/proc/cmdline").split() if word.startswith("ena.")]
    return "".join([*lines, *(f"/proc/cmdline: {word}\n" for word in words)])


def describe_boot() -> str:
    boot_id, uptime = read_text("/proc/sys/kernel/random/boot_id").strip(), read_text("/proc/uptime").split()
    return f"boot_id {boot_id}\nuptime_s {uptime[0]}\n"


def kernel_config() -> str:
    try:
        config = read_text(f"/boot/config-{os.uname().release}")
    except OSError:
        with gzip.open("/proc/config.gz", "rt", encoding="utf-8") as zipped:
            config = zipped.read()
    return "".join(f"{line}\n" for line in config.splitlines() if re.search(r"CONFIG_PTP_1588_CLOCK[ =_]", line))


def ptp_class() -> str:
    os.listdir("/sys/class/ptp")  # ENOENT: this kernel has no PTP clocks at all
    lines = []
    for folder in sorted(glob.glob("/sys/class/ptp/ptp*")):
        lines += [f"{folder}/{name} {read_word(f'{folder}/{name}')}" for name in ("clock_name", "max_adjustment")]
        device = os.path.basename(os.path.realpath(f"{folder}/device")) if os.path.exists(f"{folder}/device") else "-"
        lines.append(f"{folder}/device {device}")
    return "".join(f"{line}\n" for line in lines)


def ptp_links() -> str:
    pairs = [(p, os.path.basename(os.path.realpath(p))) for p in sorted(glob.glob("/dev/*")) if os.path.islink(p)]
    return "".join(f"{path} -> {clock}\n" for path, clock in pairs if re.fullmatch(r"ptp\d+", clock))


def clock_services() -> Capture:
    """Capture units that could steer a clock with their states, then clock processes that belong to none of them."""
    listed = run("systemctl", "list-units", "--all", "--full", "--plain", "--no-legend", *NTP_UNITS, *PTP_UNITS)
    units = map(str.split, str(listed["out"]).splitlines())
    states = {unit[0]: unit[2] for unit in units if unit[1:2] == ["loaded"]}
    states.update(dict.fromkeys(restarting_units([name for name, state in states.items() if state[:5] == "activ"]),
                                "auto-restart"))  # fmt: skip
    strays = {name: "running" for name, unit in clock_processes() if unit not in states}
    return {**listed, "out": "".join(f"{name} {state}\n" for name, state in {**states, **strays}.items())}


def restarting_units(units: list[str]) -> list[str]:
    """Select units that systemd starts again and again: waiting for the next start, or up since the last one only."""
    if not units:
        return []
    properties = "--property=Id,SubState,NRestarts,ActiveEnterTimestampMonotonic"
    restarting = []
    for block in str(run("systemctl", "show", properties, *units)["out"]).split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        up_s = time.monotonic() - int(unit.get("ActiveEnterTimestampMonotonic", "0")) / 1e6
        again_and_again = int(unit.get("NRestarts", "0")) >= RESTARTS and up_s < UP_S
        if unit.get("SubState", "").startswith("auto-restart") or again_and_again:
            restarting.append(unit.get("Id", ""))
    return [unit for unit in units if unit in restarting]


def clock_processes() -> list[tuple[str, str]]:
    """List running daemons that could steer a clock, however started, as (name[pid], systemd unit of the process)."""
    processes = []
    for path in sorted(glob.glob("/proc/[0-9]*/comm")):
        name, folder = read_word(path), os.path.dirname(path)
        if name in CLOCK_PROCESSES:
            processes.append((f"{name}[{os.path.basename(folder)}]", os.path.basename(read_word(f"{folder}/cgroup"))))
    return processes


# --- reading clocks --------------------------------------------------------------------------------------------------


def phc_reads(count: int = 10) -> str:
    """Read the PHC in a burst, as JSON: [system clock before, PHC, system clock after] in ns, and errors by name."""
    names = {f"/dev/{p.split('/')[4]}": read_word(p) for p in sorted(glob.glob("/sys/class/ptp/ptp*/clock_name"))}
    ena = [path for path, name in names.items() if name.startswith("ena-ptp-")]
    device = next((path for path in ("/dev/ptp_ena", *ena, *names) if os.path.exists(path)), None)
    if device is None:
        raise FileNotFoundError(errno.ENOENT, "there is no PTP clock")
    reads: list[list[int]] = []
    errors: dict[str, int] = {}
    with open(device, "r+b", buffering=0) as clock:
        for _ in range(count):
            request = bytearray(1216)
            struct.pack_into("I", request, 0, 1)
            try:
                fcntl.ioctl(clock, PTP_SYS_OFFSET_EXTENDED, request)
                times = struct.unpack_from("qIIqIIqII", request, 16)
                reads.append([times[i] * 10**9 + times[i + 1] for i in (0, 3, 6)])
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, str(error.errno))
                errors[name] = errors.get(name, 0) + 1
            time.sleep(0.002)
    return json.dumps({"reads": reads, "errors": errors})


def kernel_clock() -> str:
    """Read what the kernel knows of leap seconds, by adjtimex(2) with no mode, which changes nothing."""
    try:
        import ctypes  # not in every minimal Python
    except ImportError as error:
        raise OSError(errno.ENOSYS, str(error)) from error
    timex = (ctypes.c_long * 64)()  # struct timex has 208 bytes; status is its sixth long (offset 40) on 64 bits
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    if state < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return f"state {state} status {ctypes.c_int.from_buffer(timex, 40).value:#06x}\n"


def ntp_line(server: str) -> str:
    """Query one SNTP server (RFC 5905, client mode, version 4): stratum, offset from our clock, delay; or the error."""
    address, _, port = server.partition(":") if server.count(":") == 1 else (server, "", "")
    server = address if port in ("", "123") else server
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(NTP_DEADLINE_S)
            udp.connect((address, int(port or 123)))
            sent_ns = time.time_ns()
            udp.send(
                b"\x23"
                + bytes(39)
                + struct.pack("!II", sent_ns // 10**9 + NTP_EPOCH_S, sent_ns % 10**9 * 2**32 // 10**9)
            )
            reply = udp.recv(1024)
            received_ns = time.time_ns()
        stratum, t = reply[1], struct.unpack_from("!IIII", reply, 32)
    except (OSError, ValueError, struct.error, IndexError) as error:
        return f"{server} error {str(error).replace(chr(10), ' ') or type(error).__name__}\n"
    server_ns = [(t[i] - NTP_EPOCH_S) * 10**9 + (t[i + 1] * 10**9 >> 32) for i in (0, 2)]
    offset_ns = ((server_ns[0] - sent_ns) + (server_ns[1] - received_ns)) // 2
    delay_ns = (received_ns - sent_ns) - (server_ns[1] - server_ns[0])
    return f"{server} stratum {stratum} offset_ns {offset_ns} delay_ns {delay_ns}\n"


def configured_ntp_server() -> list[str]:
    """Return the NTP server, if any, that the role chrony_phc configured beside the clock."""
    try:
        return [json.loads(read_text(f"{STATE}/chrony_phc.json"))["second_opinion"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


# --- all captures ----------------------------------------------------------------------------------------------------


def collect_captures(ntp_servers: list[str]) -> dict[str, Capture]:
    functions = ena_functions()
    captures = {
        "uname": run("uname", "-a"),
        "os-release": capture_file("/etc/os-release"),
        "boot": capture_call("boot_id, uptime", describe_boot),
        "machine": capture_call("clocksource, command line, idle states, VMClock", machine_lines),
        "kernel-config": capture_call("kernel configuration: CONFIG_PTP_1588_CLOCK", kernel_config),
        "pci": capture_call("/sys/bus/pci/devices: ENA", pci_lines),
        "modinfo": run("modinfo", "ena"),
        "module": capture_call("/sys/module/ena, /proc/modules", module_lines),
        "module-options": capture_call("modprobe.d, /proc/cmdline: ena", module_options),
        "devlink": run_all(("devlink", "dev"), ("devlink", "dev", "param", "show"), ("devlink", "dev", "info")),
        "ptp-class": capture_call("/sys/class/ptp", ptp_class),
        "ptp-links": capture_call("links in /dev", ptp_links),
        "kernel-log": filter_lines(run("dmesg"), r"\bena\b|\bptp|PHC"),
        "driver-word": capture_file(f"{STATE}/ena_driver.json"),
        "linuxptp": capture_file(f"{STATE}/linuxptp.json"),
        "chrony-version": run("chronyd", "--version"),
        "chronyc": run("chronyc", "-n", "-c", "-m", "tracking", "sources", "sourcestats"),
        "ntpdata": run("chronyc", "-n", "-c", "ntpdata"),
        "chrony-log": run("journalctl", "-b", "-q", "--no-pager", "-o", "short-iso", "-n", "200", "_COMM=chronyd"),
        "chrony-phc": capture_file(f"{STATE}/chrony_phc.json"),
        "services": clock_services(),
        "ntp-probe": capture_call("SNTP", lambda: "".join(ntp_line(server) for server in ntp_servers)),
        "adjtimex": capture_call("adjtimex", kernel_clock),
        "phc-reads": capture_call("PTP_SYS_OFFSET_EXTENDED", phc_reads),
    }  # fmt: skip
    for pci, interfaces in functions:
        captures[f"phc-stats/{pci}"] = capture_file(f"/sys/kernel/debug/{pci}/phc_stats")
        captures[f"error-bound/{pci}"] = capture_file(f"/sys/bus/pci/devices/{pci}/phc_error_bound")
        for interface in interfaces:
            captures.update(
                {f"ethtool{flag}/{interface}": run("ethtool", flag, interface) for flag in ("-i", "-T", "-S")}
            )
    return captures


def main() -> int:
    parser = argparse.ArgumentParser(description="What this host's tools and files say about its clocks, as JSON.")
    parser.add_argument("--ntp", action="append", default=[], metavar="ADDRESS[:PORT]", help="an NTP server to ask")
    servers = list(dict.fromkeys([*parser.parse_args().ntp, *configured_ntp_server()])) or ["169.254.169.123"]
    document = {
        "schema": 1,
        "utc_ns": time.time_ns(),
        "mono_ns": time.monotonic_ns(),
        "captures": collect_captures(servers),
    }
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())

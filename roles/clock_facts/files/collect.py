#!/usr/bin/python3
"""What do this host's tools and files say about its clocks, in their own words?

    collect.py [--ntp ADDRESS[:PORT] ...]     one JSON object on standard output, as docs/evidence-format.md has it

Judges nothing and changes nothing. Every command has a deadline, and a tool or file that is not there is an answer too.
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
CLOCK_PROCESSES = ("chronyd", "systemd-timesyn", "ntpd", "openntpd", "ptp4l", "phc2sys", "ts2phc", "timemaster")
PTP_SYS_OFFSET_EXTENDED = 0xC4C03D09  # _IOWR('=', 9, 1216 bytes): n_samples, 3 reserved, 25 x 3 x (s64 s, u32 ns, u32)

Capture = dict[str, object]


def capture(command: str, rc: int | None, out: str = "", err: str = "") -> Capture:
    return {"command": command, "rc": rc, "out": out, "err": err}


def run(*argv: str) -> Capture:
    """What a program said; rc is None when it is not there or did not end in time."""
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
        child.kill()  # and not waited for: a command that the kernel holds does not even end by this
        return capture(command, None, err=f"did not end within {DEADLINE_S:g} s")
    return capture(command, child.returncode, out, err)


def run_all(*commands: tuple[str, ...]) -> Capture:
    """Several commands as one capture; rc is the first that is not 0."""
    done = [run(*argv) for argv in commands]
    rc = next((one["rc"] for one in done if one["rc"] != 0), 0)
    return {**capture("; ".join(str(one["command"]) for one in done), None), "rc": rc,
            **{key: "".join(str(one[key]) for one in done) for key in ("out", "err")}}  # fmt: skip


def look(label: str, words: Callable[[], str]) -> Capture:
    """What a function read, or the errno that stopped it."""
    try:
        return capture(label, 0, words())
    except OSError as error:
        return capture(label, error.errno or errno.EIO, err=str(error))
    except (ValueError, IndexError) as error:  # a file of an unknown shape: its words are missing, the rest is not
        return capture(label, None, err=f"{type(error).__name__}: {error}")


def text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def word(path: str) -> str:
    """The one word in a sysfs file, or "-"."""
    try:
        return text(path).strip() or "-"
    except OSError:
        return "-"


def file(path: str) -> Capture:
    return look(path, lambda: text(path))


def matching(made: Capture, pattern: str, last: int = 400) -> Capture:
    """The same capture with only the last lines that match."""
    lines = [line for line in str(made["out"]).splitlines() if re.search(pattern, line)]
    return {
        **made,
        "command": f"{made['command']} | grep -E '{pattern}'",
        "out": "".join(f"{x}\n" for x in lines[-last:]),
    }


# --- what only this host's files tell --------------------------------------------------------------------------------


def ena_functions() -> list[tuple[str, list[str]]]:
    """PCI address and interfaces of each ENA function."""
    found = []
    for folder in sorted(glob.glob("/sys/bus/pci/devices/*")):
        if word(f"{folder}/vendor") == "0x1d0f" and word(f"{folder}/device") in ENA_IDS:
            found.append(
                (os.path.basename(folder), [os.path.basename(p) for p in sorted(glob.glob(f"{folder}/net/*"))])
            )
    return found


def pci_lines() -> str:
    lines = []
    for pci, interfaces in ena_functions():
        folder = f"/sys/bus/pci/devices/{pci}"
        driver = os.path.basename(os.path.realpath(f"{folder}/driver")) if os.path.exists(f"{folder}/driver") else "-"
        ids = f"{word(f'{folder}/vendor')} {word(f'{folder}/device')}"
        lines.append(f"{pci} {ids} driver={driver} net={','.join(interfaces) or '-'}\n")
    return "".join(lines)


def module_lines() -> str:
    """The loaded ena module: its version where it has one, parameter=value lines, then the lines of lsmod."""
    loaded = [line.split() for line in text("/proc/modules").splitlines()]
    if not os.path.isdir("/sys/module/ena"):
        raise FileNotFoundError(errno.ENOENT, "the module ena is not loaded")
    lines = [text(path).strip() for path in glob.glob("/sys/module/ena/version")]
    lines += [f"{os.path.basename(path)}={word(path)}" for path in sorted(glob.glob("/sys/module/ena/parameters/*"))]
    lines += [
        f"{m[0]:<19} {m[1]:>8}  {m[2]} {m[3].rstrip(',').strip('-')}".rstrip() for m in loaded if m[0] in ("ena", "ptp")
    ]
    return "".join(f"{line}\n" for line in lines)


def boot() -> str:
    return f"boot_id {text('/proc/sys/kernel/random/boot_id').strip()}\nuptime_s {text('/proc/uptime').split()[0]}\n"


def kernel_config() -> str:
    try:
        config = text(f"/boot/config-{os.uname().release}")
    except OSError:
        with gzip.open("/proc/config.gz", "rt", encoding="utf-8") as zipped:
            config = zipped.read()
    return "".join(f"{line}\n" for line in config.splitlines() if re.search(r"CONFIG_PTP_1588_CLOCK[ =_]", line))


def ptp_class() -> str:
    os.listdir("/sys/class/ptp")  # ENOENT: this kernel has no PTP clocks at all
    lines = []
    for folder in sorted(glob.glob("/sys/class/ptp/ptp*")):
        lines += [f"{folder}/{name} {word(f'{folder}/{name}')}" for name in ("clock_name", "max_adjustment")]
        device = os.path.basename(os.path.realpath(f"{folder}/device")) if os.path.exists(f"{folder}/device") else "-"
        lines.append(f"{folder}/device {device}")
    return "".join(f"{line}\n" for line in lines)


def ptp_links() -> str:
    pairs = [(p, os.path.basename(os.path.realpath(p))) for p in sorted(glob.glob("/dev/*")) if os.path.islink(p)]
    return "".join(f"{path} -> {clock}\n" for path, clock in pairs if re.fullmatch(r"ptp\d+", clock))


def services() -> Capture:
    """Units that could steer a clock and their states, then such processes that none of them runs."""
    made = run("systemctl", "list-units", "--all", "--full", "--plain", "--no-legend", *NTP_UNITS, *PTP_UNITS)
    units = map(str.split, str(made["out"]).splitlines())
    states = {unit[0]: unit[2] for unit in units if unit[1:2] == ["loaded"]}
    strays = {name: "running" for name, unit in processes() if unit not in states}
    return {**made, "out": "".join(f"{name} {state}\n" for name, state in {**states, **strays}.items())}


def processes() -> list[tuple[str, str]]:
    """Running daemons that could steer a clock, whoever started them: name[pid], and the unit that it belongs to."""
    found = []
    for path in sorted(glob.glob("/proc/[0-9]*/comm")):
        name, folder = word(path), os.path.dirname(path)
        if name in CLOCK_PROCESSES:
            found.append((f"{name}[{os.path.basename(folder)}]", os.path.basename(word(f"{folder}/cgroup"))))
    return found


# --- asking clocks ---------------------------------------------------------------------------------------------------


def phc_reads(count: int = 10) -> str:
    """A burst of readings: [system clock before, PHC, system clock after] in ns."""
    names = {f"/dev/{p.split('/')[4]}": word(p) for p in sorted(glob.glob("/sys/class/ptp/ptp*/clock_name"))}
    ena = [path for path, name in names.items() if name.startswith("ena-ptp-")]
    device = next((path for path in ("/dev/ptp_ena", *ena, *names) if os.path.exists(path)), None)
    if device is None:
        raise FileNotFoundError(errno.ENOENT, "there is no PTP clock")
    reads: list[list[int]] = []
    errors: dict[str, int] = {}
    with open(device, "r+b", buffering=0) as clock:
        for _ in range(count):
            answer = bytearray(1216)
            struct.pack_into("I", answer, 0, 1)
            try:
                fcntl.ioctl(clock, PTP_SYS_OFFSET_EXTENDED, answer)
                times = struct.unpack_from("qIIqIIqII", answer, 16)
                reads.append([times[i] * 10**9 + times[i + 1] for i in (0, 3, 6)])
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, str(error.errno))
                errors[name] = errors.get(name, 0) + 1
            time.sleep(0.002)
    return json.dumps({"reads": reads, "errors": errors})


def ntp_line(server: str) -> str:
    """One SNTP question (RFC 5905, client mode, version 4): stratum, its offset from our clock, delay; or why not."""
    address, _, port = server.partition(":") if server.count(":") == 1 else (server, "", "")
    server = address if port in ("", "123") else server
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(NTP_DEADLINE_S)
            udp.connect((address, int(port or 123)))
            sent = time.time_ns()
            udp.send(
                b"\x23" + bytes(39) + struct.pack("!II", sent // 10**9 + NTP_EPOCH_S, sent % 10**9 * 2**32 // 10**9)
            )
            answer = udp.recv(1024)
            came = time.time_ns()
        stratum, t = answer[1], struct.unpack_from("!IIII", answer, 32)
    except (OSError, ValueError, struct.error, IndexError) as error:
        return f"{server} error {str(error).replace(chr(10), ' ') or type(error).__name__}\n"
    theirs = [(t[i] - NTP_EPOCH_S) * 10**9 + (t[i + 1] * 10**9 >> 32) for i in (0, 2)]
    offset_ns = ((theirs[0] - sent) + (theirs[1] - came)) // 2
    delay_ns = (came - sent) - (theirs[1] - theirs[0])
    return f"{server} stratum {stratum} offset_ns {offset_ns} delay_ns {delay_ns}\n"


def second_opinion() -> list[str]:
    """The NTP server that the role chrony_phc configured beside the clock."""
    try:
        return [json.loads(text(f"{STATE}/chrony_phc.json"))["second_opinion"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


# --- all of it -------------------------------------------------------------------------------------------------------


def captures(ntp_servers: list[str]) -> dict[str, Capture]:
    functions = ena_functions()
    made = {
        "uname": run("uname", "-a"),
        "os-release": file("/etc/os-release"),
        "boot": look("boot_id, uptime", boot),
        "kernel-config": look("kernel configuration: CONFIG_PTP_1588_CLOCK", kernel_config),
        "pci": look("/sys/bus/pci/devices: ENA", pci_lines),
        "modinfo": run("modinfo", "ena"),
        "module": look("/sys/module/ena, /proc/modules", module_lines),
        "devlink": run_all(("devlink", "dev"), ("devlink", "dev", "param", "show"), ("devlink", "dev", "info")),
        "ptp-class": look("/sys/class/ptp", ptp_class),
        "ptp-links": look("links in /dev", ptp_links),
        "kernel-log": matching(run("dmesg"), r"\bena\b|\bptp|PHC"),
        "driver-word": file(f"{STATE}/ena_driver.json"),
        "linuxptp": file(f"{STATE}/linuxptp.json"),
        "chrony-version": run("chronyd", "--version"),
        "chronyc": run("chronyc", "-n", "-c", "-m", "tracking", "sources", "sourcestats"),
        "ntpdata": run("chronyc", "-n", "-c", "ntpdata"),
        "chrony-log": run("journalctl", "-b", "-q", "--no-pager", "-o", "short-iso", "-n", "200", "_COMM=chronyd"),
        "chrony-phc": file(f"{STATE}/chrony_phc.json"),
        "services": services(),
        "ntp-probe": look("SNTP", lambda: "".join(ntp_line(server) for server in ntp_servers)),
        "phc-reads": look("PTP_SYS_OFFSET_EXTENDED", phc_reads),
    }  # fmt: skip
    for pci, interfaces in functions:
        made[f"phc-stats/{pci}"] = file(f"/sys/kernel/debug/{pci}/phc_stats")
        made[f"error-bound/{pci}"] = file(f"/sys/bus/pci/devices/{pci}/phc_error_bound")
        for interface in interfaces:
            made.update({f"ethtool{flag}/{interface}": run("ethtool", flag, interface) for flag in ("-i", "-T", "-S")})
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description="What this host's tools and files say about its clocks, as JSON.")
    parser.add_argument("--ntp", action="append", default=[], metavar="ADDRESS[:PORT]", help="an NTP server to ask")
    servers = list(dict.fromkeys([*parser.parse_args().ntp, *second_opinion()])) or ["169.254.169.123"]
    said = {"schema": 1, "utc_ns": time.time_ns(), "mono_ns": time.monotonic_ns(), "captures": captures(servers)}
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())

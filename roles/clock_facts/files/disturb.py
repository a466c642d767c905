#!/usr/bin/python3
"""Disturb this host's clock in one way, and mark when, so that samples taken meanwhile show what it did.

    disturb.py --marks FILE --name cpu-load | network-load | chronyd-restarted --seconds S
    disturb.py --marks FILE --name NAME --mark begun | ended

Appends JSON lines in the format of docs/evidence-format.md: `begun` before the disturbance, `ended` after it. It
detaches from its caller at once, so that a connection that is lost under load does not end it. With --mark it only
writes the mark: what is done to the host from outside is marked so.
Runs on the measured host as root, from standard input or a file: Python 3.9, standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

PAYLOAD = bytes(1400)  # a packet that no usual network has to split
DISCARD_PORT = 9
COMPLETE = 0x2  # ATF_COM of linux/if_arp.h
RESTART_DEADLINE_S = 30.0
CHRONYD_UNITS = ("chronyd.service", "chrony.service")
TOOL_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"


def write_mark(path: str, name: str, kind: str, **more: object) -> None:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = file.read().strip()
    mark = {"kind": kind, "name": name, "boot_id": boot_id, "mono_ns": time.monotonic_ns(), "utc_ns": time.time_ns()}
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path, "a", encoding="utf-8") as marks:
        marks.write(json.dumps({**mark, **more}) + "\n")


# --- the disturbances: each returns what is worth telling ------------------------------------------------------------


def load_processors(seconds: float) -> dict[str, object]:
    """Run a program that computes on every processor that this one may use."""
    count = len(os.sched_getaffinity(0))
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            signal.alarm(int(seconds) + 30)  # should its parent be killed
            while True:
                pass
        children.append(child)
    time.sleep(seconds)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {"programs": count}


def load_network(seconds: float) -> dict[str, object]:
    """Send packets to the default gateway, which drops them, as fast as one processor can.

    A host without a gateway sends them to a neighbour that it has talked to.
    """
    route = default_route() or neighbour()
    if route is None:
        return {"error": "this host has neither a default gateway nor a neighbour over IPv4"}
    interface, address = route
    before = sent_bytes(interface)
    packets, refused = 0, 0
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((address, DISCARD_PORT))
        while time.monotonic() < end:
            for _ in range(100):
                try:
                    sender.send(PAYLOAD)
                    packets += 1
                except OSError:  # a full queue, or the answer that nobody listens there
                    refused += 1
    return {
        "interface": interface,
        "to": address,
        "packets": packets,
        "refused": refused,
        "bytes": sent_bytes(interface) - before,
    }


def restart_chronyd(_seconds: float) -> dict[str, object]:
    systemctl = shutil.which("systemctl", path=TOOL_PATH)
    if systemctl is None:
        return {"error": "systemctl: not found"}
    for unit in CHRONYD_UNITS:
        done = subprocess.run(
            [systemctl, "restart", unit], capture_output=True, text=True, timeout=RESTART_DEADLINE_S, check=False
        )
        if done.returncode == 0:
            return {"unit": unit}
    return {"error": done.stderr.strip()[:300] or f"systemctl ended with {done.returncode}"}


DISTURBANCES = {"cpu-load": load_processors, "network-load": load_network, "chronyd-restarted": restart_chronyd}


def default_route() -> tuple[str, str] | None:
    """Find the interface and the gateway of the first default route of IPv4 (proc_net_route)."""
    with open("/proc/net/route", encoding="ascii") as routes:
        for line in routes.readlines()[1:]:
            interface, destination, gateway = line.split()[:3]
            if int(destination, 16) == 0 and int(gateway, 16) != 0:
                return interface, socket.inet_ntoa(struct.pack("=I", int(gateway, 16)))
    return None


def neighbour() -> tuple[str, str] | None:
    """Find the first neighbour whose hardware address is known, and its interface (proc_net_arp)."""
    with open("/proc/net/arp", encoding="ascii") as table:
        entries = [line.split() for line in table.readlines()[1:]]
    return next(((entry[5], entry[0]) for entry in entries if int(entry[2], 16) & COMPLETE), None)


def sent_bytes(interface: str) -> int:
    """Read how many bytes an interface has sent: the ninth number of its line (proc_net_dev)."""
    with open("/proc/net/dev", encoding="ascii") as file:
        lines = [line.strip().partition(":") for line in file]
    return next(int(numbers.split()[8]) for name, _, numbers in lines if name == interface)


# --- the program -----------------------------------------------------------------------------------------------------


def detach() -> bool:
    """Continue in a new session without open files of the caller; true in the new process, false in the caller."""
    if os.fork():
        os.wait()
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(devnull, fd)
    os.chdir("/")
    return True


def disturb(marks: str, name: str, seconds: float) -> None:
    write_mark(marks, name, "begun")
    told: dict[str, object] = {"error": "the program was stopped"}
    try:
        told = DISTURBANCES[name](seconds)
    except (OSError, subprocess.SubprocessError) as error:
        told = {"error": f"{type(error).__name__}: {error}"[:300]}
    finally:
        write_mark(marks, name, "ended", **told)


def main() -> int:
    parser = argparse.ArgumentParser(description="Disturb this host's clock in one way, and mark when.")
    parser.add_argument("--marks", required=True, type=os.path.abspath, metavar="FILE")
    parser.add_argument("--name", required=True)
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S")
    parser.add_argument("--mark", choices=("begun", "ended"), help="write this mark only")
    arguments = parser.parse_args()
    if arguments.mark:
        write_mark(arguments.marks, arguments.name, arguments.mark)
        return 0
    if arguments.name not in DISTURBANCES:
        parser.error(f"--name must be one of {', '.join(DISTURBANCES)}")
    if not 0 <= arguments.seconds <= 3600:
        parser.error("--seconds must be from 0 to 3600")
    if detach():
        disturb(arguments.marks, arguments.name, arguments.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

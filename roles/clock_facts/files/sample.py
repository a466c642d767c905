#!/usr/bin/python3
"""Sample this host's PTP clock, its driver's counters and chronyd at a fixed interval.

    sample.py --output FILE --duration S [--interval S] [--device PATH] [--clock-name PATTERN] [--foreground]
    sample.py --output FILE --stop

Writes JSON lines in the format of docs/evidence-format.md. Without --foreground it detaches from its caller at once, so
that a lost connection does not end it, and prints its process id. SIGTERM ends it after it has written its last line.
It reads the clock at most 5 times a second: all readers of an ENA clock share 125 readings a second.
Runs on the measured host as root, from standard input or a file: Python 3.9, standard library only.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import fcntl
import fnmatch
import glob
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from typing import TextIO

READS = 5
READ_GAP_S = 0.04  # chrony reads 25 times in a row: readings this far apart cannot all collide with them
DEADLINE_S = 5.0
STOPPING = (signal.SIGTERM, signal.SIGINT)
CHRONYC = ("chronyc", "-n", "-c", "-m", "tracking", "sources", "sourcestats")
PTP_SYS_OFFSET_EXTENDED = 0xC4C03D09  # _IOWR('=', 9, 1216 bytes): n_samples, 3 reserved, 25 x 3 x (s64 s, u32 ns, u32)
TIMEX_FORMAT, TIMEX_SIZE = "@I4xqqqqi4xqqqqqqqqi4xqqqqqi", 208  # struct timex of 64-bit Linux
TIMEX_FIELDS = {"freq": 2, "maxerror": 3, "status": 5, "tai": 20}
TOOL_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"


class SampledClock:
    """The PTP clock at `link`, or the first with a matching name; reopened when it returns under another number."""

    def __init__(self, link: str, pattern: str) -> None:
        self._link, self._pattern, self._fd = link, pattern, -1
        self._identity: tuple[int, int, int] | None = None
        self.device: str | None = None  # "ptp0"
        self.pci: str | None = None

    def path(self) -> str | None:
        if os.path.exists(self._link):
            return self._link
        for name in sorted(glob.glob("/sys/class/ptp/ptp*/clock_name")):
            if fnmatch.fnmatch(read_word(name) or "", self._pattern):
                return f"/dev/{name.split('/')[4]}"
        return None

    def follow(self) -> None:
        """Open the clock that exists now, unless it is open already. Raises OSError."""
        path = self.path()
        if path is None:
            self.close()
            raise FileNotFoundError(errno.ENOENT, "there is no PTP clock")
        now = os.stat(path)
        if (now.st_dev, now.st_ino, now.st_rdev) != self._identity:
            self.close()
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            self._identity = (now.st_dev, now.st_ino, now.st_rdev)
            self.device = os.path.basename(os.path.realpath(path))
            self.pci = os.path.basename(os.path.realpath(f"/sys/class/ptp/{self.device}/device"))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._identity, self.device, self.pci = -1, None, None, None

    def burst(self) -> dict[str, object]:
        """Read the clock READS times: [system clock before, PHC, system clock after] in ns, and errors by name."""
        try:
            self.follow()
        except OSError as error:
            return {"rc": error.errno, "err": str(error)}
        reads: list[list[int]] = []
        errors: dict[str, int] = {}
        for number in range(READS):
            if number:
                time.sleep(READ_GAP_S)
            try:
                reads.append(self._read())
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, str(error.errno))
                errors[name] = errors.get(name, 0) + 1
        if "ENODEV" in errors:  # the device behind the open file is gone; the next burst searches again
            self.close()
        return {"device": self.device, "reads": reads, "errors": errors}

    def _read(self) -> list[int]:
        request = bytearray(1216)
        struct.pack_into("I", request, 0, 1)
        fcntl.ioctl(self._fd, PTP_SYS_OFFSET_EXTENDED, request)
        times = struct.unpack_from("qIIqIIqII", request, 16)
        return [times[i] * 10**9 + times[i + 1] for i in (0, 3, 6)]


def read_word(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as read_driver_file:
            return read_driver_file.read().strip()
    except OSError:
        return None


def read_driver_file(path: str) -> dict[str, object] | None:
    """Read a file of the driver; None when the driver does not provide it."""
    try:
        with open(path, encoding="utf-8", errors="replace") as opened:
            return {"rc": 0, "out": opened.read().strip()}
    except FileNotFoundError:
        return None
    except OSError as error:
        return {"rc": error.errno, "out": "", "err": str(error)}


def run(*argv: str) -> dict[str, object]:
    path = shutil.which(argv[0], path=TOOL_PATH)
    if path is None:
        return {"rc": None, "out": "", "err": f"{argv[0]}: not found"}
    child = subprocess.Popen(
        [path, *argv[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    try:
        out, err = child.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        child.kill()  # no wait follows: a process blocked in the kernel does not end even when killed
        return {"rc": None, "out": "", "err": f"did not end within {DEADLINE_S:g} s"}
    return {"rc": child.returncode, "out": out, **({"err": err} if err else {})}


def driver_statistics(pci: str | None) -> dict[str, object] | None:
    """Read the driver's counters from debugfs, if it has them there, else from ethtool, which costs a process."""
    if pci is None:
        return None
    debugfs = read_driver_file(f"/sys/kernel/debug/{pci}/phc_stats")
    if debugfs is not None:
        return debugfs
    interface = next((os.path.basename(p) for p in sorted(glob.glob(f"/sys/bus/pci/devices/{pci}/net/*"))), None)
    captured = run("ethtool", "-S", interface) if interface else None
    lines = [line.strip() for line in str(captured["out"]).splitlines() if "phc_" in line] if captured else []
    return {**captured, "out": "\n".join(lines)} if captured and (lines or captured["rc"] != 0) else None


def kernel_state() -> dict[str, object]:
    """Read the kernel's clock discipline (adjtimex(2), in its units), and what kept programs from their processors.

    `cpu` is the first line of /proc/stat (ticks: user nice system idle iowait irq softirq steal ...), `pressure` the
    first line of /proc/pressure/cpu. None: this kernel does not have it.
    """
    timex = ctypes.create_string_buffer(TIMEX_SIZE)
    state = ctypes.CDLL(None).adjtimex(timex)
    values = struct.unpack_from(TIMEX_FORMAT, timex)
    return {
        "adjtimex": {"state": state, **{name: values[at] for name, at in TIMEX_FIELDS.items()}},
        "cpu": first_line("/proc/stat"),
        "pressure": first_line("/proc/pressure/cpu"),
    }


def first_line(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as opened:
            return opened.readline().strip()
    except OSError:
        return None


def sample(slot: int, clock: SampledClock) -> dict[str, object]:
    """Take a sample. `error_bound` follows the burst at once: it belongs to the last reading by anybody."""
    record: dict[str, object] = {
        "kind": "sample",
        "slot": slot,
        "mono_ns": time.monotonic_ns(),
        "raw_ns": time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW),
        "boot_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        "utc_ns": time.time_ns(),
    }
    record["phc"] = clock.burst()
    record["error_bound"] = read_driver_file(f"/sys/bus/pci/devices/{clock.pci}/phc_error_bound") if clock.pci else None
    record["stats"] = driver_statistics(clock.pci)
    record["chronyc"] = run(*CHRONYC)
    record["kernel"] = kernel_state()
    record["end_mono_ns"] = time.monotonic_ns()
    return record


def measure(output: TextIO, arguments: argparse.Namespace) -> None:
    """Write one sample per interval at absolute deadlines, with the number of its interval (slot) since the start.

    A slot in which no sample could begin is left out. A sample that took longer than two intervals is of kind "late":
    it was stalled in its middle, and its parts belong to different slots.
    """

    def write_line(**line: object) -> None:
        output.write(json.dumps(line) + "\n")

    clock, slots = (
        SampledClock(arguments.device, arguments.clock_name),
        max(1, round(arguments.duration / arguments.interval)),
    )
    interval_ns = round(arguments.interval * 1e9)
    boot_id, written, slot, reason = read_word("/proc/sys/kernel/random/boot_id"), 0, 0, "done"
    write_line(kind="start", schema=2, device=arguments.device, interval_s=arguments.interval,
               duration_s=arguments.duration, boot_id=boot_id, pid=os.getpid())  # fmt: skip
    started_ns = time.monotonic_ns()

    def slot_now() -> int:
        return (time.monotonic_ns() - started_ns) // interval_ns

    while slot < slots:
        wait_ns = max(0, started_ns + slot * interval_ns - time.monotonic_ns())
        received = signal.sigtimedwait(STOPPING, wait_ns / 1e9)
        # CPython returns an unset result, and not None, if SIGCONT wakes a stopped process after the time.
        if received is not None and received.si_signo in STOPPING:
            reason = "stopped"
            break
        slot = max(slot, slot_now())
        if slot >= slots:
            break
        record = sample(slot, clock)
        if record["end_mono_ns"] - record["mono_ns"] > 2 * interval_ns:
            record["kind"] = "late"
        else:
            written += 1
        write_line(**record)
        slot = max(slot + 1, slot_now())
    write_line(kind="end", samples=written, slots=min(slot, slots), reason=reason)


def lock_output(path: str) -> TextIO:
    """Open and lock the output file. Raises SystemExit while another sampler holds the lock."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o755, exist_ok=True)
    output = open(path, "a+", buffering=1, encoding="utf-8")  # noqa: SIM115 - closed when the process ends
    try:
        fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SystemExit(f"another sampler writes to {path}: stop it with --stop") from None
    output.truncate(0)
    return output


def detach() -> bool:
    """Continue in a new session without open files of the caller; true in the new process, false in the caller.

    The caller has printed the new process id on its standard output before this returns.
    """
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        with os.fdopen(read_end, encoding="ascii") as pid_pipe:
            sys.stdout.write(pid_pipe.read())
        os.wait()
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(devnull, fd)
    os.close(read_end)
    os.write(write_end, f"{os.getpid()}\n".encode())
    os.close(write_end)
    os.chdir("/")
    return True


def stop(path: str) -> None:
    """End the sampler that writes to `path` and wait up to 10 s until it has ended."""
    try:
        with open(path, encoding="utf-8") as output:
            pid = json.loads(output.readline() or "{}").get("pid")
            for attempt in range(100):
                try:
                    fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except OSError:
                    if attempt == 0 and pid:
                        os.kill(pid, signal.SIGTERM)
                    time.sleep(0.1)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return
    raise SystemExit(f"the sampler that writes to {path} did not end within 10 s")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write down how this host's clock does, second by second.")
    parser.add_argument("--output", required=True, type=os.path.abspath, metavar="FILE")
    parser.add_argument("--duration", type=float, default=60.0, metavar="S")
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="at least 1: the clock's reads are few"
    )
    parser.add_argument("--device", default="/dev/ptp_ena", metavar="PATH")
    parser.add_argument("--clock-name", default="ena-ptp-*", metavar="PATTERN", help="where the device is not there")
    parser.add_argument("--foreground", action="store_true", help="stay with the caller until the end")
    parser.add_argument("--stop", action="store_true", help="end the sampler that writes to FILE")
    arguments = parser.parse_args()
    if arguments.stop:
        stop(arguments.output)
        return 0
    if not (arguments.interval >= 1 and arguments.duration > 0):
        parser.error("--interval must be at least 1 and --duration above 0 seconds")
    output = lock_output(arguments.output)
    if arguments.foreground or detach():
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            measure(output, arguments)
        except Exception as error:
            output.write(json.dumps({"kind": "error", "error": f"{type(error).__name__}: {error}"}) + "\n")
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Sample this host's PTP clock, its driver's counters and chronyd at a fixed interval.

    sample.py --output FILE --duration S [--interval S] [--reads N] [--device PATH] [--clock-name PATTERN]
              [--foreground]

Writes compressed JSON lines in the format of docs/evidence-format.md, each of which can be read at once. Without
--foreground it detaches from its caller, so that a lost connection does not end it, and prints its process id. SIGTERM
ends it after it has written its last line. sample_boots.py ends it, too, and lets it go on after a reboot;
sample_asked.py samples when it is asked to.
It reads the clock at most 10 times a sample: all readers of an ENA clock share 125 readings a second.
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
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from typing import BinaryIO

SCHEMA = 3
READS, MOST_READS = 5, 10
READ_GAP_S = 0.04  # chrony reads 25 times in a row: readings this far apart cannot all collide with them
DEADLINE_S = 5.0
STOPPING = (signal.SIGTERM, signal.SIGINT)
CHRONYC = ("chronyc", "-n", "-c", "-m", "tracking", "sources", "sourcestats")
PTP_SYS_OFFSET_EXTENDED = 0xC4C03D09  # _IOWR('=', 9, 1216 bytes): n_samples, 3 reserved, 25 x 3 x (s64 s, u32 ns, u32)
TIMEX_FORMAT, TIMEX_SIZE = "@I4xqqqqi4xqqqqqqqqi4xqqqqqi", 208  # struct timex of 64-bit Linux
TIMEX_FIELDS = {"freq": 2, "maxerror": 3, "status": 5, "tai": 20}
LIBC = ctypes.CDLL(None)
GZIP = 31  # zlib's number of a gzip file
TOOL_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"


class SampledClock:
    """The PTP clock at `link`, or the first with a matching name; reopened when it returns under another number."""

    def __init__(self, link: str, pattern: str, reads: int) -> None:
        self._link, self._pattern, self._reads, self._fd = link, pattern, reads, -1
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
        """Read the clock several times: [system clock before, PHC, system clock after] in ns, and errors by name."""
        try:
            self.follow()
        except OSError as error:
            return {"rc": error.errno, "err": str(error)}
        reads: list[list[int]] = []
        errors: dict[str, int] = {}
        for number in range(self._reads):
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
    state = LIBC.adjtimex(timex)
    values = struct.unpack_from(TIMEX_FORMAT, timex)
    return {
        "adjtimex": {"state": state, **{name: values[at] for name, at in TIMEX_FIELDS.items()}},
        "cpu": first_line("/proc/stat"),
        "pressure": first_line("/proc/pressure/cpu"),
    }


def count_interrupts(pci: str | None) -> int | None:
    """Count the interrupts of the clock's card since the boot; None where the kernel has no count."""
    numbers = glob.glob(f"/sys/bus/pci/devices/{pci}/msi_irqs/*") if pci else []
    counts = [first_line(f"/sys/kernel/irq/{os.path.basename(number)}/per_cpu_count") for number in numbers]
    known = [sum(map(int, count.split(","))) for count in counts if count]
    return sum(known) if known else None


def used_cpu_ns() -> int:
    """Processor time of this sampler and of the programs that it has run, in nanoseconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time_ns() + round((children.ru_utime + children.ru_stime) * 1e9)


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
    record["interrupts"] = count_interrupts(clock.pci)
    record["cpu_ns"] = used_cpu_ns()
    record["end_mono_ns"] = time.monotonic_ns()
    return record


class CompressedLines:
    """Lines of JSON in a gzip file, each of which can be read as soon as it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._deflate = file, zlib.compressobj(6, zlib.DEFLATED, GZIP)

    def write_line(self, **line: object) -> None:
        data = self._deflate.compress(json.dumps(line).encode() + b"\n")
        self._write(data + self._deflate.flush(zlib.Z_SYNC_FLUSH))

    def close(self) -> None:
        self._write(self._deflate.flush(zlib.Z_FINISH))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()


class Beginning:
    """When sampling began, and where it goes on: the slots of all boots are counted from one beginning, in UTC."""

    def __init__(self, arguments: argparse.Namespace, *, begun_utc_ns: int | None = None, next_slot: int = 0) -> None:
        self.interval_ns = round(arguments.interval * 1e9)
        self.slots = max(1, round(arguments.duration / arguments.interval))
        now_ns, raw_ns, utc_ns = time.monotonic_ns(), time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW), time.time_ns()
        passed_ns = 0 if begun_utc_ns is None else max(utc_ns - begun_utc_ns, next_slot * self.interval_ns)
        self._started_ns = now_ns - passed_ns
        self.first_slot = -(-passed_ns // self.interval_ns)
        wait_ns = self.begin_of(self.first_slot) - now_ns
        self.head = {"slot": self.first_slot, "mono_ns": now_ns + wait_ns, "raw_ns": raw_ns + wait_ns,
                     "utc_ns": utc_ns + wait_ns}  # fmt: skip

    def begin_of(self, slot: int) -> int:
        """CLOCK_MONOTONIC at which a slot begins."""
        return self._started_ns + slot * self.interval_ns

    def slot_now(self) -> int:
        return (time.monotonic_ns() - self._started_ns) // self.interval_ns


def measure(
    output: CompressedLines, arguments: argparse.Namespace, beginning: Beginning, is_pause: Callable[[], bool]
) -> bool:
    """Write one sample per interval at absolute deadlines, with the number of its interval (slot) since the beginning.

    A slot in which no sample could begin is left out. A sample that took longer than two intervals is of kind "late":
    it was stalled in its middle, and its parts belong to different slots. `is_pause`: whether a signal that ends this
    program ends a boot only. Return whether sampling is over.
    """
    clock = SampledClock(arguments.device, arguments.clock_name, arguments.reads)
    written, slot, reason = 0, beginning.first_slot, "done"
    output.write_line(kind="start", schema=SCHEMA, device=arguments.device, clock_name=arguments.clock_name,
                      interval_s=arguments.interval, duration_s=arguments.duration, reads=arguments.reads,
                      persist=arguments.persist, boot_id=read_word("/proc/sys/kernel/random/boot_id"),
                      pid=os.getpid(), **beginning.head)  # fmt: skip
    while slot < beginning.slots:
        wait_ns = max(0, beginning.begin_of(slot) - time.monotonic_ns())
        received = signal.sigtimedwait(STOPPING, wait_ns / 1e9)
        # CPython returns an unset result, and not None, if SIGCONT wakes a stopped process after the time.
        if received is not None and received.si_signo in STOPPING:
            reason = "stopped"
            break
        slot = max(slot, beginning.slot_now())
        if slot >= beginning.slots:
            break
        record = sample(slot, clock)
        if record["end_mono_ns"] - record["mono_ns"] > 2 * beginning.interval_ns:
            record["kind"] = "late"
        else:
            written += 1
        output.write_line(**record)
        slot = max(slot + 1, beginning.slot_now())
    if reason == "stopped" and is_pause():
        output.write_line(kind="pause", samples=written, slots=slot, reason="the machine ends")
        return False
    output.write_line(kind="end", samples=written, slots=min(slot, beginning.slots), reason=reason)
    return True


def lock_output(path: str) -> BinaryIO:
    """Open and lock the output file. Raises SystemExit while another sampler holds the lock."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    output = open(path, "ab")  # noqa: SIM115 - closed when the process ends
    try:
        fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SystemExit(f"another sampler writes to {path}: stop it with --stop") from None
    return output


def begin_output(path: str) -> BinaryIO:
    """Open and lock an empty output file, and remove what an earlier sampler left beside it."""
    output = lock_output(path)
    for left in [*glob.glob(f"{glob.escape(path)}.[0-9]*"), f"{path}.stop"]:
        if os.path.exists(left):
            os.unlink(left)
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


def run_sampler(
    output: BinaryIO,
    arguments: argparse.Namespace,
    beginning: Beginning | None = None,
    is_pause: Callable[[], bool] = lambda: False,
) -> bool:
    """Sample into an open file; return whether sampling is over, which a caller that was left does not know: false."""
    if not (arguments.foreground or detach()):
        return False
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    lines = CompressedLines(output)
    try:
        return measure(lines, arguments, beginning or Beginning(arguments), is_pause)
    except Exception as error:
        lines.write_line(kind="error", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        lines.close()


def add_clock_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reads", type=int, default=READS, metavar="N", help=f"of the clock in each sample ({READS})")
    parser.add_argument("--device", default="/dev/ptp_ena", metavar="PATH")
    parser.add_argument("--clock-name", default="ena-ptp-*", metavar="PATTERN", help="where the device is not there")


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write down how this host's clock does, second by second.")
    parser.add_argument("--output", required=True, type=os.path.abspath, metavar="FILE")
    parser.add_argument("--duration", type=float, default=60.0, metavar="S")
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="at least 1: the clock's reads are few"
    )
    add_clock_arguments(parser)
    parser.add_argument("--foreground", action="store_true", help="stay with the caller until the end")
    parser.set_defaults(persist=False)
    arguments = parser.parse_args(words)
    if not (arguments.interval >= 1 and arguments.duration > 0):
        parser.error("--interval must be at least 1 and --duration above 0 seconds")
    if not 1 <= arguments.reads <= MOST_READS:
        parser.error(f"--reads must be from 1 to {MOST_READS}")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    run_sampler(begin_output(arguments.output), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())

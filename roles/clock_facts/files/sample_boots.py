#!/usr/bin/python3
"""End, wait for and print what sample.py writes, and let it go on after a reboot of this host.

    sample_boots.py --output FILE --stop | --ended | --print
    sample_boots.py --output FILE --persist [OPTION OF sample.py...]

What each boot after the first adds is in FILE.1, FILE.2, ... --persist needs this program and sample.py in the folder
FILE.d, and systemd, whose unit starts it with --resume at each boot; unit and folder are removed when sampling ends.
Runs on the measured host as root, from standard input or a file: Python 3.9, standard library only.
"""

from __future__ import annotations

import argparse
import collections
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Iterator

GZIP, PART = 31, 256  # zlib's number of a gzip file; how much of it is inflated at once, and lost where it is damaged
PROGRAM = "sample_boots.py"
UNIT_FOLDER = "/etc/systemd/system"
UNIT = """[Unit]
Description=Sample the PTP clock, also after a reboot
[Service]
ExecStart={python} {folder}/{program} --output {output} --resume
[Install]
WantedBy=multi-user.target
"""


# --- the files of the boots ------------------------------------------------------------------------------------------


def boot_files(path: str) -> list[str]:
    """List the files of all boots, in order."""
    files = [path]
    while os.path.exists(f"{path}.{len(files)}"):
        files.append(f"{path}.{len(files)}")
    return files


def read_lines(path: str) -> Iterator[bytes]:
    """Read the whole lines of a file that may still be written, or was cut off by a crash."""
    inflate, rest = zlib.decompressobj(GZIP), b""
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(PART), b""):
            try:
                *lines, rest = (rest + inflate.decompress(part)).split(b"\n")
            except zlib.error:
                return
            yield from lines


def read_object(line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def last_line(path: str) -> dict[str, object]:
    last: collections.deque[bytes] = collections.deque(read_lines(path), maxlen=1)
    return read_object(last[0]) if last else {}


def is_over(last: dict[str, object]) -> bool:
    """Whether sampling is over after this line."""
    return last.get("kind") in ("end", "error")


def print_lines(path: str) -> None:
    for file in boot_files(path):
        for line in read_lines(file):
            sys.stdout.buffer.write(line + b"\n")


# --- what goes on after a reboot -------------------------------------------------------------------------------------


def stop_mark(path: str) -> str:
    """The file that tells a sampler to end for good, and not for this boot alone."""
    return f"{path}.stop"


def program_folder(path: str) -> str:
    """Where this program and sample.py must be to go on after a reboot."""
    return f"{path}.d"


def unit_path(path: str) -> str:
    name = re.sub(r"[^A-Za-z0-9-]", "-", os.path.basename(path))
    return f"{UNIT_FOLDER}/ptp-harness-sampler-{name}.service"


def wanted_path(path: str) -> str:
    """The link by which systemd starts the unit at each boot, as `systemctl enable` would make it."""
    return f"{UNIT_FOLDER}/multi-user.target.wants/{os.path.basename(unit_path(path))}"


def enable_unit(path: str) -> None:
    """Have systemd start this program again at each boot. Raises SystemExit where there is no systemd."""
    if not os.path.isdir("/run/systemd/system"):
        raise SystemExit("--persist needs systemd, which does not run here")
    python, folder = os.path.realpath(sys.executable), program_folder(path)
    with open(unit_path(path), "w", encoding="utf-8") as unit:
        unit.write(UNIT.format(python=python, folder=folder, program=PROGRAM, output=path))
    os.makedirs(os.path.dirname(wanted_path(path)), mode=0o755, exist_ok=True)
    if not os.path.islink(wanted_path(path)):
        os.symlink(unit_path(path), wanted_path(path))


def remove_unit(path: str) -> None:
    """Remove what starts the sampler at a boot, its programs, and the mark that stopped it."""
    for left in (wanted_path(path), unit_path(path), stop_mark(path)):
        if os.path.lexists(left):
            os.unlink(left)
    shutil.rmtree(program_folder(path), ignore_errors=True)


def persist(path: str, words: list[str]) -> None:
    """Begin to sample, so that it goes on after a reboot."""
    import sample

    arguments = sample.parse_arguments([f"--output={path}", *words])
    arguments.persist = True
    output = sample.begin_output(path)
    enable_unit(path)
    sample_boot(output, arguments, None)


def resume(path: str) -> None:
    """Go on where the boots before left off, as the first one was told, in the slots that are left."""
    import sample

    lock = sample.lock_output(path)
    files = boot_files(path)
    head, last = read_object(next(read_lines(path), b"")), [last_line(file) for file in files]
    if head.get("kind") != "start" or is_over(last[-1]):
        remove_unit(path)
        return
    kept = ("device", "clock_name", "reads")
    arguments = argparse.Namespace(output=path, persist=True, foreground=True, **{name: head[name] for name in kept})
    arguments.duration, arguments.interval = head["duration_s"], head["interval_s"]
    next_slot = max(int(line["slots"] if "slots" in line else line.get("slot", -1) + 1) for line in last)
    beginning = sample.Beginning(arguments, begun_utc_ns=int(head["utc_ns"]), next_slot=next_slot)
    with lock, open(f"{path}.{len(files)}", "wb") as output:
        sample_boot(output, arguments, beginning)


def sample_boot(output: object, arguments: argparse.Namespace, beginning: object) -> None:
    """Sample in this boot. systemd ends programs before a reboot: without the mark that stops it, this is a pause."""
    import sample

    over = True
    try:
        over = sample.run_sampler(
            output, arguments, beginning, is_pause=lambda: not os.path.exists(stop_mark(arguments.output))
        )
    finally:
        if over:
            remove_unit(arguments.output)


# --- the program -----------------------------------------------------------------------------------------------------


def stop(path: str) -> None:
    """End the sampler that writes to `path` and wait up to 10 s until it has ended."""
    try:
        with open(path, "rb") as output, open(stop_mark(path), "wb"):
            pid = read_object(next(read_lines(boot_files(path)[-1]), b"")).get("pid")
            for attempt in range(100):
                try:
                    fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_unit(path)
                    return
                except OSError:
                    if attempt == 0 and isinstance(pid, int):
                        os.kill(pid, signal.SIGTERM)
                    time.sleep(0.1)
    except (FileNotFoundError, ProcessLookupError):
        return
    raise SystemExit(f"the sampler that writes to {path} did not end within 10 s")


def main() -> int:
    parser = argparse.ArgumentParser(description="End, wait for and print what sample.py writes; go on after a reboot.")
    parser.add_argument("--output", required=True, type=os.path.abspath, metavar="FILE")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--stop", action="store_true", help="end the sampler that writes to FILE")
    action.add_argument("--ended", action="store_true", help="exit with 1 while the sampler has not ended")
    action.add_argument("--print", action="store_true", help="print the lines of all boots")
    action.add_argument("--persist", action="store_true", help="begin to sample, and go on after a reboot")
    action.add_argument("--resume", action="store_true", help="go on after a reboot, as the unit of --persist does")
    arguments, words = parser.parse_known_args()
    path = arguments.output
    if words and not arguments.persist:
        parser.error(f"unknown: {' '.join(words)}")
    if arguments.stop:
        stop(path)
    elif arguments.print:
        print_lines(path)
    elif arguments.resume:
        resume(path)
    elif arguments.persist:
        if os.path.dirname(os.path.abspath(sys.argv[0])) != program_folder(path):
            parser.error(f"--persist needs the sampler in {program_folder(path)}")
        if not re.fullmatch(r"[\w./-]+", path):
            parser.error("--persist needs an output path of letters, digits, '.', '_', '-' and '/'")
        persist(path, words)
    return int(arguments.ended and not (os.path.exists(path) and is_over(last_line(boot_files(path)[-1]))))


if __name__ == "__main__":
    sys.exit(main())

"""Start a device as a separate process, wait for it, and end it; for tests and trials."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ena_device.control import ControlError, ask

LAB = Path(__file__).parents[1]


@dataclass(slots=True, kw_only=True)
class RunningDevice:
    """A running `python -m ena_device`."""

    process: "subprocess.Popen[bytes]"
    socket: str
    control: str
    log: Path

    def ask(self, **changes: Any) -> dict[str, Any]:
        return ask(self.control, **changes)

    def end(self) -> int:
        """End the device by SIGTERM, like a user; return the exit code. Raises subprocess.TimeoutExpired."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=5)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def children(self) -> list[int]:
        """List the device's child processes: the doorbell's watcher, if it runs."""
        pid = self.process.pid
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start_device(folder: Path, *options: str, name: str = "ena", timeout_s: float = 10.0) -> RunningDevice:
    """Start a device with its sockets and log in a folder, and wait until it answers. Raises TimeoutError."""
    socket, control, log = (folder / f"{name}.{end}" for end in ("sock", "ctl", "log"))
    argv = [sys.executable, "-m", "ena_device", "--socket", str(socket), "--control", str(control), "-v", *options]
    with open(log, "wb") as stderr:
        process = subprocess.Popen(argv, stderr=stderr, env={**os.environ, "PYTHONPATH": str(LAB)})
    device = RunningDevice(process=process, socket=str(socket), control=str(control), log=log)
    try:
        wait_for(lambda: process.poll() is not None or _is_answering(device.control), "the device answers", timeout_s)
        if process.poll() is not None:
            raise TimeoutError(f"the device ended: {log.read_text()}")
    except TimeoutError:
        device.kill()
        raise
    return device


def wait_for(condition: Callable[[], object], description: str, timeout_s: float = 5.0) -> None:
    """Wait until the condition holds. Raises TimeoutError, which names `description`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s:g} s: {description}")
        time.sleep(0.01)


def _is_answering(control: str) -> bool:
    try:
        ask(control)
    except ControlError:
        return False
    return True

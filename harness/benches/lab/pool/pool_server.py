"""Hand out warm guests to other processes, through a unix socket of the process that keeps the pool.

A client connects and sends its timeout; the reply names the guest. The client holds the guest while the connection is
open, so a client that ends in any way leaves no guest behind. The protocol is one JSON object per line in each
direction.
"""

import json
import math
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.lab.bench import LabBench
from harness.benches.lab.io.json_lines import JsonLines
from harness.benches.lab.pool.lab_source import WarmHost
from harness.benches.lab.pool.pool import WarmPool
from harness.benches.lab.processes import runtime_dir
from harness.errors import CleanupError, HarnessError, RequestError
from harness.model import Machine, Token

_CONNECT_DEADLINE_S = 1.0
_MARGIN_S = 30.0  # added to the timeout of the pool itself
_POLL_S = 0.5
_LONGEST_LINE = 4096
_LONGEST_WAIT_S = 7 * 86_400.0


class PoolServer:
    """Hands out a pool's guests to other processes. A context manager: at its end all guests are released."""

    def __init__(self, pool: WarmPool[WarmHost], path: Path) -> None:
        self._pool, self._path = pool, path
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self.unremoved: list[str] = []

    def __enter__(self) -> "PoolServer":
        if _accepts_clients(self._path):
            raise RequestError("a pool of this type is kept already", next_step="end it by Ctrl-C where it runs")
        self._path.unlink(missing_ok=True)
        self._server.bind(str(self._path))
        self._server.listen(64)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._path.unlink(missing_ok=True)
        with self._lock:
            threads = list(self._open.values())
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)  # pending replies can still be sent
        for thread in threads:
            thread.join()

    def serve(self, *, until: Callable[[], bool]) -> None:
        """Serve clients until `until()`, called twice a second, is true, or until a KeyboardInterrupt."""
        while not until():
            readable, _, _ = select.select([self._server], [], [], _POLL_S)
            if readable:
                connection, _ = self._server.accept()
                thread = threading.Thread(target=self._attend, args=(connection,), daemon=True)
                with self._lock:
                    self._open[connection] = thread
                thread.start()

    def _attend(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rw") as lines:
                self._hand_over(lines, _parse_timeout(lines.readline(_LONGEST_LINE)))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # the client disconnected, or speaks another protocol
        except CleanupError as error:
            self.unremoved += error.leftovers
        finally:
            with self._lock:
                self._open.pop(connection, None)

    def _hand_over(self, lines: Any, timeout_s: float) -> None:
        try:
            held = self._pool.acquire(timeout_s=timeout_s)
        except HarnessError as error:
            _send_line(lines, {"error": error.message, "next_step": error.next_step})
            return
        try:
            _send_line(lines, {"token": str(held.guest.machine.token)})
            while lines.read(_LONGEST_LINE):  # ends when the client disconnects
                pass
        finally:
            self._pool.release(held)


@contextmanager
def pooled_guest(bench: LabBench, instance_type: str, *, timeout_s: float) -> Iterator[Machine | None]:
    """Hold a warm guest of another process's pool for the duration of this block; None where there is no pool.

    Raises BenchError with the pool's message.
    """
    path = socket_path(bench, instance_type)
    if not _accepts_clients(path):
        yield None
        return
    lines = JsonLines(path, deadline_s=_CONNECT_DEADLINE_S)
    try:
        lines.send({"timeout_s": timeout_s})
        reply = lines.receive(deadline_s=timeout_s + _MARGIN_S)
        if "token" not in reply:
            message = str(reply.get("error", "the pool names no guest"))
            raise BenchError(message, next_step=str(reply.get("next_step", "")))
        machine = bench.find(Token.parse(str(reply["token"])))
        if machine is None:
            raise BenchError(f"the guest {reply['token']} is gone already")
        yield machine
    finally:
        lines.close()


def socket_path(bench: LabBench, instance_type: str) -> Path:
    """Return the path of the pool's socket: one for each type and state directory."""
    return runtime_dir.path_for(bench.records.root.parent / f"pool-{instance_type}").with_suffix(".pool")


def _parse_timeout(line: str) -> float:
    """Parse a client's timeout in seconds. Raises ValueError, KeyError, TypeError or RecursionError."""
    timeout_s = float(json.loads(line)["timeout_s"])
    if math.isnan(timeout_s):
        raise ValueError(line)
    return min(timeout_s, _LONGEST_WAIT_S)


def _accepts_clients(path: Path) -> bool:
    """Tell whether a process listens at this socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _send_line(lines: Any, message: dict[str, str]) -> None:
    lines.write(json.dumps(message) + "\n")
    lines.flush()

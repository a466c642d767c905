"""Serve the vfio-user socket, the control socket and timed work in one poll loop, in which nothing else blocks."""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from ena_device import bends
from ena_device import vfio_user as vu
from ena_device.clock import SharedClock
from ena_device.connection import Connection
from ena_device.control import ControlServer
from ena_device.device import Ena
from ena_device.device_errors import BadRequest, BrokenPeer, DeviceSetupError, MessageRefused
from ena_device.lifetime import WatchedProcess
from ena_device.phc import now_ns
from ena_device.sockets import ListeningSocket
from ena_device.vfio_commands import execute

GREETING_DEADLINE_S = 5.0
LONGEST_WAIT_S = 1.0
MAX_WATCHED = 64  # each keeps a descriptor open


class DeviceServer:
    """The device behind its two sockets; close() releases everything."""

    def __init__(self, *, socket_path: str, control_path: str, device: Ena, clock: SharedClock) -> None:
        self._device, self._clock = device, clock
        self._log = device.log
        self._listener = ListeningSocket(socket_path, 8)
        self._connection: Connection | None = None
        self._accepted_s = 0.0
        self._messages: dict[str, int] = {}
        self._watched: list[WatchedProcess] = []
        self.ended = False  # the loop ends after the present round
        try:
            self._control = ControlServer(control_path, self.control, self._log)
        except DeviceSetupError:
            self._listener.close()
            raise

    def end_with(self, pid: int) -> None:
        """End once this process has ended. Raises DeviceSetupError when it does not exist, or there are too many."""
        if all(w.pid != pid for w in self._watched):
            if len(self._watched) >= MAX_WATCHED:
                raise DeviceSetupError(f"more than {MAX_WATCHED} processes to end with")
            self._watched.append(WatchedProcess(pid))
            self._log(f"ends with process {pid}, started at tick {self._watched[-1].start_ticks}")

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT, or the end of a process given to end_with."""
        with _signal_descriptor() as signal_fd:
            while not self.ended:
                self.serve_once(signal_fd)

    def serve_once(self, signal_fd: int | None = None, *, longest_wait_s: float = LONGEST_WAIT_S) -> bool:
        """Handle ready sockets and work that is due by time; false when no socket was ready.

        Waits at most `longest_wait_s` for either. `signal_fd` becomes readable when the process is asked to end.
        """
        ready = self._wait(signal_fd, longest_wait_s)
        for fd in ready:
            self._handle(fd, signal_fd)
        self._check_greeting()
        self._device.tick()
        return bool(ready)

    def close(self) -> None:
        if self._connection:
            self._disconnect(self._connection, "the device ends")
        self._device.doorbell.stop()
        self._control.close()
        self._listener.close()
        if self._device.network:
            self._device.network.close()
        for watched in self._watched:
            watched.close()

    def control(self, request: object) -> dict[str, Any]:
        """Apply one control line, wholly or not at all, and return the state. Raises BadRequest."""
        changes = bends.check(request)
        device = self._device
        if changes.request_reset and not device.events.is_enabled(bends.RESET_GROUP):
            raise BadRequest("request_reset: no driver listens for it now")
        mono_ns, utc_ns = _read_clocks()
        settings = bends.bend(self._clock.load(), changes, utc_ns=utc_ns, mono_ns=mono_ns)
        if changes.end_with is not None:
            try:
                self.end_with(changes.end_with)
            except DeviceSetupError as e:
                raise BadRequest(f"end_with: {e}") from e
        if changes != bends.Changes():
            self._clock.store(settings)
            self._log(f"control: {changes.requested()}")
        self._change_device(changes)
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return the device's state for a control client; README.md explains each key."""
        device, settings = self._device, self._clock.load()
        mono_ns, utc_ns = _read_clocks()
        now = settings.time_at(mono_ns)
        return {
            **asdict(settings),
            "mode": settings.mode.name,
            **asdict(self._clock.load_counts()),
            "now_ns": now,
            "host_ns": utc_ns,
            "offset_ns": now - utc_ns,
            **{name: getattr(device.offer, name) for name in bends.OFFER_KEYS},
            "link": device.link,
            "keepalive": device.keepalive,
            "connected": self._connection is not None,
            "phc": device.phc_configured,
            "resets": device.totals.resets,
            "host": asdict(device.host) if device.host else None,
            "mtu": device.mtu,
            **_packet_counts(device),
            "sqs": len(device.queues.submission),
            "messages": dict(self._messages),
            "pid": os.getpid(),
            "end_with": [w.pid for w in self._watched],
        }

    def _change_device(self, changes: bends.Changes) -> None:
        device = self._device
        for name, value in changes.select(*bends.OFFER_KEYS).items():
            setattr(device.offer, name, value)
        if changes.keepalive is not None:
            device.keepalive = changes.keepalive
        if changes.link is not None:
            device.set_link(changes.link)
        if changes.request_reset:
            device.request_reset()

    def _wait(self, signal_fd: int | None, longest_s: float) -> list[int]:
        poll = select.poll()
        signals = [] if signal_fd is None else [signal_fd]
        connection = [self._connection.fileno()] if self._connection else []
        watched = [w.fileno() for w in self._watched]
        for fd in [*signals, self._listener.fileno(), *connection, *watched, *self._control.fds()]:
            poll.register(fd, select.POLLIN)
        if network := self._device.network:
            poll.register(network.fileno(), network.events)
        return [fd for fd, _ in poll.poll(self._timeout_s(longest_s) * 1000)]

    def _timeout_s(self, longest_s: float) -> float:
        keep_alive_s, due_ns = self._device.events.seconds_to_keep_alive(), self._device.doorbell.due_ns()
        due_s = None if due_ns is None else max(0.0, (due_ns - now_ns()) / 1e9)
        return min(s for s in (longest_s, keep_alive_s, due_s) if s is not None)

    def _handle(self, fd: int, signal_fd: int | None) -> None:
        if fd == signal_fd:
            self._end("by signal")
        elif fd == self._listener.fileno():
            self._accept()
        elif self._connection and fd == self._connection.fileno():
            self._serve(self._connection)
        elif self._device.network and fd == self._device.network.fileno():
            self._device.network.flush()
            self._device.receive_frames()
        elif ended_pids := [w.pid for w in self._watched if w.fileno() == fd]:
            self._end(f"with process {ended_pids[0]}")
        else:
            self._control.handle(fd)

    def _end(self, reason: str) -> None:
        self._log(f"ends {reason}")
        self.ended = True

    def _accept(self) -> None:
        sock = self._listener.accept()
        if sock is None:
            return
        if self._connection:
            self._log("a second connection is refused")
            sock.close()
            return
        self._connection, self._accepted_s = Connection(sock), time.monotonic()
        self._log("connected")

    def _check_greeting(self) -> None:
        connection = self._connection
        if connection is None or connection.greeted:
            return
        if time.monotonic() - self._accepted_s > GREETING_DEADLINE_S:
            self._disconnect(connection, f"no greeting within {GREETING_DEADLINE_S:g} s")

    def _serve(self, connection: Connection) -> None:
        try:
            message = connection.receive()
            if message is None:
                return
            try:
                self._answer(connection, message)
            finally:
                for fd in message.fds:
                    os.close(fd)
        except BrokenPeer as e:
            self._disconnect(connection, str(e))

    def _answer(self, connection: Connection, message: vu.Message) -> None:
        """Execute one message and reply to it. Raises BrokenPeer."""
        name = _name(message.command)
        if not connection.greeted and message.command != vu.VfioCommand.VERSION:
            raise BrokenPeer(f"{name} before the greeting")
        self._messages[name] = self._messages.get(name, 0) + 1
        reply, error = vu.Reply(), 0
        try:
            reply = execute(self._device, message)
        except MessageRefused as e:
            self._log(f"{name} refused: {e}")
            error = e.error
        if message.wants_reply:
            connection.send(vu.reply_bytes(message, reply.body, error), reply.fds)
        connection.greeted |= not error

    def _disconnect(self, connection: Connection, reason: str) -> None:
        """Return to the state before the connection: no memory, no interrupts, a device as after power-on."""
        connection.close()
        self._connection = None
        self._log(f"disconnected: {reason}")
        self._device.reset("at the end of the connection")
        self._device.memory.clear()
        self._device.interrupts.clear()


def _name(command: int) -> str:
    return vu.VfioCommand(command).name if command in list(vu.VfioCommand) else "UNKNOWN"


def _packet_counts(device: Ena) -> dict[str, int]:
    counts = device.totals.packets
    return {
        "tx_packets": counts.sent,
        "tx_dropped": counts.send_drops,
        "rx_packets": counts.received,
        "rx_dropped": counts.receive_drops,
        "rx_invalid": device.network.invalid if device.network else 0,
    }


def _read_clocks() -> tuple[int, int]:
    """Read CLOCK_MONOTONIC and the host's UTC at one moment: the closest of five pairs of readings."""
    pairs = []
    for _ in range(5):
        before, utc_ns, after = now_ns(), time.time_ns(), now_ns()
        pairs.append((after - before, (before + after) // 2, utc_ns))
    _, mono_ns, utc_ns = min(pairs)
    return mono_ns, utc_ns


@contextlib.contextmanager
def _signal_descriptor() -> Iterator[int]:
    """Yield a descriptor that is readable after SIGTERM or SIGINT: the loop ends between two messages, never in one."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    ignore: Callable[..., None] = lambda *_: None  # noqa: E731
    before = {number: signal.signal(number, ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    fd_before = signal.set_wakeup_fd(writer.fileno())
    try:
        yield reader.fileno()
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()

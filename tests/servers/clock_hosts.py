"""Simulated hosts with clocks: real SSH servers on loopback addresses that speak the lines of `sample_asked.py`.

    python -m tests.servers.clock_hosts --folder FOLDER --count 1000 [--address FIRST] [--journal FILE --interval S]

Each host has an address of its own, and does what a test tells it to: answer well, answer nonsense, fall silent, be
gone, or show another host key. As a program it serves good hosts, and prints one line of JSON when they are there. With
a journal, each answer has an offset of its own, and a line in the file: what a watch has of it is held against that.
"""

import argparse
import asyncio
import functools
import ipaddress
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

LINE_END = b"\n"
_LENGTH = 9


@dataclass(slots=True)
class Clock:
    """What the clock of a simulated host does. `offset_ns`: how far the system clock is ahead of the PHC."""

    offset_ns: int = 40
    window_ns: int = 4000
    bound_ns: int = 6000
    follows: bool = True
    errors: int = 0
    reads: int = 5


def make_answer(tick: int, clock: Clock) -> bytes:
    """Write a sample as sample.py does, of a host whose clock is like this."""
    now_ns = time.time_ns()
    reads = [
        [at, at + clock.window_ns // 2 - clock.offset_ns, at + clock.window_ns]
        for at in (now_ns + number * 40_000_000 for number in range(clock.reads))
    ]
    state = "*" if clock.follows else "?"
    out = (
        f"50484330,PHC0,1,{now_ns / 1e9:.9f},0.000000020,-0.000000084,0.000000090,0.300,0.000,0.003,"
        f"0.000000000,{clock.bound_ns / 1e9 - 2e-8:.9f},1.0,Normal\n"
        f"#,{state},PHC0,0,0,377,1,0.000000008,0.000000009,0.000005108\n"
        "^,?,169.254.169.123,1,4,377,1,0.000040000,0.000040000,0.000100000\n"
        "PHC0,13,7,12,0.000,0.003,0.000000008,0.000000090\n"
        "169.254.169.123,11,6,160,0.000,0.018,0.000040000,0.000003000\n"
    )
    errors = {"EBUSY": clock.errors} if clock.errors else {}
    record = {
        "kind": "sample", "tick": tick, "mono_ns": now_ns, "raw_ns": now_ns, "boot_ns": now_ns, "utc_ns": now_ns,
        "phc": {"device": "ptp0", "reads": reads, "errors": errors}, "error_bound": {"rc": 0, "out": "20000"},
        "stats": {"rc": 0, "out": "phc_cnt: 2\nphc_exp: 0\nphc_skp: 0\nphc_err_dv: 0\nphc_err_ts: 0\nphc_err_eb: 0"},
        "chronyc": {"rc": 0, "out": out},
        "kernel": {"adjtimex": {"state": 0, "freq": -402653, "maxerror": 16000, "status": 8192, "tai": 37},
                   "cpu": "cpu  8011 0 5120 90412 55 0 12 3 0 0", "pressure": "some avg10=0.00 avg60=0.00 total=5"},
        "interrupts": 1200, "cpu_ns": 9000000, "end_mono_ns": now_ns + 170_000_000,
    }  # fmt: skip
    return json.dumps(record, separators=(",", ":")).encode() + LINE_END


@functools.lru_cache(maxsize=8)
def _share_answer(tick: int) -> bytes:
    return make_answer(tick, Clock())


def share_answer(tick: int, clock: Clock) -> bytes:
    """Write the sample of a good clock, once for all hosts that are asked for the tick."""
    return _share_answer(tick)


Answer = Callable[[int, Clock], bytes]
"""What a host sends for a tick."""


@dataclass
class Host:
    """A simulated host. `asked`: the ticks that it was asked for, in their order, by each of its connections."""

    name: str
    address: str
    clock: Clock = field(default_factory=Clock)
    answer: Answer = make_answer
    start: bytes = (
        b'{"kind":"start","schema":3,"asked":true,"reads":5,"pid":1,"boot_id":"3f0e8d5e-1111-2222-3333-444444444444",'
        b'"kernel":"6.12.107+deb13-cloud-amd64","driver":"2.17.0g","mono_ns":1,"utc_ns":1}\n'
    )
    delay_s: float = 0.0
    silent: bool = False
    real: bool = False
    commands: list[str] = field(default_factory=list)
    sessions: set["_Session"] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)
    connections: int = 0
    opened: int = 0
    listener: Any = None
    children: set["asyncio.Task[None]"] = field(default_factory=set)
    note: "Callable[[_Session, int], None] | None" = None  # called before each answer, with its tick


class _Server(asyncssh.SSHServer):
    def __init__(self, host: Host) -> None:
        self._host = host

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._host.connections += 1

    def session_requested(self) -> "_Session":
        return _RealSession(self._host) if self._host.real else _Session(self._host)


class _Session(asyncssh.SSHServerSession[bytes]):
    """The session of a sampler: its program comes first, then the ticks."""

    def __init__(self, host: Host) -> None:
        self.host, self._rest, self._length = host, b"", -1
        self.channel: Any = None
        self.number = host.opened = host.opened + 1

    @property
    def peer(self) -> str:
        """The address from which it was opened."""
        return str(self.channel.get_extra_info("peername")[0])

    def connection_made(self, chan: Any) -> None:
        self.channel = chan
        self.host.sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.host.sessions.discard(self)

    def exec_requested(self, command: str) -> bool:
        self.host.commands.append(command)
        return "sample_asked.py" in command

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._rest += data
        if self._length < 0 and len(self._rest) >= _LENGTH:
            self._length, self._rest = int(self._rest[:_LENGTH]), self._rest[_LENGTH:]
        if self._length > 0:
            if len(self._rest) < self._length:
                return
            self._rest, self._length = self._rest[self._length :], 0
            self.channel.write(self.host.start)
        if self._length == 0:
            *lines, self._rest = self._rest.split(LINE_END)
            for line in lines:
                self._take(int(line))

    def _take(self, tick: int) -> None:
        self.host.asked.append(tick)
        if self.host.silent:
            return
        if self.host.delay_s:
            asyncio.get_running_loop().call_later(self.host.delay_s, self._send, tick)
        else:
            self._send(tick)

    def _send(self, tick: int) -> None:
        if self in self.host.sessions and not self.channel.is_closing():
            if self.host.note is not None:
                self.host.note(self, tick)
            self.channel.write(self.host.answer(tick, self.host.clock))


class AnswerJournal:
    """Notes each answer of hosts before it is sent, a line each, and gives it an offset that tells it from others.

    `interval_s`: of the streams, by which the line says how long after the beginning of its tick the answer was given.
    """

    def __init__(self, file: Path, interval_s: float) -> None:
        self._file, self._interval_s = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), interval_s

    def note(self, session: _Session, tick: int) -> None:
        """Note an answer: when (CLOCK_MONOTONIC), to whom, by which session, of which host, its tick, how late."""
        host, at_s = session.host, time.clock_gettime(time.CLOCK_MONOTONIC)
        host.clock.offset_ns = 40 + (host.clock.offset_ns - 39) % 200
        late_s = time.time() - tick * self._interval_s
        words = (f"{at_s:.3f}", session.peer, session.number, host.name, tick, host.clock.offset_ns, f"{late_s:.3f}")
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


class _RealSession(_Session):
    """A session that runs what it is asked for, as a host's SSH server does."""

    def exec_requested(self, command: str) -> bool:
        self.host.commands.append(command)
        self._words, self._input = command, asyncio.Queue[bytes]()
        return True

    def session_started(self) -> None:
        child = asyncio.get_running_loop().create_task(self._run())
        self.host.children.add(child)
        child.add_done_callback(self.host.children.discard)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._input.put_nowait(data)

    def eof_received(self) -> bool:
        self._input.put_nowait(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._input.put_nowait(b"")

    async def _run(self) -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_shell(self._words, stdin=pipe, stdout=pipe, stderr=pipe)
        copies = [asyncio.create_task(self._copy(stream, number)) for stream, number in
                  ((child.stdout, None), (child.stderr, asyncssh.EXTENDED_DATA_STDERR))]  # fmt: skip
        assert child.stdin is not None
        try:
            while data := await self._input.get():
                child.stdin.write(data)
                await child.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass
        child.stdin.close()
        await asyncio.gather(*copies)
        status = await child.wait()
        if self in self.host.sessions:
            self.channel.exit(max(0, status))

    async def _copy(self, stream: Any, number: int | None) -> None:
        while data := await stream.read(65536):
            if self in self.host.sessions:
                self.channel.write(data, number)


class ClockHosts:
    """Simulated hosts in this process's event loop, and the keys that they and their users have."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.hosts, self.port = folder, dict[str, Host](), 0
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.other_key = asyncssh.generate_private_key("ssh-ed25519")
        user = asyncssh.generate_private_key("ssh-ed25519")
        self.user_key = folder / "user-key"
        user.write_private_key(self.user_key)
        self.user_key.chmod(0o600)
        user.write_public_key(folder / "user-key.pub")
        self._users = asyncssh.import_authorized_keys(user.export_public_key().decode())

    async def add(
        self,
        count: int,
        *,
        prefix: str = "host",
        network: int = 10,
        addresses: Sequence[str] | None = None,
        **settings: Any,
    ) -> list[Host]:
        """Add hosts that answer; `network`: the third byte of the first one's address, unless `addresses` has all."""
        made = []
        for number in range(count):
            address = addresses[number] if addresses else f"127.83.{network + number // 250}.{1 + number % 250}"
            host = Host(name=f"{prefix}-{number}", address=address, **settings)
            self.hosts[host.name] = host
            made.append(host)
            await self.listen(host)
        return made

    async def listen(self, host: Host, key: asyncssh.SSHKey | None = None) -> None:
        """Let a host be reached, with its key or with another one."""
        host.listener = await asyncssh.listen(
            host.address,
            self.port,
            server_factory=lambda: _Server(host),
            server_host_keys=[key or self.key],
            authorized_client_keys=self._users,
            encoding=None,
            line_editor=False,
            backlog=16,
            login_timeout=60,
        )
        self.port = self.port or host.listener.get_port()

    async def unlisten(self, host: Host) -> None:
        """Let a host be gone: nobody listens, and its connections end."""
        host.listener.close()
        await host.listener.wait_closed()
        self.cut(host)

    def cut(self, host: Host) -> None:
        """End the connections of a host; it can be reached again at once."""
        for session in [*host.sessions]:
            session.channel.get_extra_info("connection").abort()
        host.sessions.clear()

    def source(self, host: Host) -> dict[str, Any]:
        """The source of a host's stream."""
        public = self.key.export_public_key().decode().strip()
        return {
            "kind": "inventory",
            "address": host.address,
            "port": self.port,
            "user": "root",
            "key": str(self.user_key),
            "known_hosts": f"[{host.address}]:{self.port} {public}\n",
            "proxy": None,
        }

    async def close(self) -> None:
        for host in self.hosts.values():
            host.listener.close()
            self.cut(host)
        await asyncio.sleep(0)
        await asyncio.gather(*(child for host in self.hosts.values() for child in host.children))


async def _serve(given: argparse.Namespace) -> None:
    servers = ClockHosts(given.folder)
    settings: dict[str, Any] = {"answer": share_answer}
    if given.journal is not None:
        settings = {"note": AnswerJournal(given.journal, given.interval).note}
    if given.address is not None:
        settings["addresses"] = [str(given.address + number) for number in range(given.count)]
    await servers.add(given.count, delay_s=given.delay, **settings)
    print(json.dumps({host.name: servers.source(host) for host in servers.hosts.values()}), flush=True)
    while True:
        await asyncio.sleep(3600)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--address", type=ipaddress.ip_address)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--interval", type=float, default=1.0)
    asyncio.run(_serve(parser.parse_args()))

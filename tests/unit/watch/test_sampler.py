"""Does a worker's side of the connection ask each tick once, tell each in its order, and survive what hosts do?"""

import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.model.watched import TickReading
from harness.system.settings import assets_dir
from harness.watch import ssh_connection
from harness.watch.grid import Grid
from harness.watch.host_route import HostRoute, read_route
from harness.watch.sampler import SamplerProgram, StreamSampler
from harness.watch.ssh_connection import Backoff, ConnectionTimes, Connector, HostConnectionError, Trouble
from tests.servers.clock_hosts import Clock, ClockHosts, Host, make_answer

TIMES = ConnectionTimes(connect_s=5, login_s=20, start_s=20, first_pause_s=0.1, longest_pause_s=0.2)
PROGRAM = SamplerProgram.load(assets_dir() / "roles")


class Watching:
    """One sampler of one host, and what it told."""

    def __init__(self, servers: ClockHosts, host: Host, *, interval_s: float, route: HostRoute | None = None) -> None:
        self.ticks: list[tuple[int, TickReading | None]] = []
        self.troubles: list[Trouble | None] = []
        self.may_ask = True
        self.sampler = StreamSampler(
            host.name,
            route or read_route(servers.source(host), stream=host.name),
            interval_s,
            connector=Connector(TIMES),
            program=PROGRAM,
            time_grid=Grid(),
            on_tick=lambda _stream, tick, reading: self.ticks.append((tick, reading)),
            changed=self._note_trouble,
            may_ask=lambda: self.may_ask,
        )

    def _note_trouble(self, _stream: str) -> None:
        trouble = self.sampler.trouble
        self.troubles.append(trouble.trouble if trouble else None)

    @property
    def readings(self) -> list[TickReading]:
        return [reading for _, reading in self.ticks if reading is not None]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.02)


def with_host(
    tmp_path: Path,
    act: Callable[[Watching, ClockHosts, Host], Awaitable[None]],
    *,
    interval_s: float = 0.2,
    **settings: Any,
) -> None:
    """Do something with a sampler that is connected to a host, or tries to."""

    async def run() -> None:
        servers = ClockHosts(tmp_path)
        (host,) = await servers.add(1, **settings)
        watching = Watching(servers, host, interval_s=interval_s)
        watching.sampler.connect()
        try:
            await act(watching, servers, host)
        finally:
            watching.sampler.close()
            await servers.close()

    asyncio.run(run())


def test_each_tick_is_asked_once_and_told_once_in_order(tmp_path: Path) -> None:
    async def act(watching: Watching, _servers: ClockHosts, host: Host) -> None:
        await watching.until(lambda: watching.sampler.answers)
        assert watching.sampler.facts == {
            "kernel": "6.12.107+deb13-cloud-amd64",
            "driver": "2.17.0g",
            "boot_id": "3f0e8d5e-1111-2222-3333-444444444444",
        }
        watching.sampler.begin()
        await watching.until(lambda: len(watching.readings) >= 10)
        ticks = [tick for tick, _ in watching.ticks]
        assert ticks == [*range(ticks[0], ticks[0] + len(ticks))]
        assert len(host.asked) == len({*host.asked})
        reading = watching.readings[0]
        assert (reading.offset_ns, reading.window_ns, reading.reads, reading.read_errors) == (40, 4000, 5, 0)
        assert (reading.chrony_bound_ns, reading.follows_phc, reading.opinion_ns) == (6000, True, 40_000)
        assert watching.troubles == [None]

    with_host(tmp_path, act)


def test_the_real_sampler_answers_over_a_real_connection(tmp_path: Path) -> None:
    async def act(watching: Watching, _servers: ClockHosts, host: Host) -> None:
        watching.sampler.begin()
        await watching.until(lambda: len(watching.readings) >= 3)
        assert watching.readings[0].tick == watching.ticks[-len(watching.readings)][0]
        (command,) = host.commands
        assert shlex.split(command)[0] == "python3"
        assert "sample_asked.py" in command

    with_host(tmp_path, act, interval_s=1.0, real=True)


def test_ends_tell_the_last_tick_and_ask_for_none_after_it(tmp_path: Path) -> None:
    async def act(watching: Watching, _servers: ClockHosts, host: Host) -> None:
        watching.sampler.begin()
        await watching.until(lambda: len(watching.readings) >= 3)
        watching.sampler.end()
        before = [*host.asked]
        await watching.until(lambda: not watching.sampler.is_sampling)
        (last,) = host.asked[len(before) :]
        assert last == watching.ticks[-1][0]
        assert watching.ticks[-1][1] is not None
        watching.sampler.begin()
        await watching.until(lambda: watching.readings[-1].tick > last)
        ticks = [tick for tick, _ in watching.ticks]
        assert ticks == sorted({*ticks})

    with_host(tmp_path, act)


def test_a_host_that_is_gone_has_missed_ticks_and_is_sampled_when_it_is_back(tmp_path: Path) -> None:
    async def act(watching: Watching, servers: ClockHosts, host: Host) -> None:
        watching.sampler.begin()
        await watching.until(lambda: len(watching.readings) >= 2)
        await servers.unlisten(host)
        await watching.until(lambda: watching.sampler.trouble is not None)
        await watching.until(lambda: [reading for _, reading in watching.ticks[-3:]] == [None] * 3)
        trouble = watching.sampler.trouble
        assert trouble is not None
        assert trouble.trouble is Trouble.UNREACHABLE
        assert host.address in trouble.message
        await servers.listen(host)
        await watching.until(lambda: watching.ticks[-1][1] is not None)
        assert watching.sampler.trouble is None
        ticks = [tick for tick, _ in watching.ticks]
        assert ticks == [*range(ticks[0], ticks[0] + len(ticks))], "each tick is told, missed or not"

    with_host(tmp_path, act)


def test_a_host_with_another_key_is_never_trusted(tmp_path: Path) -> None:
    async def act(watching: Watching, servers: ClockHosts, host: Host) -> None:
        await watching.until(lambda: watching.sampler.answers)
        await servers.unlisten(host)
        commands = len(host.commands)
        await servers.listen(host, servers.other_key)
        await watching.until(lambda: Trouble.WRONG_KEY in watching.troubles)
        trouble = watching.sampler.trouble
        assert trouble is not None
        assert "another host key than the one that is trusted" in trouble.message
        await asyncio.sleep(0.5)
        assert len(host.commands) == commands
        await servers.unlisten(host)
        await servers.listen(host)
        await watching.until(lambda: watching.sampler.answers)

    with_host(tmp_path, act)


def test_a_host_whose_connection_is_silent_is_dropped_within_five_seconds(tmp_path: Path) -> None:
    async def act(watching: Watching, _servers: ClockHosts, host: Host) -> None:
        watching.sampler.begin()
        await watching.until(lambda: len(watching.readings) >= 2)
        host.silent = True
        begun = asyncio.get_running_loop().time()
        await watching.until(lambda: Trouble.UNREACHABLE in watching.troubles)
        assert asyncio.get_running_loop().time() - begun <= ssh_connection.DEAD_AFTER_S
        host.silent = False
        await watching.until(lambda: watching.ticks[-1][1] is not None)

    with_host(tmp_path, act)


def nonsense(tick: int, clock: Clock) -> bytes:
    return b'{"kind": "sample", "tick": "%d", "phc": []}\n' % tick


def cut_short(tick: int, clock: Clock) -> bytes:
    return make_answer(tick, clock)[:300] + b"\n"


def of_other_ticks(tick: int, clock: Clock) -> bytes:
    return make_answer(tick + 1000, clock)


def no_text(tick: int, clock: Clock) -> bytes:
    return bytes(range(256)).replace(b"\n", b"") + b"\n"


def deep(tick: int, clock: Clock) -> bytes:
    return b"[" * 15_000 + b"\n"


def endless(tick: int, clock: Clock) -> bytes:
    return b"x" * 20_000


def flood(tick: int, clock: Clock) -> bytes:
    return b"{}\n" * 60_000


@pytest.mark.parametrize("answer", [nonsense, cut_short, of_other_ticks, no_text, deep, endless, flood])
def test_a_host_that_answers_what_is_no_sample_is_missed_and_told(
    tmp_path: Path, answer: Callable[[int, Clock], bytes]
) -> None:
    async def act(watching: Watching, _servers: ClockHosts, host: Host) -> None:
        watching.sampler.begin()
        await watching.until(lambda: len(watching.readings) >= 2)
        host.answer = answer
        await watching.until(lambda: watching.sampler.trouble is not None)
        assert {*watching.troubles} <= {None, Trouble.BAD_ANSWER, Trouble.UNREACHABLE}
        before = len(watching.readings)
        await asyncio.sleep(0.5)
        assert len(watching.readings) == before
        host.answer = make_answer
        await watching.until(lambda: watching.ticks[-1][1] is not None)

    with_host(tmp_path, act)


def test_what_may_not_be_asked_is_not_asked_and_not_made_up_for(tmp_path: Path) -> None:
    async def act(watching: Watching, _servers: ClockHosts, host: Host) -> None:
        watching.sampler.begin()
        await watching.until(lambda: len(watching.readings) >= 2)
        watching.may_ask = False
        await asyncio.sleep(0.1)
        before = [*host.asked]
        await asyncio.sleep(1)
        assert host.asked == before
        watching.may_ask = True
        await watching.until(lambda: len(host.asked) > len(before))
        assert host.asked[len(before)] > before[-1] + 3

    with_host(tmp_path, act)


def test_a_slow_host_is_waited_for_and_a_slower_one_is_missed(tmp_path: Path) -> None:
    async def act(watching: Watching, _servers: ClockHosts, host: Host) -> None:
        watching.sampler.begin()
        await watching.until(lambda: len(watching.readings) >= 3)
        host.delay_s = 4.0
        await watching.until(lambda: [reading for _, reading in watching.ticks[-3:]] == [None] * 3)

    with_host(tmp_path, act, delay_s=0.7)


@pytest.mark.parametrize(
    ("command", "expected"),
    [("exec nc %h %p", "exec nc 10.0.0.5 2222"), ("x %r%%%h", "x root%10.0.0.5"), ("a %x %", "a %x %")],
)
def test_a_proxy_command_gets_host_port_and_user(command: str, expected: str) -> None:
    source = {"address": "10.0.0.5", "port": 2222, "user": "root", "known_hosts": "10.0.0.5 x", "proxy": command}
    assert ssh_connection.expand_proxy(read_route(source, stream="a")) == expected


def test_a_host_is_reached_through_a_proxy_command(tmp_path: Path) -> None:
    relay = (
        "import socket,sys,threading,os\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        "def up():\n"
        " while d:=os.read(0,65536): s.sendall(d)\n"
        " s.shutdown(1)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        "while d:=s.recv(65536): os.write(1,d)\n"
    )
    program = tmp_path / "relay.py"
    program.write_text(relay)

    async def run() -> None:
        servers = ClockHosts(tmp_path)
        (host,) = await servers.add(1)
        source = servers.source(host) | {"proxy": f"{sys.executable} {program} %h %p"}
        watching = Watching(servers, host, interval_s=0.2, route=read_route(source, stream="a"))
        watching.sampler.connect()
        watching.sampler.begin()
        await watching.until(lambda: len(watching.readings) >= 2)
        watching.sampler.close()
        await servers.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"key": "/nowhere/key"}, Trouble.BAD_SOURCE),
        ({"known_hosts": "127.0.0.1 ssh-ed25519 nonsense\n"}, Trouble.WRONG_KEY),
        ({"known_hosts": "elsewhere ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbyBiYXIgYmF6IHF1eCBmb28gYmFyIGJheiBx\n"},
         Trouble.WRONG_KEY),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_used_is_told_and_nothing_else_is_trusted(
    tmp_path: Path, changes: dict[str, Any], trouble: Trouble
) -> None:
    async def run() -> None:
        servers = ClockHosts(tmp_path)
        (host,) = await servers.add(1)
        route = read_route(servers.source(host) | changes, stream="a")
        with pytest.raises(HostConnectionError) as told:
            await Connector(TIMES).connect(
                route, "true", on_line=lambda _: None, on_end=lambda _: None, asked_every_s=1.0
            )
        assert told.value.trouble is trouble
        assert host.commands == []
        await servers.close()

    asyncio.run(run())


def test_a_key_that_the_host_does_not_accept_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        servers = ClockHosts(tmp_path)
        (host,) = await servers.add(1)
        other = tmp_path / "other"
        servers.other_key.write_private_key(other)
        route = read_route(servers.source(host) | {"key": str(other)}, stream="a")
        with pytest.raises(HostConnectionError, match="refuses the key") as told:
            await Connector(TIMES).connect(
                route, "true", on_line=lambda _: None, on_end=lambda _: None, asked_every_s=1.0
            )
        assert told.value.trouble is Trouble.LOGIN_REFUSED
        await servers.close()

    asyncio.run(run())


def test_the_sampler_runs_as_root_by_sudo_where_the_user_is_another_one() -> None:
    source = {"address": "10.0.0.5", "user": "admin", "known_hosts": "10.0.0.5 x"}
    words = shlex.split(PROGRAM.command(read_route(source, stream="a"), 1.0))
    assert words[:4] == ["sudo", "-n", "python3", "-u"]
    assert words[5:] == [
        words[5], "--interval=1", "--reads=5", "--device=/dev/ptp_ena", "--clock-name=ena-ptp-*"
    ]  # fmt: skip
    assert "--reads=1" in PROGRAM.command(read_route(source, stream="a"), 0.2)


def test_pauses_between_tries_double_up_to_a_bound() -> None:
    backoff = Backoff(0.5, 30.0)
    pauses = [backoff.next_s() for _ in range(12)]
    for number, pause_s in enumerate(pauses):
        longest = min(30.0, 0.5 * 2**number)
        assert longest / 2 <= pause_s <= longest
    backoff.reset()
    assert backoff.next_s() <= 0.5

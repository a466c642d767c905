"""Sample one stream: ask its host's sampler for each tick of the grid, and tell each tick once, in their order.

The ticks are the worker's. A tick whose answer has not come within PATIENCE_S, or two intervals, is missed; one that
passed while this process was held up is not asked for later.
"""

import asyncio
import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.model.watched import TickReading
from harness.watch import grid
from harness.watch.grid import Grid
from harness.watch.host_route import HostRoute
from harness.watch.ssh_connection import (
    DEAD_AFTER_S,
    Backoff,
    Connector,
    HostConnection,
    HostConnectionError,
    Trouble,
)
from harness.watch.tick_answers import SamplerStart, TickAnswer, parse_answer

PATIENCE_S = 2.0
READS_A_SECOND, MOST_READS = 5, 5
_BAD_LINES = 10
_STABLE_S = 30.0

_BEGIN = (
    "import os\n"
    "def r(n):\n"
    " b=b''\n"
    " while len(b)<n:\n"
    "  p=os.read(0,n-len(b))\n"
    "  if not p: raise SystemExit(0)\n"
    "  b+=p\n"
    " return b\n"
    "exec(compile(r(int(r(9))),'sample_asked.py','exec'))\n"
)
"""What the host's Python is given as its program: it reads the sampler from standard input, and becomes it."""

_BOTH = (
    "import sys,types\n"
    "m=sys.modules['sample']=types.ModuleType('sample')\n"
    "exec(compile(%r,'sample.py','exec'),m.__dict__)\n"
    "exec(compile(%r,'sample_asked.py','exec'))\n"
)
"""Both programs as one: the first becomes the module that the second imports."""


@dataclass(frozen=True, slots=True)
class SamplerProgram:
    """The sampler that is sent to hosts."""

    source: bytes

    @staticmethod
    def load(roles: Path) -> "SamplerProgram":
        files = roles / "clock_facts" / "files"
        both = _BOTH % tuple((files / name).read_bytes() for name in ("sample.py", "sample_asked.py"))
        return SamplerProgram(both.encode())

    def command(self, route: HostRoute, interval_s: float) -> str:
        """Write the host's command, as root."""
        reads = max(1, min(MOST_READS, math.floor(interval_s * READS_A_SECOND)))
        words = ["python3", "-u", "-c", _BEGIN, f"--interval={interval_s:g}", f"--reads={reads}",
                 f"--device={route.device}", f"--clock-name={route.clock_name}"]  # fmt: skip
        return shlex.join(words if route.user == "root" else ["sudo", "-n", *words])

    @property
    def input(self) -> bytes:
        return b"%09d" % len(self.source) + self.source


class StreamSampler:
    """Keeps a connection to a stream's host, and asks it for ticks from `begin` to `end`.

    `on_tick` gets each tick with its reading, or None where it is missed. `trouble` says why the host does not answer,
    None while it does; `facts` is what the host says about itself, `schema` the form of its sampler's lines. `changed`
    is called when the trouble changes, and when the last tick is told. `may_ask`: whether a tick may be asked for now.
    """

    __slots__ = (
        "_answers",
        "_asked",
        "_asked_in_vain",
        "_backoff",
        "_bad_lines",
        "_changed",
        "_connected_s",
        "_connection",
        "_connector",
        "_ending",
        "_fresh_s",
        "_grid",
        "_interval_s",
        "_last",
        "_loop",
        "_may_ask",
        "_on_tick",
        "_patience",
        "_phase_ns",
        "_program",
        "_resolved",
        "_route",
        "_task",
        "_timer",
        "answers",
        "facts",
        "refused_lines",
        "schema",
        "stream",
        "trouble",
    )

    def __init__(
        self,
        stream: str,
        route: HostRoute,
        interval_s: float,
        *,
        connector: Connector,
        program: SamplerProgram,
        time_grid: Grid,
        on_tick: Callable[[str, int, TickReading | None], None],
        changed: Callable[[str], None],
        may_ask: Callable[[], bool],
    ) -> None:
        self.stream, self._route, self._interval_s = stream, route, interval_s
        self._connector, self._program, self._grid = connector, program, time_grid
        self._on_tick, self._changed, self._may_ask = on_tick, changed, may_ask
        self._loop = asyncio.get_running_loop()
        self._patience = max(2, math.ceil(PATIENCE_S / interval_s))
        self._fresh_s = max(1, math.ceil(interval_s))
        self._phase_ns = grid.phase_of(stream, interval_s)
        times = connector.times
        self._backoff = Backoff(times.first_pause_s, times.longest_pause_s)
        self.answers = False
        self.trouble: HostConnectionError | None = None
        self.facts: Mapping[str, str] = {}
        self.schema: int | None = None
        self.refused_lines = 0
        self._asked = self._resolved = -1
        self._last: int | None = None
        self._ending = False
        self._answers: dict[int, TickReading | None] = {}
        self._asked_in_vain = self._bad_lines = 0
        self._connected_s = 0.0
        self._connection: HostConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- the connection

    def connect(self) -> None:
        """Connect, and again whenever the connection is lost, until `close`."""
        if self._task is None and self._connection is None:
            self._task = self._loop.create_task(self._keep_trying())

    async def _keep_trying(self) -> None:
        try:
            while not await self._try():
                await asyncio.sleep(self._backoff.next_s())
        finally:
            self._task = None

    async def _try(self) -> bool:
        """Connect and wait for the sampler's first line; whether it came."""
        started: asyncio.Future[str | None] = self._loop.create_future()

        def hear(line: bytes) -> None:
            self._hear(line)
            if self.answers and not started.done():
                started.set_result(None)

        def end(why: str) -> None:
            if not started.done():
                started.set_result(why)
            elif connection is not None and connection is self._connection:
                self._lose(Trouble.UNREACHABLE, f"{self._route.address}: {why}")

        connection: HostConnection | None = None
        try:
            command = self._program.command(self._route, self._interval_s)
            connection = await self._connector.connect(
                self._route, command, on_line=hear, on_end=end, asked_every_s=self._interval_s
            )
            self._connection = connection
            connection.send(self._program.input)
            async with asyncio.timeout(self._connector.times.start_s):
                why = await started
            if why is not None:
                raise HostConnectionError(
                    Trouble.NO_SAMPLER, f"the sampler does not run on {self._route.address}: {why}"
                )
        except HostConnectionError as error:
            self._forget_connection()
            self._tell_trouble(error)
            return False
        except TimeoutError:
            self._forget_connection()
            self._tell_trouble(
                HostConnectionError(Trouble.NO_SAMPLER, f"the sampler of {self._route.address} says nothing")
            )
            return False
        except BaseException:
            self._forget_connection()
            raise
        self._connected_s, self._asked_in_vain, self._bad_lines = self._loop.time(), 0, 0
        self._tell_trouble(None)
        return True

    def _tell_trouble(self, trouble: HostConnectionError | None) -> None:
        self.trouble = trouble
        self._changed(self.stream)

    def _lose(self, trouble: Trouble, message: str) -> None:
        """Drop the connection and begin again."""
        if self._loop.time() - self._connected_s > _STABLE_S:
            self._backoff.reset()
        self._forget_connection()
        self._tell_trouble(HostConnectionError(trouble, message))
        if self._task is None:
            self._task = self._loop.create_task(self._connect_later())

    async def _connect_later(self) -> None:
        await asyncio.sleep(self._backoff.next_s())
        await self._keep_trying()

    def _forget_connection(self) -> None:
        connection, self._connection, self.answers = self._connection, None, False
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Ask no more, and end the connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._forget_connection()

    # -- ticks

    @property
    def is_sampling(self) -> bool:
        return self._timer is not None

    @property
    def next_tick(self) -> int:
        """The tick whose moment comes next."""
        return grid.tick_at(self._grid.now_ns() - self._phase_ns, self._interval_s) + 1

    def begin(self) -> None:
        """Ask from the next tick on. One that was ended goes on."""
        self._last, self._ending = None, False
        if self._timer is None:
            self._asked = self._resolved = self.next_tick - 1
            self._answers.clear()
            self._wait()

    def end(self, *, after_next: bool = True) -> None:
        """Ask for no tick after the next one, or after the latest; once these are told `is_sampling` is over."""
        self._ending = True
        if self._last is None and not after_next:
            self._last = self._asked

    def _wait(self) -> None:
        """Have the next tick asked at its moment."""
        now_ns = self._grid.now_ns()
        tick = max(self._asked, grid.tick_at(now_ns - self._phase_ns, self._interval_s)) + 1
        wait_ns = grid.begin_of(tick, self._interval_s) + self._phase_ns - now_ns
        self._timer = self._loop.call_later(max(0, wait_ns) / 1e9, self._pass_tick)

    def _pass_tick(self) -> None:
        tick = grid.tick_at(self._grid.now_ns() - self._phase_ns, self._interval_s)
        if tick > self._asked:
            if self._last is None or tick <= self._last:
                self._ask(tick)
                self._last = tick if self._ending else None
            self._asked = tick
            self._resolve_until(tick - self._patience)
        if self._last is not None and self._resolved >= self._last:
            self._timer = None
            self._changed(self.stream)
        else:
            self._wait()

    def _ask(self, tick: int) -> None:
        if not self.answers or self._connection is None or not self._may_ask():
            return
        if self._asked_in_vain * self._interval_s >= DEAD_AFTER_S - 1 and self._interval_s < DEAD_AFTER_S:
            self._lose(Trouble.UNREACHABLE, f"{self._route.address} has not answered for {DEAD_AFTER_S:g} s")
            return
        self._asked_in_vain += 1
        self._connection.ask(b"%d" % tick)

    def _hear(self, line: bytes) -> None:
        try:
            answer = parse_answer(line, fresh_s=self._fresh_s)
        except ValueError:
            self._note_bad_line()
            return
        self._asked_in_vain = 0
        if isinstance(answer, SamplerStart):
            self.facts, self.schema, self.answers = answer.facts, answer.schema, True
        elif isinstance(answer, TickAnswer):
            self._take(answer)

    def _note_bad_line(self) -> None:
        self.refused_lines += 1
        self._bad_lines += 1
        if self._bad_lines >= _BAD_LINES and self.answers:
            self._lose(Trouble.BAD_ANSWER, f"{self._route.address} answers with what is no sample")

    def _take(self, answer: TickAnswer) -> None:
        if self._resolved < answer.tick <= self._asked:
            self._bad_lines = 0
            self._answers.setdefault(answer.tick, answer.reading)
            self._resolve_answered()
        elif answer.tick > self._asked:
            self._note_bad_line()

    def _resolve_until(self, tick: int) -> None:
        """Tell all ticks up to one. Of ticks that nobody could ask for the last is told: the others are passed."""
        while self._resolved < tick:
            waiting = [known for known in self._answers if known <= tick]
            self._resolve(min(waiting) if waiting else tick)
        self._resolve_answered()

    def _resolve_answered(self) -> None:
        while self._resolved + 1 in self._answers:
            self._resolve(self._resolved + 1)

    def _resolve(self, tick: int) -> None:
        self._resolved = tick
        if self._last is None or tick <= self._last:
            self._on_tick(self.stream, tick, self._answers.pop(tick, None))
        else:
            self._answers.pop(tick, None)

"""Show the progress of a run: a live table on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.model import Stage
from harness.runs.context import Listener
from harness.untrusted.plain_text import clip, printable

_LONGEST_NEWS = 300
_STYLES = {Stage.MEASURE: "cyan", Stage.RELEASE: "magenta"}


@dataclass(frozen=True, slots=True)
class ProgressDisplay:
    """The display: `hear` is the listener, `say` prints a line that stays; inside `aside()` the terminal is free."""

    hear: Listener
    say: Callable[[str], None]
    aside: Callable[[], AbstractContextManager[None]]


@contextmanager
def show_progress(console: Console) -> Iterator[ProgressDisplay]:
    """A listener whose news is shown on `console` for as long as the context lasts."""

    def say(line: str) -> None:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    if console.is_terminal:
        board = _LiveTable()
        with Live(board, console=console, refresh_per_second=4, transient=True) as live:
            yield ProgressDisplay(board.hear, say, lambda: _without(live))
    else:
        yield ProgressDisplay(_LineDisplay(console).hear, say, nullcontext)


@contextmanager
def _without(live: Live) -> Iterator[None]:
    live.stop()
    try:
        yield
    finally:
        live.start()


class _LineDisplay:
    """Prints a line for each piece of news: host, stage, time since the host's start, message."""

    def __init__(self, console: Console) -> None:
        self._console, self._begun = console, dict[str, float]()

    def hear(self, host: str, stage: Stage, words: str) -> None:
        begun = self._begun.setdefault(host, time.monotonic())
        line = f"{host:<18} {stage:<10} {_clock(time.monotonic() - begun)}  {_one_line(words)}".rstrip()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _LiveTable:
    """The latest news of each host, drawn anew several times a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[str, float] = {}
        self._now: dict[str, tuple[Stage, str]] = {}

    def hear(self, host: str, stage: Stage, words: str) -> None:
        with self._lock:
            self._begun.setdefault(host, time.monotonic())
            self._now[host] = (stage, _one_line(words))

    def __rich__(self) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for width in (18, 10, 6):
            table.add_column(min_width=width, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        with self._lock:
            for host, (stage, words) in self._now.items():
                elapsed = _clock(time.monotonic() - self._begun[host])
                table.add_row(Text(host), Text(stage, style=_STYLES.get(stage, "")), elapsed, Text(words))
        return table


def _one_line(words: str) -> str:
    """News in one line, whoever's words are in it."""
    return clip(printable(" ".join(words.split())), _LONGEST_NEWS)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"

"""Show the events of a run: a live table on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.cli import log_options, output
from harness.model import Event, Listener, Stage
from harness.report.text import stage_title
from harness.untrusted.plain_text import printable

_STYLES = {Stage.MEASURE: "cyan", Stage.RELEASE: "magenta"}
_NARROWEST_HOST = 10
_WIDEST_HOST = 24
_STAGE_WIDTH = max(map(len, Stage))


@dataclass(frozen=True, slots=True)
class ProgressDisplay:
    """The display: `show` is the listener of a run. `aside()` frees the terminal; `close` ends the display."""

    show: Listener
    aside: Callable[[], AbstractContextManager[None]]
    close: Callable[[], None]


def open_display(bench: str) -> AbstractContextManager[ProgressDisplay]:
    """Open the display of a command's runs on standard error; as plain lines if the log is printed there as well."""
    return show_progress(output.console(), bench=bench, live=not log_options.logs_to_terminal())


@contextmanager
def show_progress(console: Console, *, bench: str = "", live: bool = True) -> Iterator[ProgressDisplay]:
    """Show a display on `console` for as long as the context lasts; `bench` decides the names of the stages.

    Without `live`, a terminal gets plain lines as well, and always one that cannot move its cursor (TERM=dumb).
    """
    if console.is_terminal and live and not console.is_dumb_terminal:
        table = _LiveTable(console, bench)
        with Live(table, console=console, refresh_per_second=4, transient=True) as screen:
            yield ProgressDisplay(table.show, lambda: _suspended(screen), lambda: _close(screen))
    else:
        yield ProgressDisplay(_LineDisplay(console, bench).show, nullcontext, lambda: None)


@contextmanager
def _suspended(live: Live) -> Iterator[None]:
    live.stop()
    try:
        yield
    finally:
        live.start()


def _close(live: Live) -> None:
    """Remove the table from the terminal before the process ends: a signal handler may have stopped anything."""
    with suppress(Exception):
        live.stop()


class _LineDisplay:
    """Prints a line for each event: host, stage, time since the host's first event, text."""

    def __init__(self, console: Console, bench: str) -> None:
        self._console, self._bench = console, bench
        self._begun_s, self._width = dict[str, float](), _NARROWEST_HOST

    def show(self, event: Event) -> None:
        if event.stage is None or event.host is None:
            line = _run_line(event)
        else:
            begun_s = self._begun_s.setdefault(event.host, time.monotonic())
            self._width = max(self._width, min(len(event.host), _WIDEST_HOST))
            elapsed = _format_time(time.monotonic() - begun_s)
            stage = stage_title(event.stage, self._bench)
            line = f"{event.host:<{self._width}} {stage:<{_STAGE_WIDTH}} {elapsed} {event.text}".rstrip()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _LiveTable:
    """Draws the latest event of each host several times a second. Events of the whole run are lines above."""

    def __init__(self, console: Console, bench: str) -> None:
        self._console, self._bench, self._lock = console, bench, threading.Lock()
        self._begun_s: dict[str, float] = {}
        self._latest: dict[str, Event] = {}

    def show(self, event: Event) -> None:
        if event.host is None and event.stage is None:
            self._console.print(_run_line(event), markup=False, highlight=False, soft_wrap=True)
            return
        row = event.host or ""
        with self._lock:
            if event.host is not None:
                self._latest.pop("", None)  # the preparation is over
            self._begun_s.setdefault(row, time.monotonic())
            self._latest[row] = event

    def __rich__(self) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
        table.add_column(min_width=_NARROWEST_HOST, max_width=_WIDEST_HOST, no_wrap=True, overflow="ellipsis")
        for width in (_STAGE_WIDTH, len("00:00")):
            table.add_column(min_width=width, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        with self._lock:
            for host, event in self._latest.items():
                stage = stage_title(event.stage, self._bench) if event.stage else ""
                elapsed = _format_time(time.monotonic() - self._begun_s[host])
                style = _STYLES.get(event.stage, "") if event.stage else ""
                table.add_row(Text(host or "preparing"), Text(stage, style=style), elapsed, Text(printable(event.text)))
        return table


def _run_line(event: Event) -> str:
    return printable(event.text if event.stage is None else f"preparing: {event.text}")


def _format_time(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"

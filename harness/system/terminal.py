"""Draw on the whole of a terminal for a while, and leave it as it was: its size, its signals, its abilities."""

import codecs
import os
import select
import signal
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, TextIO

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l"
"""Use the other screen of the terminal, and hide the cursor; show the cursor, and the screen of before (xterm)."""
_HOME, _END_LINE, _END_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_SAMPLE = "\u28ff\u2588\u2500"
_USUAL_SIZE = (80, 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """The abilities of a terminal: to move its cursor, show colours, show braille patterns and block elements."""

    moves: bool
    colours: bool
    blocks: bool


def read_abilities(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Abilities | None:
    """Read what the terminal behind a stream can do; None for a stream that is no terminal.

    NO_COLOR (no-color.org) switches colours off. Linux's own console has no font with braille patterns. Python writes
    UTF-8 also where the locale is "C", which asks for ASCII.
    """
    if not stream.isatty():
        return None
    kind = environ.get("TERM", "")
    moves = kind not in ("", "dumb", "unknown")
    locale = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "")
    blocks = kind != "linux" and locale not in ("C", "POSIX") and _encodes(stream.encoding, _SAMPLE)
    return Abilities(moves=moves, colours=moves and not environ.get("NO_COLOR"), blocks=moves and blocks)


def _encodes(encoding: str, text: str) -> bool:
    try:
        codecs.encode(text, encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def read_size(descriptor: int) -> tuple[int, int]:
    """Read columns and rows of a terminal; the usual ones where it does not tell."""
    with suppress(OSError):
        columns, rows = os.get_terminal_size(descriptor)
        if columns > 0 and rows > 0:
            return columns, rows
    return _USUAL_SIZE


class Screen:
    """The screen while it is ours. `wait` returns early when the terminal gets another size."""

    def __init__(self, descriptor: int, wakeup: int) -> None:
        self._descriptor, self._wakeup = descriptor, wakeup

    def size(self) -> tuple[int, int]:
        """Return columns and rows as they are now."""
        return read_size(self._descriptor)

    def draw(self, lines: Sequence[str]) -> None:
        """Replace what is on the screen. There are no more lines than rows, and none is wider than the screen."""
        _write(self._descriptor, _HOME + "\r\n".join(line + _END_LINE for line in lines) + _END_SCREEN)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the size changes. Signals that raise end the wait at once."""
        ready, _, _ = select.select([self._wakeup], [], [], seconds)
        if ready:
            os.read(self._wakeup, 4096)


@contextmanager
def open_screen(descriptor: int) -> Iterator[Screen]:
    """Take the terminal's screen for this block, and give it back at its end, and while the process is stopped.

    What is typed meanwhile is not shown: it would stand in the drawing, or within a control sequence.
    """
    settings = termios.tcgetattr(descriptor)
    with ExitStack() as cleanup:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        cleanup.callback(os.close, reader)
        cleanup.callback(os.close, writer)
        cleanup.callback(_give_back, descriptor, settings)
        _take(descriptor, settings)
        cleanup.enter_context(_handling(signal.SIGWINCH, lambda: _wake(writer)))
        cleanup.enter_context(_handling(signal.SIGTSTP, lambda: _stop_process(descriptor, settings, writer)))
        yield Screen(descriptor, reader)


def _take(descriptor: int, settings: list[Any]) -> None:
    silent = [*settings]
    silent[3] &= ~termios.ECHO  # of the local modes, see termios(3)
    termios.tcsetattr(descriptor, termios.TCSANOW, silent)
    _write(descriptor, _ENTER)


def _give_back(descriptor: int, settings: list[Any]) -> None:
    with suppress(OSError, termios.error):  # the terminal is gone
        _write(descriptor, _LEAVE)
        termios.tcsetattr(descriptor, termios.TCSANOW, settings)


def _write(descriptor: int, text: str) -> None:
    """Write without a buffer: a handler of a signal may write, too."""
    data = text.encode(errors="backslashreplace")
    while data:
        data = data[os.write(descriptor, data) :]


def _wake(writer: int) -> None:
    with suppress(BlockingIOError):  # enough is waiting
        os.write(writer, b"\0")


def _stop_process(descriptor: int, settings: list[Any], writer: int) -> None:
    """Stop as Ctrl-Z asks, with the terminal as it was; go on with the screen after SIGCONT."""
    _give_back(descriptor, settings)
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)
    _take(descriptor, settings)
    _wake(writer)


@contextmanager
def _handling(number: signal.Signals, act: Callable[[], None]) -> Iterator[None]:
    """Act on a signal inside this block. In any thread but the main one nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        act()

    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)

"""Handle the signals that ask a process to stop. Only commands use this module: the code of a run installs no handler.

SIGINT, SIGTERM and SIGHUP ask to stop. A SIGHUP that is ignored, as under nohup(1), stays ignored. Handlers can be set
in the main thread alone (signal.signal); in any other thread the contexts here change nothing.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handling_stop_signals(handler: Handler) -> Iterator[None]:
    """Let `handler` handle the signals inside this block; afterwards restore the earlier handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [
        number for number in _STOP_SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def raising_on_stop_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread for each of the signals, as Python does for SIGINT alone."""
    with handling_stop_signals(_raise):
        yield


def _raise(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""Take the signals that ask a process to stop. Only commands use this: what leads a run installs no handler.

SIGINT, SIGTERM and SIGHUP ask to stop. A SIGHUP that is ignored, as nohup(1) has it, stays ignored. Handlers can be set
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
    """Let `handler` take the signals inside this block; afterwards they are handled as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [one for one in _STOP_SIGNALS if one != signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def raising_on_stop_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread for each of the signals, as Python does for SIGINT alone."""
    with handling_stop_signals(_raise):
        yield


def _raise(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""Which signals ask to stop, and who takes them."""

import os
import signal
import threading

import pytest

from harness.system import signals


def test_a_hangup_asks_to_stop_unless_it_is_ignored() -> None:
    heard: list[int] = []
    usual = signal.getsignal(signal.SIGHUP)
    try:
        for ignored in (False, True):
            signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
            with signals.handling_stop_signals(lambda number, _frame: heard.append(number)):
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, usual)
    assert heard == [signal.SIGTERM, signal.SIGHUP, signal.SIGTERM]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_may_raise_as_ctrl_c_does_and_is_handled_as_before_afterwards(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), signals.raising_on_stop_signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_in_another_thread_nothing_is_changed() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), list[object]()

    def look() -> None:
        with signals.raising_on_stop_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]

"""How does a command lead a run? News go to the terminal, a person may choose, and signals ask to stop."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harness.campaign.campaign import Campaign, Keep
from harness.cli import kept_hosts
from harness.cli.progress import ProgressDisplay
from harness.errors import ExitCode
from harness.runs.context import Chooser, RunControls, keep_none
from harness.system.signals import handling_stop_signals


def campaign_controls(display: ProgressDisplay, campaign: Campaign) -> RunControls:
    """The controls of a campaign's run: a person chooses where the campaign asks. Raises RequestError without one."""
    choose = kept_hosts.make_chooser(display.aside) if campaign.keep is Keep.ASK else keep_none
    return make_controls(display, choose)


def make_controls(display: ProgressDisplay, choose: Chooser = keep_none) -> RunControls:
    """The controls of one run that this process leads in its main thread."""
    stop = threading.Event()
    return RunControls(
        listener=display.hear,
        announce=display.say,
        choose=choose,
        stop=stop,
        while_leading=lambda: stopping_on_signals(stop),
    )


@contextmanager
def stopping_on_signals(stop: threading.Event) -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP set `stop`, and the second one end this process at once.

    The ledger knows what is left then, and `sweep` removes it.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            sys.stderr.write("\nstopped at once; `ptp-harness sweep --yes` removes what is left\n")
            sys.stderr.flush()
            os._exit(ExitCode.INTERRUPTED)
        sys.stderr.write("\nstopping: hosts under way are released, then you get the report; once more stops at once\n")
        stop.set()

    with handling_stop_signals(handle):
        yield

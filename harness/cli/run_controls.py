"""Make the controls of a command's run: events go to the terminal, a person chooses, signals request a stop."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from harness.campaign.campaign import Campaign
from harness.campaign.choices import Keep
from harness.cli import keep_question
from harness.cli.progress import ProgressDisplay
from harness.errors import ExitCode
from harness.runs.context import Chooser, RunControls, keep_none
from harness.system.signals import handling_stop_signals
from harness.untrusted.plain_text import printable

_STOPPING = "stopping: hosts under way are released, then the report is printed; a second signal stops at once"


def campaign_controls(display: ProgressDisplay, campaign: Campaign) -> RunControls:
    """Make the controls of a campaign's run. Raises RequestError if the campaign asks a person and there is none."""
    choose = keep_question.make_chooser(display.aside) if campaign.keep is Keep.ASK else keep_none
    return make_controls(display, lambda run: f"`ptp-harness resume {run}` goes on with run {run}", choose)


def make_controls(
    display: ProgressDisplay, describe_resuming: Callable[[str], str], choose: Chooser = keep_none
) -> RunControls:
    """Make the controls of the runs that this process leads in its main thread.

    `describe_resuming` takes a run's name and returns how to go on after an immediate stop; "" if there is no way.
    """
    stop = threading.Event()
    return RunControls(
        listener=display.show,
        choose=choose,
        stop=stop,
        while_leading=lambda run: stopping_on_signals(stop, describe_resuming(run), before_exit=display.close),
    )


@contextmanager
def stopping_on_signals(
    stop: threading.Event, resuming: str = "", *, before_exit: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP set `stop`, and the second one end this process at once.

    The ledger then has what is left; the last lines printed are `resuming` and the command that removes the rest.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            before_exit()
            _write_lines("stopped at once", *([resuming] if resuming else []), _REMOVING)
            os._exit(ExitCode.INTERRUPTED)
        _write_lines(_STOPPING)
        stop.set()

    with handling_stop_signals(handle):
        yield


_REMOVING = "`ptp-harness sweep --yes` removes what is left running"


def _write_lines(*lines: str) -> None:
    """Write each line on a new line of the terminal."""
    sys.stderr.write("".join(f"\n{printable(line)}" for line in lines) + "\n")
    sys.stderr.flush()

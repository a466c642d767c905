"""What a person sees of a run's events: a line for each, or on a terminal a row for each host."""

import io
import subprocess
import sys

from rich.console import Console

from harness.cli.progress import show_progress
from harness.model import Stage
from harness.runs.run_events import make_event

LONGEST = "waiting for 10 of 20 s: PHC0 selected, offset +1.2 us, " * 4


def test_without_a_terminal_each_event_is_a_line_that_names_its_host_and_stage() -> None:
    console = Console(file=io.StringIO(), width=80)
    with show_progress(console) as display:
        display.show(make_event("downloading", run=None, host=None, stage=Stage.PROVISION))
        display.show(make_event("run k3f9: 2 hosts on the bench lab", run="k3f9", host=None, stage=None))
        display.show(make_event("booting", run="k3f9", host="lab.phc", stage=Stage.PROVISION))
        display.show(make_event("", run="k3f9", host="lab.driver-off", stage=Stage.CONFIGURE))
        display.show(make_event("12 s of 20 s", run="k3f9", host="lab.phc", stage=Stage.MEASURE))
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "preparing: downloading",
        "run k3f9: 2 hosts on the bench lab",
        "lab.phc    provision 00:00 booting",
        "lab.driver-off configure 00:00",
        "lab.phc        measure   00:00 12 s of 20 s",
    ]


def make_terminal(term: str) -> Console:
    """A terminal of 80 columns that is kept in memory."""
    environ = {"TERM": term}
    file = io.StringIO()
    return Console(file=file, width=80, height=20, force_terminal=True, legacy_windows=False, _environ=environ)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    console = make_terminal("dumb")
    with show_progress(console) as display:
        display.show(make_event("booting", run="k3f9", host="lab.phc", stage=Stage.PROVISION))
    assert console.file.getvalue().splitlines() == ["lab.phc    provision 00:00 booting"]  # type: ignore[attr-defined]


def test_a_terminal_of_80_columns_has_one_row_for_each_host_and_keeps_lines_of_the_run() -> None:
    console = make_terminal("xterm")
    with show_progress(console) as display:
        display.show(make_event("run k3f9: 1 host on the bench lab", run="k3f9", host=None, stage=None))
        display.show(make_event(LONGEST, run="k3f9", host="lab.phc", stage=Stage.MEASURE))
        display.close()
        shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "run k3f9: 1 host on the bench lab" in shown
    rows = [line for line in shown.splitlines() if "measure" in line]
    assert rows
    assert all("10 of 20 s: PHC0 selected" in row for row in rows)


SIGNALS = """
import signal, threading
from harness.cli.run_controls import stopping_on_signals
stop = threading.Event()
with stopping_on_signals(stop, "`ptp-harness resume k3f9` goes on with run k3f9"):
    signal.raise_signal(signal.SIGINT)
    assert stop.is_set()
    print("still here", flush=True)
    signal.raise_signal(signal.SIGINT)
print("never")
"""


def test_the_second_request_to_stop_says_how_to_go_on_and_how_to_remove_what_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, "still here\n")
    assert done.stderr.splitlines() == [
        "",
        "stopping: hosts under way are released, then the report is printed; a second signal stops at once",
        "",
        "stopped at once",
        "`ptp-harness resume k3f9` goes on with run k3f9",
        "`ptp-harness sweep --yes` removes what is left running",
    ]

"""Ask on the terminal which of the hosts that passed stay."""

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager

from harness.cli import output
from harness.errors import RequestError
from harness.model import HostRecord, HostState
from harness.report import text
from harness.runs.context import Chooser
from harness.system import signals


def make_chooser(alone: Callable[[], AbstractContextManager[None]]) -> Chooser:
    """Make a chooser that asks on the terminal; `alone` hides the progress display meanwhile.

    Raises RequestError when there is no terminal to ask on.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RequestError("keep: ask needs a terminal to ask on", next_step="--keep none, or --keep supported")

    def ask(run: str, records: Sequence[HostRecord]) -> Collection[str]:
        waiting = [record for record in records if record.state is HostState.UNDECIDED]
        with alone(), signals.raising_on_stop_signals():
            output.say(text.verdict_table(records, width=output.width()))
            hosts = "1 host passed and waits" if len(waiting) == 1 else f"{len(waiting)} hosts passed and wait"
            output.say(f"run {run}: {hosts} for your choice:")
            for line in text.describe_choices(waiting):
                output.say(line)
            return _ask_until_answered([host.name for host in waiting])

    return ask


def _ask_until_answered(names: Sequence[str]) -> list[str]:
    while True:
        output.say("keep which? all, none (or just Enter), names, or numbers such as 1,3-5: ", end="")
        answer = sys.stdin.readline()
        if not answer:
            return []
        try:
            return parse_choice(answer, names)
        except ValueError as error:
            output.say(f"{error}; please try again")


def parse_choice(answer: str, names: Sequence[str]) -> list[str]:
    """Parse "all", "none", "", names, or numbers such as "1,3-5" into hosts, in their order. Raises ValueError."""
    simplified = answer.strip().lower()
    if simplified in ("", "none", "n"):
        return []
    if simplified in ("all", "a"):
        return list(names)
    chosen: set[str] = set()
    for part in answer.replace(",", " ").split():
        chosen |= {part} if part in names else set(_parse_range(part, names))
    return [name for name in names if name in chosen]


def _parse_range(part: str, names: Sequence[str]) -> Sequence[str]:
    """Return the names at "2" or at "2-4". Raises ValueError."""
    first, dash, last = part.partition("-")
    if not (first.isdecimal() and (last.isdecimal() if dash else True)):
        raise ValueError(f"{part!r} is no host of these, no number and no range")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= len(names):
        raise ValueError(f"{part!r} is not within 1-{len(names)}")
    return names[low - 1 : high]

"""`keep`, `release`, `ssh`: hosts that stayed after a run. And the question that decides which do."""

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Annotated

import typer

from harness import wiring
from harness.benches.bench import Bench
from harness.cli import completion, output, run_argument
from harness.errors import CleanupError, RequestError
from harness.host import ssh
from harness.model import HostRecord, HostState
from harness.report import text
from harness.runs import kept_hosts
from harness.runs.context import Chooser
from harness.store.ledger import Ledger
from harness.system import proc, settings, signals


def keep(
    run: run_argument.Run,
    host: Annotated[str, typer.Argument(help="A host of that run which still runs.", autocompletion=completion.hosts)],
) -> None:
    """Keep a host that still runs.

    For a run that has ended or died: `sweep` leaves the host alone from now on. What a run keeps by itself is said by
    its --keep.

    Examples:
        ptp-harness keep k3f9 lab.phc
    """
    ledger, bench, _ = _parts(run)
    kept_hosts.keep_host(run, host, bench, ledger)
    output.say(f"{host} of run {run} is kept; `ptp-harness release {run} {host}` removes it")


def release(
    run: run_argument.Run,
    hosts: Annotated[
        list[str] | None,
        typer.Argument(metavar="HOST", help="Only these.", autocompletion=completion.kept_hosts),
    ] = None,
) -> None:
    """Remove hosts that were kept, and verify it.

    All of the run's, or those that are named. Exit code 4 when one could not be removed.

    Examples:
        ptp-harness release k3f9
        ptp-harness release k3f9 lab.phc lab.driver-off
    """
    ledger, bench, _ = _parts(run)
    records = kept_hosts.release_kept(run, kept_hosts.find_kept(ledger, run, hosts or ()), bench, ledger)
    for record in records:
        output.say(f"{record.name} is {record.state}")
    if not records:
        output.say(f"run {run} keeps no host")
    left = [record.name for record in records if record.state is HostState.FAILED]
    if left:
        raise CleanupError(left, next_step="see what is left of them with `ptp-harness sweep`")


def enter(
    run: run_argument.Run,
    host: Annotated[
        str, typer.Argument(help="A host of that run which still runs.", autocompletion=completion.kept_hosts)
    ],
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Else a shell.")] = None,
) -> None:
    """Run a command on a kept host, or open a shell there.

    Only the host key that the run pinned is trusted. Ends with the exit code of the command.

    Examples:
        ptp-harness ssh k3f9 lab.phc
        ptp-harness ssh k3f9 lab.phc chronyc -n sources
    """
    ledger, bench, configuration = _parts(run)
    machine = kept_hosts.find_machine(run, host, bench, ledger)
    known_hosts = ssh.pin(machine, configuration.runs_dir / run / host)
    raise typer.Exit(proc.interactive(ssh.command(machine, known_hosts, *(command or []))))


def _parts(run: str) -> tuple[Ledger, Bench, settings.Settings]:
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    return ledger, wiring.bench(ledger.find(run).bench, configuration), configuration


# --- the question ---------------------------------------------------------------------------------------------------


def make_chooser(alone: Callable[[], AbstractContextManager[None]]) -> Chooser:
    """A chooser that asks on the terminal; `alone` keeps the progress away from it meanwhile.

    Raises RequestError when nobody can answer.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RequestError("keep: ask needs a terminal to ask on", next_step="--keep none, or --keep supported")

    def ask(_run: str, hosts: Sequence[HostRecord]) -> Collection[str]:
        with alone(), signals.raising_on_stop_signals():
            head, *rows = text.describe_places(hosts)
            output.say(f"     {head}")
            for number, row in enumerate(rows, 1):
                output.say(f"{number:>3}  {row}")
            while True:
                output.say("keep which? all, none (or just Enter), or numbers such as 1,3-5: ", end="")
                try:
                    answer = sys.stdin.readline()
                    if not answer:
                        return ()
                    return [hosts[number - 1].name for number in parse_choice(answer, len(hosts))]
                except ValueError as error:
                    output.say(f"{error}; once more, please")

    return ask


def parse_choice(answer: str, count: int) -> list[int]:
    """The numbers (1 to `count`, in order, each once) that "all", "none", "" or "1,3-5" names. Raises ValueError."""
    words = answer.strip().lower()
    if words in ("", "none", "n"):
        return []
    if words in ("all", "a"):
        return list(range(1, count + 1))
    numbers: set[int] = set()
    for part in words.replace(",", " ").split():
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            raise ValueError(f"{part!r} is neither a number nor a range")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= count:
            raise ValueError(f"{part!r} is not within 1-{count}")
        numbers.update(range(low, high + 1))
    return sorted(numbers)

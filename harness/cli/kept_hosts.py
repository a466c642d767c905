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
from harness.model.bench_traits import BENCHES, BenchName
from harness.report import text
from harness.runs import kept_hosts
from harness.runs.context import Chooser
from harness.store.ledger import Ledger
from harness.system import proc, settings, signals


def keep(
    run: run_argument.Run,
    host: Annotated[
        str,
        typer.Argument(metavar="HOST", help="A host of that run which still runs.", autocompletion=completion.hosts),
    ],
) -> None:
    """Keep a host that still runs.

    For a run that has ended or died: `sweep` leaves the host alone from now on. What a run keeps by itself is said by
    its --keep.

    Examples:
        ptp-harness keep k3f9 lab.phc
    """
    run, ledger, bench, _ = _parts(run)
    _require_made_hosts(run, bench)
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
    run, ledger, bench, _ = _parts(run)
    _require_made_hosts(run, bench)
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
        str,
        typer.Argument(
            metavar="HOST", help="A host of that run which still runs.", autocompletion=completion.kept_hosts
        ),
    ],
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Else a shell.")] = None,
) -> None:
    """Run a command on a kept host, or open a shell there.

    Only the host key that the run pinned is trusted. Ends with the exit code of the command.

    Examples:
        ptp-harness ssh k3f9 lab.phc
        ptp-harness ssh k3f9 lab.phc chronyc -n sources
    """
    run, ledger, bench, configuration = _parts(run)
    machine = kept_hosts.find_machine(run, host, bench, ledger)
    known_hosts = ssh.pin(machine, configuration.runs_dir / run / host)
    raise typer.Exit(proc.interactive(ssh.command(machine, known_hosts, *(command or []))))


def _parts(run: str) -> tuple[str, Ledger, Bench, settings.Settings]:
    """The run's own name, where `last` names it, the ledger, the run's bench and the settings."""
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    line = ledger.find(run)
    inventory = ledger.campaign(line.run).get("inventory")
    return line.run, ledger, wiring.bench(line.bench, configuration, inventory), configuration


def _require_made_hosts(run: str, bench: Bench) -> None:
    """Raises RequestError for a run on machines that were there before it: they are neither kept nor released."""
    if bench.name in set(BenchName) and not BENCHES[BenchName(bench.name)].makes_hosts:
        raise RequestError(
            f"the hosts of run {run} are your own machines, which a run neither makes nor removes",
            next_step=f"`ptp-harness ssh {run} HOST` enters one",
        )


# --- the question ---------------------------------------------------------------------------------------------------


def make_chooser(alone: Callable[[], AbstractContextManager[None]]) -> Chooser:
    """A chooser that asks on the terminal; `alone` keeps the progress away from it meanwhile.

    Raises RequestError when nobody can answer.
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
            output.say(f"{error}; once more, please")


def parse_choice(answer: str, names: Sequence[str]) -> list[str]:
    """The hosts, in their order, that "all", "none", "", names, or numbers such as "1,3-5" mean. Raises ValueError."""
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
    """The names at "2" or at "2-4". Raises ValueError."""
    first, dash, last = part.partition("-")
    if not (first.isdecimal() and (last.isdecimal() if dash else True)):
        raise ValueError(f"{part!r} is no host of these, no number and no range")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= len(names):
        raise ValueError(f"{part!r} is not within 1-{len(names)}")
    return names[low - 1 : high]

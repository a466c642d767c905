"""`keep`, `release` and `ssh` work with hosts that stayed after a run."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from harness import wiring
from harness.benches.bench import Bench
from harness.cli import completion, output, run_argument
from harness.errors import CleanupError, RequestError
from harness.host import ssh
from harness.model import HostState
from harness.model.bench_traits import traits_of_recorded
from harness.runs import kept_hosts
from harness.store.ledger import Ledger
from harness.system import proc, settings


def keep(
    run: run_argument.Run,
    host: Annotated[
        str,
        typer.Argument(metavar="HOST", help="A host of that run which still runs.", autocompletion=completion.hosts),
    ],
) -> None:
    """Keep a host that still runs.

    For a run that has ended or died: `sweep` leaves the host alone from now on. To keep hosts when a run ends, use
    `run --keep`.

    Examples:
        ptp-harness keep k3f9 lab.phc
    """
    run, ledger, bench = _load_run(run)
    _require_made_hosts(run, bench)
    kept_hosts.keep_host(run, host, bench, ledger)
    output.say(f"{host} of run {run} is kept; `ptp-harness release {run} {host}` removes it")


def release(
    run: run_argument.Run,
    hosts: Annotated[
        list[str] | None,
        typer.Argument(metavar="HOST", help="Only these hosts.", autocompletion=completion.kept_hosts),
    ] = None,
) -> None:
    """Remove hosts that were kept, and verify it.

    All kept hosts of the run, or those that are named. Exit code 4 if a host could not be removed.

    Examples:
        ptp-harness release k3f9
        ptp-harness release k3f9 lab.phc lab.driver-off
    """
    run, ledger, bench = _load_run(run)
    _require_made_hosts(run, bench)
    records = kept_hosts.release_kept(run, kept_hosts.find_kept(ledger, run, hosts or ()), bench, ledger)
    for record in records:
        output.say(f"{record.name} is {record.state}")
    if not records:
        output.say(f"run {run} keeps no host")
    unremoved = [record.name for record in records if record.state is HostState.FAILED]
    if unremoved:
        raise CleanupError(unremoved, next_step="see what is left of them with `ptp-harness sweep`")


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
    run, ledger, bench = _load_run(run)
    machine = kept_hosts.find_machine(run, host, bench, ledger)
    with tempfile.TemporaryDirectory(prefix="ptp-") as folder:  # the run's evidence may be on another machine
        known_hosts = ssh.write_known_hosts(machine, Path(folder))
        status = proc.run_interactive(ssh.build_command(machine, known_hosts, *(command or [])))
    raise typer.Exit(status)


def _load_run(run: str) -> tuple[str, Ledger, Bench]:
    """Return the run's name (which `last` stands for), the ledger and the run's bench."""
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    line = ledger.find(run)
    inventory = ledger.campaign(line.run).get("inventory")
    return line.run, ledger, wiring.bench(line.bench, configuration, inventory)


def _require_made_hosts(run: str, bench: Bench) -> None:
    """Raise RequestError for a run on existing machines: they are neither kept nor released."""
    if not traits_of_recorded(bench.name).makes_hosts:
        raise RequestError(
            f"the hosts of run {run} are your own machines, which a run neither makes nor removes",
            next_step=f"`ptp-harness ssh {run} HOST` enters one",
        )

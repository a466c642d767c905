"""`keep`, `release` and `ssh` work with hosts that stayed after a run."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from harness import units, wiring
from harness.benches.bench import Bench
from harness.campaign.query_values import parse_duration_within_s
from harness.cli import completion, output, run_argument
from harness.errors import CleanupError, RequestError
from harness.host import ssh
from harness.model import HostState
from harness.model.bench_traits import traits_of_recorded
from harness.model.lease import LONGEST_S, SHORTEST_S
from harness.runs import kept_hosts
from harness.store.ledger import Ledger
from harness.system import proc, settings
from harness.untrusted.input_checks import shorten_value


def keep(
    run: run_argument.Run,
    host: Annotated[
        str,
        typer.Argument(metavar="HOST", help="A host of that run which still runs.", autocompletion=completion.hosts),
    ],
    duration: Annotated[
        str | None,
        typer.Option("--for", metavar="8h", help="Until then its lease lasts, from now: 30m, 8h, 2d."),
    ] = None,
) -> None:
    """Keep a host that still runs.

    For a run that has ended or died: `sweep` leaves the host alone from now on. To keep hosts when a run ends, use
    `run --keep`. With --for the host's lease ends so long from now, whenever it was to end before: in the host, which
    warns whoever is logged in ten minutes before and powers itself off, in the tags of its bench, and in the ledger.

    Examples:
        ptp-harness keep k3f9 lab.phc
        ptp-harness keep k3f9 m7i.large --for 8h
    """
    lease_s = None if duration is None else _parse_lease_s(duration)
    run, ledger, bench = _load_run(run)
    _require_made_hosts(run, bench)
    line = kept_hosts.keep_host(run, host, bench, ledger, lease_s=lease_s)
    until = "" if line.kept_until_ns is None else f" until {units.utc_moment(line.kept_until_ns):%Y-%m-%d %H:%M} UTC"
    output.say(f"{host} of run {run} is kept{until}; `ptp-harness release {run} {host}` removes it")


def _parse_lease_s(text: str) -> float:
    """Parse the length of a lease, s. Raises RequestError."""
    try:
        return parse_duration_within_s(text, SHORTEST_S, LONGEST_S)
    except ValueError as error:
        raise RequestError(
            f"--for is {shorten_value(text)}: a lease lasts from 1 minute to 30 days, such as 30m, 8h or 2d",
            next_step="`ptp-harness keep --help`",
        ) from error


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
    return line.run, ledger, wiring.bench(line.bench, configuration, inventory, ledger=ledger)


def _require_made_hosts(run: str, bench: Bench) -> None:
    """Raise RequestError for a run on existing machines: they are neither kept nor released."""
    if not traits_of_recorded(bench.name).makes_hosts:
        raise RequestError(
            f"the hosts of run {run} are your own machines, which a run neither makes nor removes",
            next_step=f"`ptp-harness ssh {run} HOST` enters one",
        )

"""`lab`: build the lab's parts, and make, list, enter and remove lab hosts by hand."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness import wiring
from harness.benches.bench import Progress
from harness.benches.lab.bench import LabBench
from harness.benches.lab.guests import cable
from harness.benches.lab.guests.guest_records import GuestRecord
from harness.benches.lab.truths import truth_check
from harness.benches.lab.truths.truths import TRUTHS
from harness.cli import completion, output
from harness.errors import RequestError
from harness.host import ssh
from harness.model import Machine, Token
from harness.report.table import align_rows
from harness.system import proc, settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
RUN = "lab"


def lab_bench() -> LabBench:
    return wiring.lab_bench(settings.load())


def build(
    types: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TYPE",
            help="Only parts for these types (default: all).",
            autocompletion=completion.lab_types,
        ),
    ] = None,
) -> None:
    """Make what all lab hosts share.

    QEMU (if the system's is too old), the guest image with its kernels, and the golden guests. Existing parts stay.
    All is written to the cache directory and can be made again.

    Examples:
        ptp-harness lab build
        ptp-harness lab build lab.phc lab.no-phc
    """
    lab_bench().prepare(types or list(TRUTHS), output.say)
    output.say(f"the lab is ready for {', '.join(types)}" if types else "the lab is ready")


def up(
    types: Annotated[
        list[str],
        typer.Argument(metavar="TYPE", help="As `lab truths` lists them.", autocompletion=completion.lab_types),
    ],
    json: Json = False,
) -> None:
    """Bring up a host of each type, until `lab down`.

    Examples:
        ptp-harness lab up lab.phc
        ptp-harness lab up lab.phc lab.drifting --json
    """
    bench = lab_bench()
    bench.prepare(types, output.say)
    tokens = free_tokens(bench, types)
    with ThreadPoolExecutor(max_workers=len(tokens)) as pool:
        provisioners = [partial(bench.provision, token, name) for token, name in zip(tokens, types, strict=True)]
        machines = list(pool.map(partial(provision_or_remove, bench), tokens, provisioners))
    if json:
        output.emit([document(machine) for machine in machines])
    for machine in machines:
        output.say(f"{machine.token.host} is up: ptp-harness lab ssh {machine.token.host}")


def list_hosts(json: Json = False) -> None:
    """List lab hosts, those made by hand and those of runs.

    Examples:
        ptp-harness lab list
        ptp-harness lab list --json
    """
    records = lab_bench().records.all()
    if json:
        output.emit([asdict(record) for record in records])
        return
    for record in records:
        state = "up" if record.ready and record.processes["guest"].alive() else f"not up ({record.intent})"
        output.show(f"{record.token!s:<28} {record.instance_type:<18} {record.address}:{record.port} {state}")
    if not records:
        output.say("no lab hosts")


def enter(
    name: Annotated[
        str,
        typer.Argument(
            metavar="HOST", help="A host of `lab up`, or RUN/HOST/1 of a run.", autocompletion=completion.lab_hosts
        ),
    ],
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Else a shell.")] = None,
) -> None:
    """Run a command on a lab host, or open a shell there.

    Ends with the exit code of the command.

    Examples:
        ptp-harness lab ssh lab.phc
        ptp-harness lab ssh lab.phc cat /sys/class/ptp/ptp0/clock_name
    """
    bench = lab_bench()
    record = find_host(bench, name)
    machine = bench.provision(record.token, record.instance_type, output.say)
    known_hosts = ssh.write_known_hosts(machine, record.folder)
    raise typer.Exit(proc.run_interactive(ssh.build_command(machine, known_hosts, *(command or []))))


def join(
    first: Annotated[
        str, typer.Argument(metavar="HOST", help="A host of `lab up`.", autocompletion=completion.lab_hosts)
    ],
    second: Annotated[str, typer.Argument(metavar="OTHER", help="Another host.", autocompletion=completion.lab_hosts)],
) -> None:
    """Lay a cable between two lab hosts.

    The cable is a network of these two hosts, for protocols that need a neighbour.

    Examples:
        ptp-harness lab join lab.phc lab.phc-2
    """
    bench = lab_bench()
    ends = [cable.cable_end(find_host(bench, name)) for name in (first, second)]
    cable.lay_cable(*ends)
    for name, end in zip((first, second), ends, strict=True):
        output.say(f"{name}: the card with the address {end.mac}")


def down(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="A name, as `lab list` shows it.", autocompletion=completion.lab_hosts),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All hosts that were made by hand.")] = False,
) -> None:
    """Remove lab hosts that were made by hand.

    Examples:
        ptp-harness lab down lab.phc
        ptp-harness lab down --all
    """
    bench = lab_bench()
    if bool(names) == every:
        raise RequestError("say which hosts to remove", next_step="`ptp-harness lab list`; NAME... or --all")
    made_by_hand = [record.token for record in bench.records.all() if record.token.run == RUN]
    for token in made_by_hand if every else [find_host(bench, name).token for name in names or []]:
        bench.release(token)
        output.say(f"{token.host} is gone")


def show_truths(
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A run's JSON report to compare with them.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/lab-truths.md.")] = False,
) -> None:
    """Print each lab type's truth and the verdict it demands.

    With --check: compare a run's verdicts with them. Exit code 1 if a verdict differs.

    Examples:
        ptp-harness lab truths
        ptp-harness lab truths --markdown
        ptp-harness lab truths --check report.json
    """
    if check is None:
        output.show(truth_check.as_markdown() if markdown else "\n".join(align_rows(truth_check.table())))
        return
    differences = truth_check.differences(check.read_text())
    for line in differences:
        output.show(line)
    summary = f"{len(differences)} differ" if differences else "every verdict is the one that the lab's truth demands"
    output.show(summary)
    raise typer.Exit(1 if differences else 0)


def free_tokens(bench: LabBench, types: list[str]) -> list[Token]:
    """Make a token for each type. The host is named like the type, with a number if that name is taken."""
    taken = {record.token.host for record in bench.records.all() if record.token.run == RUN}
    tokens = []
    for name in types:
        host = next(host for host in (name, *(f"{name}-{n}" for n in range(2, 1000))) if host not in taken)
        taken.add(host)
        tokens.append(Token(run=RUN, host=host))
    return tokens


def provision_or_remove(bench: LabBench, token: Token, make: Callable[[Progress], Machine]) -> Machine:
    """Make a host; on an error, remove all of it before the error goes on."""
    try:
        return make(lambda line: output.say(f"{token.host}: {line}"))
    except BaseException:
        bench.release(token)
        raise


def find_host(bench: LabBench, name: str) -> GuestRecord:
    """Find a host by the name of one made by hand, or by its token. Raises RequestError for an unknown name."""
    records = bench.records.all()
    for record in records:
        if name in (str(record.token), record.token.host if record.token.run == RUN else None):
            return record
    existing = ", ".join(record.token.host if record.token.run == RUN else str(record.token) for record in records)
    raise RequestError(f"there is no lab host {name!r}", next_step=f"hosts: {existing or 'none'}")


def document(machine: Machine) -> dict[str, object]:
    return {**asdict(machine), "name": machine.token.host}

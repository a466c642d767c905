"""`lab`: build the lab's parts, and make, list, enter and remove lab hosts by hand."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness import proc, settings, ssh, wiring
from harness.benches.lab import demands
from harness.benches.lab.bench import LabBench
from harness.benches.lab.records import HostRecord
from harness.benches.lab.truths import TRUTHS
from harness.cli import output
from harness.errors import RequestError
from harness.model import Machine, Token

app = typer.Typer(no_args_is_help=True, help="Local virtual machines whose clocks' truth is known.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
RUN = "lab"


def _bench() -> LabBench:
    return wiring.lab_bench(settings.load())


@app.command()
def build() -> None:
    """Make what all lab hosts share: QEMU, the guest image, the golden guests."""
    _bench().prepare(list(TRUTHS), output.say)
    output.say("the lab is ready")


@app.command()
def up(types: Annotated[list[str], typer.Argument(metavar="TYPE...")], json: Json = False) -> None:
    """Bring up a host of each type; they run until `lab down`."""
    bench = _bench()
    bench.prepare(types, output.say)
    tokens = _free_tokens(bench, types)
    with ThreadPoolExecutor(max_workers=len(tokens)) as pool:
        machines = list(pool.map(lambda token, name: _up(bench, token, name), tokens, types))
    if json:
        output.emit([_document(machine) for machine in machines])
    for machine in machines:
        output.say(f"{machine.token.host} is up: ptp-harness lab ssh {machine.token.host}")


@app.command("list")
def list_hosts(json: Json = False) -> None:
    """List the lab hosts that were made by hand, and those of runs."""
    records = _bench().records.all()
    if json:
        output.emit([asdict(record) for record in records])
    for record in records:
        state = "up" if record.ready and record.processes["guest"].alive() else f"not up ({record.intent})"
        output.say(f"{record.token!s:<28} {record.instance_type:<18} {record.address}:{record.port} {state}")
    if not records:
        output.say("no lab hosts")


@app.command("ssh", context_settings={"ignore_unknown_options": True})
def enter(name: str, command: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND...]")] = None) -> None:
    """Run a command on a lab host, or open a shell there."""
    bench = _bench()
    record = _named(bench, name)
    machine = bench.provision(record.token, record.instance_type, output.say)
    known_hosts = ssh.pin(machine, record.folder)
    raise typer.Exit(proc.interactive(ssh.command(machine, known_hosts, *(command or []))))


@app.command()
def down(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]")] = None,
    every: Annotated[bool, typer.Option("--all", help="All hosts that were made by hand.")] = False,
) -> None:
    """Remove lab hosts that were made by hand."""
    bench = _bench()
    if bool(names) == every:
        raise RequestError("say which hosts to remove", next_step="`ptp-harness lab list`; NAME... or --all")
    mine = [record.token for record in bench.records.all() if record.token.run == RUN]
    for token in mine if every else [_named(bench, name).token for name in names or []]:
        bench.release(token)
        output.say(f"{token.host} is gone")


@app.command("truths")
def show_truths(
    check: Annotated[Path | None, typer.Option(metavar="FILE", help="A run's JSON report to hold against it.")] = None,
) -> None:
    """Print each lab type's truth and the verdict it demands; with --check, whether a run's verdicts are those."""
    if check is None:
        output.say(demands.as_markdown())
        return
    wrong = demands.differences(check.read_text())
    for line in wrong:
        output.say(line)
    output.say("every verdict is the one that the lab's truth demands" if not wrong else f"{len(wrong)} differ")
    raise typer.Exit(1 if wrong else 0)


def _free_tokens(bench: LabBench, types: list[str]) -> list[Token]:
    """A token for each type: its name, with a number where that is taken."""
    taken = {record.token.host for record in bench.records.all() if record.token.run == RUN}
    tokens = []
    for name in types:
        host = next(host for host in (name, *(f"{name}-{n}" for n in range(2, 1000))) if host not in taken)
        taken.add(host)
        tokens.append(Token(run=RUN, host=host))
    return tokens


def _up(bench: LabBench, token: Token, instance_type: str) -> Machine:
    """A host, or nothing at all of it."""
    try:
        return bench.provision(token, instance_type, lambda line: output.say(f"{token.host}: {line}"))
    except BaseException:
        bench.release(token)
        raise


def _named(bench: LabBench, name: str) -> HostRecord:
    """The host of that name, made by hand, or of that token."""
    records = bench.records.all()
    for record in records:
        if name in (str(record.token), record.token.host if record.token.run == RUN else None):
            return record
    known = ", ".join(record.token.host if record.token.run == RUN else str(record.token) for record in records)
    raise RequestError(f"there is no lab host {name!r}", next_step=f"hosts: {known or 'none'}")


def _document(machine: Machine) -> dict[str, object]:
    return {**asdict(machine), "name": machine.token.host}


if __name__ == "__main__":
    app()

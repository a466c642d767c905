"""`lab snapshot`: keep a lab host's disk, and make hosts from it."""

from dataclasses import asdict
from typing import Annotated

import typer

from harness.cli import lab, output
from harness.cli.lab import Json

app = typer.Typer(no_args_is_help=True, help="Keep lab hosts' disks, and make hosts from them.")

Name = Annotated[str, typer.Argument(metavar="SNAPSHOT")]


@app.command()
def create(host: Annotated[str, typer.Argument(metavar="HOST")], name: Name) -> None:
    """Keep the disk of a running lab host, as it is now, under a name. The host runs on."""
    bench = lab.lab_bench()
    snapshot = bench.snapshots.create(name, lab.named(bench, host), output.say)
    output.say(f"snapshot {name} of {host}: {snapshot.bytes / 2**20:.0f} MiB")


@app.command("list")
def list_snapshots(json: Json = False) -> None:
    """List the snapshots."""
    snapshots = lab.lab_bench().snapshots.all()
    if json:
        output.emit([asdict(one) | {"bytes": one.bytes} for one in snapshots])
    for one in snapshots:
        size = f"{one.bytes / 2**20:.0f} MiB"
        output.say(f"{one.name:<20} {one.instance_type:<18} {size:>9}  {one.created_utc}  of {one.host}")
    if not snapshots:
        output.say("no snapshots")


@app.command()
def restore(name: Name, json: Json = False) -> None:
    """Make a new lab host of the snapshot's type that boots from its disk; it runs until `lab down`."""
    bench = lab.lab_bench()
    snapshot = bench.snapshots.named(name)
    [token] = lab.free_tokens(bench, [snapshot.instance_type])
    machine = lab.or_nothing(bench, token, lambda progress: bench.restore(token, snapshot, progress))
    if json:
        output.emit(lab.document(machine))
    output.say(f"{token.host} is up: ptp-harness lab ssh {token.host}")


@app.command()
def delete(names: Annotated[list[str], typer.Argument(metavar="SNAPSHOT...")]) -> None:
    """Remove snapshots. Refused while a host stands on one's disk."""
    bench = lab.lab_bench()
    for name in names:
        bench.snapshots.delete(name, bench.records)
        output.say(f"snapshot {name} is gone")

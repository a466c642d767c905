"""`lab snapshot`: keep a lab host's disk, and make hosts from it."""

from dataclasses import asdict
from typing import Annotated

import typer

from harness.cli import completion, lab, output
from harness.cli.lab import Json

Name = Annotated[
    str,
    typer.Argument(metavar="SNAPSHOT", help="As `lab snapshot list` has it.", autocompletion=completion.lab_snapshots),
]


def create(
    host: Annotated[
        str, typer.Argument(metavar="HOST", help="A running lab host.", autocompletion=completion.lab_hosts)
    ],
    name: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="A new name for it.")],
) -> None:
    """Keep the disk of a running lab host.

    All that was written up to now is in it; what runs on the host is not. The host runs on.

    Examples:
        ptp-harness lab snapshot create lab.phc tuned
    """
    bench = lab.lab_bench()
    snapshot = bench.snapshots.create(name, lab.find_host(bench, host), output.say)
    output.say(f"snapshot {name} of {host}: {snapshot.bytes / 2**20:.0f} MiB")


def list_snapshots(json: Json = False) -> None:
    """List the snapshots.

    Name, type, size, when it was made, and of which host.

    Examples:
        ptp-harness lab snapshot list
        ptp-harness lab snapshot list --json
    """
    snapshots = lab.lab_bench().snapshots.all()
    if json:
        output.emit([asdict(one) | {"bytes": one.bytes} for one in snapshots])
        return
    for one in snapshots:
        size = f"{one.bytes / 2**20:.0f} MiB"
        output.show(f"{one.name:<20} {one.instance_type:<18} {size:>9}  {one.created_utc}  of {one.host}")
    if not snapshots:
        output.say("no snapshots")


def restore(name: Name, json: Json = False) -> None:
    """Make a new lab host from a snapshot.

    It has the snapshot's type and disk, and a name and keys of its own; it boots, and runs until `lab down`.

    Examples:
        ptp-harness lab snapshot restore tuned
    """
    bench = lab.lab_bench()
    snapshot = bench.snapshots.named(name)
    [token] = lab.free_tokens(bench, [snapshot.instance_type])
    machine = lab.provision_or_remove(bench, token, lambda progress: bench.restore(token, snapshot, progress))
    if json:
        output.emit(lab.document(machine))
    output.say(f"{token.host} is up: ptp-harness lab ssh {token.host}")


def delete(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="SNAPSHOT", help="As `lab snapshot list` has it.", autocompletion=completion.lab_snapshots
        ),
    ],
) -> None:
    """Remove snapshots.

    Refused while a host stands on the disk of one.

    Examples:
        ptp-harness lab snapshot delete tuned
    """
    bench = lab.lab_bench()
    for name in names:
        bench.snapshots.delete(name, bench.records)
        output.say(f"snapshot {name} is gone")

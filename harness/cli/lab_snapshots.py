"""`lab snapshot`: keep a lab host's disk and memory, and make hosts from the copy."""

from dataclasses import asdict
from typing import Annotated

import typer

from harness.benches.lab.guests.snapshots import Snapshot
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
    disk_only: Annotated[
        bool, typer.Option("--disk-only", help="Without memory: the host is not interrupted, and hosts boot from it.")
    ] = False,
) -> None:
    """Keep the disk and the memory of a running lab host.

    The snapshot has all that was written until now, and the running programs. Meanwhile the host stands still for some
    seconds and is without its ENA card; services that have its clock open, such as chronyd, are stopped and started.

    Examples:
        ptp-harness lab snapshot create lab.phc tuned
        ptp-harness lab snapshot create lab.phc disk --disk-only
    """
    bench = lab.lab_bench()
    snapshot = bench.snapshots.create(name, lab.find_host(bench, host), output.say, memory=not disk_only)
    output.say(f"snapshot {name} of {host}: {describe_content(snapshot)}, {snapshot.bytes / 2**20:.0f} MiB")


def list_snapshots(json: Json = False) -> None:
    """List the snapshots.

    Each line has name, type, size, content, time and host of a snapshot.

    Examples:
        ptp-harness lab snapshot list
        ptp-harness lab snapshot list --json
    """
    snapshots = lab.lab_bench().snapshots.all()
    if json:
        output.emit([asdict(snapshot) | {"bytes": snapshot.bytes} for snapshot in snapshots])
        return
    for snapshot in snapshots:
        size = f"{snapshot.bytes / 2**20:.0f} MiB"
        name, content = f"{snapshot.name:<20} {snapshot.instance_type:<18}", describe_content(snapshot)
        output.show(f"{name} {size:>9}  {content:<15}  {snapshot.created_utc}  of {snapshot.host}")
    if not snapshots:
        output.say("no snapshots")


def restore(name: Name, json: Json = False) -> None:
    """Make a new lab host from a snapshot.

    The host has the snapshot's type, disk and running programs, and its own name and keys. It runs until `lab down`. A
    snapshot without memory is booted.

    Examples:
        ptp-harness lab snapshot restore tuned
    """
    bench = lab.lab_bench()
    snapshot = bench.snapshots.find(name)
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

    A snapshot is not removed while a host uses its disk.

    Examples:
        ptp-harness lab snapshot delete tuned
    """
    bench = lab.lab_bench()
    for name in names:
        bench.snapshots.delete(name, bench.records)
        output.say(f"snapshot {name} is gone")


def describe_content(snapshot: Snapshot) -> str:
    return "disk" if snapshot.machine is None else "disk and memory"

"""`baseline add`, `list` and `remove`: the runs that `diff` compares later ones with."""

from typing import Annotated

import typer

from harness import units, wiring
from harness.cli import completion, output
from harness.report import table
from harness.runs.baseline_changes import add_to_baseline, remove_from_baseline
from harness.store.baselines import DEFAULT, Baselines
from harness.system import settings

Runs = Annotated[list[str], typer.Argument(metavar="RUN", autocompletion=completion.runs)]
SomeRuns = Annotated[
    list[str] | None, typer.Argument(metavar="RUN", help="Only these runs.", autocompletion=completion.runs)
]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The baseline's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


def add(runs: Runs, name: Name = DEFAULT) -> None:
    """Add ended runs to a baseline.

    More runs make `diff` see smaller changes: with one a figure must double or more, with eight a quarter is nearly
    enough. Take runs that were good, of the types that you watch.

    Examples:
        ptp-harness baseline add last
        ptp-harness baseline add k3f9 m2p7 x9d4 --name november
    """
    lines = add_to_baseline(name, runs, wiring.ledger(settings.load()))
    output.say(f"baseline {name}: {', '.join(line.run for line in lines)}")


def list_runs(json: Json = False) -> None:
    """List the baselines and their runs.

    Examples:
        ptp-harness baseline list
    """
    lines = Baselines(wiring.ledger(settings.load()).database).list_lines()
    if json:
        fields = ("name", "run", "bench", "added_by")
        times = [{"started": units.utc(line.started_ns), "added": units.utc(line.added_ns)} for line in lines]
        output.emit(
            [{field: getattr(line, field) for field in fields} | at for line, at in zip(lines, times, strict=True)]
        )
        return
    if not lines:
        output.say("there is no baseline; `ptp-harness baseline add RUN` makes one")
        return
    rows = [(line.name, line.run, line.bench, units.utc(line.started_ns)[:16], line.added_by) for line in lines]
    output.show("\n".join(table.align_rows([("BASELINE", "RUN", "BENCH", "STARTED", "ADDED BY"), *rows])))


def remove(runs: SomeRuns = None, name: Name = DEFAULT) -> None:
    """Remove runs from a baseline; the runs themselves stay.

    Examples:
        ptp-harness baseline remove k3f9
        ptp-harness baseline remove --name november
    """
    removed = remove_from_baseline(name, runs or (), wiring.ledger(settings.load()))
    output.say(f"removed from baseline {name}: {', '.join(removed)}")

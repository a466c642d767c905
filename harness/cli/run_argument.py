"""Define the argument that names a run, and choose hosts of a run by their names."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion
from harness.errors import RequestError

if TYPE_CHECKING:
    from harness.store.ledger_lines import HostLine

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="The run's short name, as `ptp-harness runs` lists it, or `last`.",
        autocompletion=completion.runs,
    ),
]
DeadRun = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run whose process died, by its name or as `last`.", autocompletion=completion.dead_runs
    ),
]


def choose_hosts(run: str, lines: "Sequence[HostLine]", names: Sequence[str]) -> "list[HostLine]":
    """Choose the hosts of a run that are named, each once; all without names. Raises RequestError for another name."""
    by_name = {line.host: line for line in lines}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise RequestError(
            f"run {run} has no host {', '.join(map(repr, unknown))}", next_step=f"its hosts: {', '.join(by_name)}"
        )
    return [by_name[name] for name in dict.fromkeys(names)] or [*lines]

"""Define the argument that names a run."""

from typing import Annotated

import typer

from harness.cli import completion

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

"""The argument of commands that names a run."""

from typing import Annotated

import typer

from harness.cli import completion

Run = Annotated[
    str,
    typer.Argument(help="The run's short name, as `ptp-harness runs` lists it.", autocompletion=completion.runs),
]
DeadRun = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run whose process died, by its name.", autocompletion=completion.dead_runs),
]

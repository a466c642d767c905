"""`campaign schema`: what a campaign file may hold, for editors; `campaign check`: is this one right?"""

from typing import Annotated

import typer

from harness import campaign
from harness.cli import output, request

app = typer.Typer(no_args_is_help=True, help="Campaign files: their schema, and whether one is right.")


@app.command()
def schema() -> None:
    """Print the JSON schema of campaign files.

    Example: ptp-harness campaign schema > campaign.schema.json; then begin a campaign file with the line
    "# yaml-language-server: $schema=campaign.schema.json", and the editor knows its keys.
    """
    output.emit(campaign.json_schema())


@app.command()
def check(file: Annotated[str, typer.Argument(metavar="FILE", help="A campaign file.")]) -> None:
    """Say every mistake in a campaign file at once; exit code 2 when there is one.

    Example: ptp-harness campaign check campaign.yaml
    """
    asked = request.from_file(file, {})
    output.say(f"{file} is right: bench {asked.bench}, {len(asked.instance_types)} hosts, depth {asked.depth}")

"""`campaign schema`: what a campaign file may hold, for editors; `campaign check`: is this one right?"""

from typing import Annotated

import typer

from harness.campaign import campaign
from harness.cli import campaign_options, output


def schema() -> None:
    """Print the JSON schema of campaign files.

    Begin a campaign file with the line "# yaml-language-server: $schema=campaign.schema.json", and an editor that
    knows the schema offers the keys and marks mistakes.

    Examples:
        ptp-harness campaign schema
        ptp-harness campaign schema > campaign.schema.json
    """
    output.emit(campaign.json_schema())


def check(file: Annotated[str, typer.Argument(metavar="FILE", help="A campaign file.")]) -> None:
    """Say every mistake in a campaign file at once.

    Exit code 2 when there is one. Whether its instance types exist is what `plan` says.

    Examples:
        ptp-harness campaign check campaign.yaml
    """
    asked = campaign_options.read_campaign_file(file, {})
    hosts = [f"{len(asked.instance_types)} hosts"] if asked.instance_types else []
    hosts += ["what select chooses"] if asked.select else []
    output.say(f"{file} is right: bench {asked.bench}, {' and '.join(hosts)}, depth {asked.depth}")

"""Define the options that name a service, which then carries the command out, and connect to it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import output
from harness.system.token_files import read_token

if TYPE_CHECKING:
    from harness.client.client import Client

SERVER, TOKEN, TOKEN_FILE = "PTP_HARNESS_SERVER", "PTP_HARNESS_TOKEN", "PTP_HARNESS_TOKEN_FILE"

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar=SERVER,
        help="Let this service carry out run, runs, show, report, cancel, keep, release.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar=TOKEN_FILE,
        help=f"A file with the token for the service (default: the variable {TOKEN}).",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedServer:
    """A service that the command line or the environment names. `by_flag`: the command line does."""

    url: str
    token_file: Path | None
    by_flag: bool


def find_server(parent: Any) -> NamedServer | None:
    """Find the service that the command line named before the verb, whose context is below `parent`."""
    if parent is None:
        return None
    root = parent.find_root()
    url = root.params.get("server")
    if not url:
        return None
    by_flag = root.get_parameter_source("server").name == "COMMANDLINE"
    return NamedServer(url=url, token_file=root.params.get("token_file"), by_flag=by_flag)


def connect(server: NamedServer) -> "Client":
    """Connect to a service, with the token of a file or of the environment. Raises RequestError."""
    from harness.client.addresses import ALLOW_PLAIN_HTTP
    from harness.client.client import Client  # slow to load, and needed for a service alone
    from harness.client.service_connection import ConnectionOptions

    options = ConnectionOptions(notify=_say, allow_plain_http=os.environ.get(ALLOW_PLAIN_HTTP) == "1")
    return Client(server.url, _find_token(server.token_file), options)


def _say(text: str) -> None:
    output.say(f"warning: {text}")


def _find_token(file: Path | None) -> str | None:
    return (os.environ.get(TOKEN) or None) if file is None else read_token(file)

"""Define the option `--ledger` of every command, which names the ledger's database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from harness.system.settings import LEDGER_URL

_VALUE = f"{__name__}.url"


def make_options() -> list[Any]:
    """Return the option, to be added to the parameters of a command."""
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_carry)
    return list(typer.main.get_command(carrier).params)


@contextmanager
def applied(ctx: typer.Context) -> Iterator[None]:
    """Let the settings of a command, and of the programs that it starts, name the ledger of its command line."""
    url, before = ctx.meta.get(_VALUE), os.environ.get(LEDGER_URL)
    if url is None:
        yield
        return
    os.environ[LEDGER_URL] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ[LEDGER_URL]
        else:
            os.environ[LEDGER_URL] = before


def _keep(ctx: typer.Context, value: str | None) -> None:
    ctx.meta[_VALUE] = value


def _carry(
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger",
            metavar="URL",
            callback=_keep,
            expose_value=False,
            help="The ledger: postgresql://USER@HOST/DATABASE or sqlite:///FILE (default: PTP_HARNESS_LEDGER_URL, "
            "else a file of this machine).",
        ),
    ] = None,
) -> None:
    """Do nothing: Typer makes options of the parameters of a function."""

"""Define the option `--ledger` of every command, which names the ledger's database."""

import os
from typing import Annotated, Any

import typer

from harness.system.settings import LEDGER_URL


def make_options() -> list[Any]:
    """Return the option, to be added to the parameters of a command."""
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_carry)
    return list(typer.main.get_command(carrier).params)


def _set_ledger(ctx: typer.Context, value: str | None) -> None:
    """Let the settings of this command, and of the programs that it starts, name this ledger."""
    if value is None:
        return
    before = os.environ.get(LEDGER_URL)
    os.environ[LEDGER_URL] = value

    def restore() -> None:
        if before is None:
            os.environ.pop(LEDGER_URL, None)
        else:
            os.environ[LEDGER_URL] = before

    ctx.call_on_close(restore)


def _carry(
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger",
            metavar="URL",
            callback=_set_ledger,
            expose_value=False,
            help="The ledger: postgresql://USER@HOST/DATABASE or sqlite:///FILE (default: PTP_HARNESS_LEDGER_URL, "
            "else a file of this machine).",
        ),
    ] = None,
) -> None:
    """Do nothing: Typer makes options of the parameters of a function."""

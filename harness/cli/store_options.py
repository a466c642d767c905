"""Define the options `--ledger` and `--evidence` of every command, which name two stores by URL."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from harness.system.settings import EVIDENCE_URL, LEDGER_URL

_VALUES = f"{__name__}.urls"


def make_options() -> list[Any]:
    """Return the options, to be added to the parameters of a command."""
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_carry)
    return list(typer.main.get_command(carrier).params)


@contextmanager
def applied(ctx: typer.Context) -> Iterator[None]:
    """Let the settings of a command, and of the programs that it starts, name the stores of its command line."""
    urls: dict[str, str] = ctx.meta.get(_VALUES, {})
    before = {name: os.environ.get(name) for name in urls}
    os.environ.update(urls)
    try:
        yield
    finally:
        for name, url in before.items():
            if url is None:
                del os.environ[name]
            else:
                os.environ[name] = url


def _keep_ledger(ctx: typer.Context, value: str | None) -> None:
    _keep(ctx, LEDGER_URL, value)


def _keep_evidence(ctx: typer.Context, value: str | None) -> None:
    _keep(ctx, EVIDENCE_URL, value)


def _keep(ctx: typer.Context, variable: str, value: str | None) -> None:
    if value is not None:
        ctx.meta.setdefault(_VALUES, {})[variable] = value


def _carry(
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger",
            metavar="URL",
            callback=_keep_ledger,
            expose_value=False,
            help="The ledger: postgresql://USER@HOST/DATABASE or sqlite:///FILE (default: PTP_HARNESS_LEDGER_URL, "
            "else a file of this machine).",
        ),
    ] = None,
    evidence: Annotated[
        str | None,
        typer.Option(
            "--evidence",
            metavar="URL",
            callback=_keep_evidence,
            expose_value=False,
            help="Where evidence is sent to when a run ends: s3://BUCKET/PREFIX or file:///FOLDER (default: "
            "PTP_HARNESS_EVIDENCE_URL, else it stays on this machine).",
        ),
    ] = None,
) -> None:
    """Do nothing: Typer makes options of the parameters of a function."""

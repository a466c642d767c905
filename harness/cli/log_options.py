"""Define the options `-v` and `--log-file` of every command, which log what the harness does."""

import logging
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import RequestError
from harness.untrusted.plain_text import printable

_LOGGER = logging.getLogger("harness")


def make_options() -> list[Any]:
    """Return the two options, to be added to the parameters of a command."""
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_carry)
    return list(typer.main.get_command(carrier).params)


def logs_to_terminal() -> bool:
    """Return whether `-v` was given: then lines of the log appear between other output."""
    return any(isinstance(handler, _TerminalHandler) for handler in _LOGGER.handlers)


class LineFormatter(logging.Formatter):
    """Formats each record as one line with the time in UTC, without characters that control a terminal."""

    converter = time.gmtime  # type: ignore[assignment]  # typeshed wants a function that takes None, too
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record).replace("\n", " | "))


class _TerminalHandler(logging.StreamHandler[Any]):
    """Writes to standard error. Events of a run are left out, since the display of the run shows them."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno != logging.INFO


def _log_to_terminal(ctx: typer.Context, value: bool) -> None:
    if value:
        _add_handler(ctx, _TerminalHandler())


def _log_to_file(ctx: typer.Context, value: str | None) -> None:
    if value is None:
        return
    try:
        handler = logging.FileHandler(Path(value), encoding="utf-8")  # appended, and readable by its owner alone
    except OSError as error:
        raise RequestError(
            f"--log-file: cannot write to {value}: {error.strerror}", next_step="name a file that you may write to"
        ) from error
    _add_handler(ctx, handler)


def _carry(
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            callback=_log_to_terminal,
            expose_value=False,
            help="Print each program that is run, and each call of an API.",
        ),
    ] = False,
    log_file: Annotated[
        str | None,
        typer.Option(
            "--log-file",
            metavar="FILE",
            callback=_log_to_file,
            expose_value=False,
            help="Append these lines to a file, with each event of a run.",
        ),
    ] = None,
) -> None:
    """Do nothing: Typer makes options of the parameters of a function."""


def _add_handler(ctx: typer.Context, handler: logging.Handler) -> None:
    """Add a handler until the command ends."""
    handler.setFormatter(LineFormatter())
    _LOGGER.setLevel(logging.DEBUG)
    _LOGGER.addHandler(handler)

    def remove() -> None:
        _LOGGER.removeHandler(handler)
        handler.close()

    ctx.call_on_close(remove)

"""Print a command's docstring as its help: prose first, and the examples last, one per line."""

import inspect
from typing import Any

from typer.core import TyperCommand

from harness.cli import log_options, store_options
from harness.errors import RequestError
from harness.untrusted.input_checks import shorten_value, why_unfit

_EXAMPLES = "\n\nExamples:\n"


TAKES_A_COMMAND = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""Parser settings of a command that ends with another program's command line: options there, also -h, are not ours."""


class HelpCommand(TyperCommand):
    """A command whose docstring ends with `Examples:` and indented command lines, which are shown as they stand.

    It has the options `--ledger`, `--evidence`, `-v` and `--log-file`.
    """

    def __init__(self, *arguments: Any, params: Any = None, **options: Any) -> None:
        super().__init__(
            *arguments, params=[*(params or []), *store_options.make_options(), *log_options.make_options()], **options
        )

    def examples(self) -> list[str]:
        """Return the command lines of the examples, in order."""
        _, _, lines = self._docstring().partition(_EXAMPLES)
        return [line.strip() for line in lines.splitlines() if line.strip()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments. Raises RequestError for one that cannot be shown, stored and shortened as text."""
        takes_command = not self.context_settings.get("allow_interspersed_args", True)
        _check_arguments([] if takes_command else args)
        remaining = super().parse_args(ctx, args)
        command = ctx.params.get("command")
        if takes_command and command and command[0] == "--":  # ssh would pass it to the host's shell
            if not command[1:]:
                raise RequestError("no command follows `--`", next_step="`ptp-harness COMMAND --help`")
            ctx.params["command"] = command[1:]
        _check_arguments([str(value) for name, value in ctx.params.items() if name != "command" and value is not None])
        return remaining

    def invoke(self, ctx: Any) -> Any:
        """Call the command, with the ledger and the evidence store that its command line names."""
        with store_options.applied(ctx):
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        return ["[OPTIONS]", *map(_usage, arguments)]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        prose, _, _ = self._docstring().partition(_EXAMPLES)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(prose)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options. An argument has only its name, since the usage line shows if it may repeat."""
        shown = [param for param in self.get_params(ctx) if not getattr(param, "hidden", False)]
        arguments = [param for param in shown if param.param_type_name == "argument"]
        records = [param.get_help_record(ctx) for param in shown if param not in arguments]
        sections = {
            "Arguments": [(_name(param), getattr(param, "help", None) or "") for param in arguments],
            "Options": [record for record in records if record is not None],
        }
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        lines = self.examples()
        if lines:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in lines))

    def _docstring(self) -> str:
        return inspect.cleandoc(self.help or "")


def _check_arguments(arguments: list[str]) -> None:
    for argument in arguments:
        if mistake := why_unfit(argument, templates=False):
            raise RequestError(
                f"the word {shorten_value(argument)} of the command line {mistake}",
                next_step="`ptp-harness COMMAND --help`",
            )


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _usage(argument: Any) -> str:
    name = _name(argument) if argument.required else f"[{_name(argument)}]"
    return name if argument.nargs == 1 else f"{name}..."

"""How does a command explain itself? By its docstring: prose first, and its examples last, one per line."""

import inspect
from typing import Any

from typer.core import TyperCommand

from harness.cli import log_options
from harness.errors import RequestError
from harness.untrusted.input_checks import shorten_value, why_unfit

_EXAMPLES = "\n\nExamples:\n"


TAKES_A_COMMAND = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""Of a command whose last words are another program's: their options are that program's, also -h."""


class HelpCommand(TyperCommand):
    """A command whose docstring ends with `Examples:` and indented command lines, which are shown as they stand.

    It has the options `-v` and `--log-file`.
    """

    def __init__(self, *arguments: Any, params: Any = None, **options: Any) -> None:
        super().__init__(*arguments, params=[*(params or []), *log_options.make_options()], **options)

    def examples(self) -> list[str]:
        """The command lines of the examples, in order."""
        _, _, lines = self._told().partition(_EXAMPLES)
        return [line.strip() for line in lines.splitlines() if line.strip()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words as they stand, once every one is a text that can be shown, stored and cut. Raises RequestError."""
        ends = self.context_settings.get("allow_interspersed_args", True)  # else another program's words follow
        _take(args if ends else [])
        rest = super().parse_args(ctx, args)
        command = ctx.params.get("command")
        if (
            not ends and command and command[0] == "--"
        ):  # ssh would give it to the host's shell, as a word of the command
            if not command[1:]:
                raise RequestError("no command follows `--`", next_step="`ptp-harness COMMAND --help`")
            ctx.params["command"] = command[1:]
        _take([str(value) for name, value in ctx.params.items() if name != "command" and value is not None])
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]
        return ["[OPTIONS]", *map(_usage, arguments)]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        prose, _, _ = self._told().partition(_EXAMPLES)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(prose)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """As usual, but that an argument is shown by its name alone: its usage line says whether there may be more."""
        shown = [one for one in self.get_params(ctx) if not getattr(one, "hidden", False)]
        arguments = [one for one in shown if one.param_type_name == "argument"]
        records = [one.get_help_record(ctx) for one in shown if one not in arguments]
        sections = {
            "Arguments": [(_name(one), getattr(one, "help", None) or "") for one in arguments],
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

    def _told(self) -> str:
        return inspect.cleandoc(self.help or "")


def _take(words: list[str]) -> None:
    for word in words:
        if why := why_unfit(word, templates=False):
            raise RequestError(
                f"the word {shorten_value(word)} of the command line {why}", next_step="`ptp-harness COMMAND --help`"
            )


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _usage(argument: Any) -> str:
    name = _name(argument) if argument.required else f"[{_name(argument)}]"
    return name if argument.nargs == 1 else f"{name}..."

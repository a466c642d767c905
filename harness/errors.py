"""Define errors and exit codes. An exception means that no result was found; a bad clock is a result."""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of the command."""

    PASSED = 0
    CLOCK_FAILED = 1
    BAD_REQUEST = 2
    NOT_CONCLUSIVE = 3
    LEFT_RUNNING = 4
    OUR_FAULT = 70
    INTERRUPTED = 130


class HarnessError(Exception):
    """An error with one sentence for a person: what was wrong and where. `next_step` says what to do about it."""

    exit_code: ClassVar[ExitCode] = ExitCode.OUR_FAULT

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} ({self.next_step})" if self.next_step else self.message


class RequestError(HarnessError):
    """A request that cannot be carried out: the user must change it."""

    exit_code = ExitCode.BAD_REQUEST


class UnknownNameError(RequestError):
    """A name that nothing has."""


class ConflictError(RequestError):
    """A request that the state of what it names does not allow now: a run that goes on, a host that is not kept."""


class SetupError(HarnessError):
    """A lack on the machine that runs the harness: of a tool, disk space, a writable directory or a free port."""

    exit_code = ExitCode.BAD_REQUEST


MOST_LINE_CHARACTERS = 500
"""Maximum characters of a program's last line in a message. If the program is ssh, a host may have sent it."""


class CommandError(HarnessError):
    """A failure of a program that the harness ran: a bad exit status, or a passed deadline.

    `status` is the exit status, negative for a signal, None when the harness ended the program: past the deadline, or
    for the cause in `cause`. The tails of both outputs are kept. The message goes into reports: its `argv` is without
    secrets.
    """

    def __init__(
        self, argv: Sequence[str], status: int | None, stdout: str, stderr: str, *, after_s: float, cause: str = ""
    ) -> None:
        self.argv, self.status, self.stdout, self.stderr = tuple(argv), status, tail(stdout), tail(stderr)
        if not cause:
            cause = f"did not end within {after_s:.0f} s" if status is None else f"ended with status {status}"
        last_output = (last_line(stderr) or last_line(stdout))[:MOST_LINE_CHARACTERS]
        super().__init__(
            f"{argv[0]} {cause}{': ' + last_output if last_output else ''}",
            next_step="command: " + redact_secrets(argv)[:500],
        )


class FloodError(CommandError):
    """An output above its cap; the program was ended. If the program is ssh, a host sent the output."""

    def __init__(
        self, argv: Sequence[str], cause: str, *, stdout: str = "", stderr: str = "", after_s: float = 0.0
    ) -> None:
        super().__init__(argv, None, stdout, stderr, after_s=after_s, cause=cause)


class ParseError(HarnessError):
    """A line of a tool's text that could not be parsed, with its place."""

    def __init__(self, where: str, line_number: int, line: str, expected: str) -> None:
        self.where, self.line_number, self.line, self.expected = where, line_number, line, expected
        super().__init__(f"{where}:{line_number}: {line[:200]!r} is not {expected}")


class CleanupError(HarnessError):
    """Resources that could not be removed: `left` names them, `next_step` gives the command that removes them."""

    exit_code = ExitCode.LEFT_RUNNING

    def __init__(self, leftovers: Sequence[str], *, next_step: str) -> None:
        self.leftovers = tuple(leftovers)
        super().__init__(f"left running: {', '.join(leftovers)}", next_step=next_step)


_SSH_PROGRAMS = ("ssh", "scp", "sftp")
_SECRET_OPTION = re.compile(r"(?i)^--?[a-z-]*(?:pass|secret|token|key)[a-z-]*(?:=|$)")
_SECRET_IN_URL = re.compile(r"(?<=://)[^/?#\s]*@|\?\S*")


def redact_secrets(argv: Sequence[str]) -> str:
    """Write a command line without secrets, safe for reports.

    A command line of ssh keeps only the arguments after `--`, the destination and its command: an option may hold a
    ProxyCommand with a password. Other command lines lose the values of options that are named like a password, secret,
    token or key, and the users and queries of URLs.
    """
    program, *arguments = argv
    if program.rpartition("/")[2] in _SSH_PROGRAMS:
        separator = max(
            (number for number, argument in enumerate(arguments) if argument == "--"), default=len(arguments)
        )
        options = arguments[:separator]
        return " ".join([program, *(["..."] if options else []), *arguments[len(options) :]])
    parts, hide_next = [program], False
    for argument in arguments:
        option = _SECRET_OPTION.match(argument)
        parts.append(
            "..." if hide_next else f"{option[0]}..." if option and option[0].endswith("=") else _redact_url(argument)
        )
        hide_next = option is not None and not option[0].endswith("=")
    return " ".join(parts)


def _redact_url(word: str) -> str:
    return _SECRET_IN_URL.sub("...", word) if "://" in word else word


def tail(text: str, characters: int = 4000) -> str:
    """Return the last `characters` of a text, with "..." before them when the text is longer."""
    return text if len(text) <= characters else "..." + text[-characters:]


def last_line(text: str) -> str:
    """Return the last line that is not empty, stripped, or an empty string."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")

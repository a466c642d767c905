"""The error family: an exception means that we could not find out; a bad clock is a result, never an exception."""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the command ends with."""

    PASSED = 0
    CLOCK_FAILED = 1
    BAD_REQUEST = 2
    NOT_CONCLUSIVE = 3
    LEFT_RUNNING = 4
    OUR_FAULT = 70
    INTERRUPTED = 130


class HarnessError(Exception):
    """One sentence for a person: what was wrong and where; `next_step` says what to do about it."""

    exit_code: ClassVar[ExitCode] = ExitCode.OUR_FAULT

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} ({self.next_step})" if self.next_step else self.message


class RequestError(HarnessError):
    """What was asked for cannot be done as asked: the user must change the request."""

    exit_code = ExitCode.BAD_REQUEST


class SetupError(HarnessError):
    """The machine that we run on lacks something: a tool, disk space, a writable directory, a free port."""

    exit_code = ExitCode.BAD_REQUEST


MOST_WORDS = 500
"""Characters of a program's last line that an error tells; the program may be ssh, and the line a host's."""


class CommandError(HarnessError):
    """A program that we ran failed or did not end in time.

    `status` is its exit status, negative for a signal, None when it was ended: since the deadline passed, or for what
    `ended` says. Both tails are kept. The message goes into reports: `argv` is told in it without what may be a secret.
    """

    def __init__(
        self, argv: Sequence[str], status: int | None, stdout: str, stderr: str, *, after_s: float, ended: str = ""
    ) -> None:
        self.argv, self.status, self.stdout, self.stderr = tuple(argv), status, tail(stdout), tail(stderr)
        if not ended:
            ended = f"did not end within {after_s:.0f} s" if status is None else f"ended with status {status}"
        words = (last_line(stderr) or last_line(stdout))[:MOST_WORDS]
        super().__init__(
            f"{argv[0]} {ended}{': ' + words if words else ''}", next_step="command: " + without_secrets(argv)[:500]
        )


class FloodError(CommandError):
    """A program printed more than may be kept, and was ended. The program may be ssh: then a host sent it."""

    def __init__(
        self, argv: Sequence[str], ended: str, *, stdout: str = "", stderr: str = "", after_s: float = 0.0
    ) -> None:
        super().__init__(argv, None, stdout, stderr, after_s=after_s, ended=ended)


class ParseError(HarnessError):
    """A line of a tool's text that we do not understand, with its place."""

    def __init__(self, where: str, line_number: int, line: str, expected: str) -> None:
        self.where, self.line_number, self.line, self.expected = where, line_number, line, expected
        super().__init__(f"{where}:{line_number}: {line[:200]!r} is not {expected}")


class CleanupError(HarnessError):
    """Something that we made could not be removed; it names each and the command that removes it."""

    exit_code = ExitCode.LEFT_RUNNING

    def __init__(self, left: Sequence[str], *, next_step: str) -> None:
        self.left = tuple(left)
        super().__init__(f"left running: {', '.join(left)}", next_step=next_step)


_SPEAK_SSH = ("ssh", "scp", "sftp")
_SECRET_OPTION = re.compile(r"(?i)^--?[a-z-]*(?:pass|secret|token|key)[a-z-]*(?:=|$)")
_SECRET_IN_URL = re.compile(r"(?<=://)[^/?#\s]*@|\?\S*")


def without_secrets(argv: Sequence[str]) -> str:
    """A command line that may be told to anybody.

    Of ssh's only what stands behind `--`, the destination and the words for it: its options may hold a ProxyCommand
    with a password. Of others not the values of options that are called passwords, nor users and queries of URLs.
    """
    program, *words = argv
    if program.rpartition("/")[2] in _SPEAK_SSH:
        behind = max((number for number, word in enumerate(words) if word == "--"), default=len(words))
        options = words[:behind]
        return " ".join([program, *(["..."] if options else []), *words[len(options) :]])
    told, hidden = [program], False
    for word in words:
        option = _SECRET_OPTION.match(word)
        told.append("..." if hidden else f"{option[0]}..." if option and option[0].endswith("=") else _url(word))
        hidden = option is not None and not option[0].endswith("=")
    return " ".join(told)


def _url(word: str) -> str:
    return _SECRET_IN_URL.sub("...", word) if "://" in word else word


def tail(text: str, characters: int = 4000) -> str:
    """The end of a long text."""
    return text if len(text) <= characters else "..." + text[-characters:]


def last_line(text: str) -> str:
    """The last line that is not empty, or an empty string."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")

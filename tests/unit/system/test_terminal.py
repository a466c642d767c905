"""What a terminal can do, and that it gets back what was on it."""

import io
import os
import pty
from collections.abc import Iterator, Mapping

import pytest

from harness.system.terminal import Abilities, open_screen, read_abilities, read_size


class Stream(io.StringIO):
    """A stream to a terminal with an encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "encoding", "abilities"),
    [
        ({"TERM": "xterm-256color", "LANG": "en_US.UTF-8"}, "utf-8", (True, True, True)),
        ({"TERM": "xterm", "LANG": "en_US.UTF-8", "NO_COLOR": "1"}, "utf-8", (True, False, True)),
        ({"TERM": "xterm", "NO_COLOR": ""}, "utf-8", (True, True, True)),
        ({"TERM": "xterm"}, "iso8859-1", (True, True, False)),
        ({"TERM": "xterm"}, "ascii", (True, True, False)),
        ({"TERM": "xterm"}, "nothing-known", (True, True, False)),
        ({"TERM": "xterm", "LC_ALL": "C", "LANG": "en_US.UTF-8"}, "utf-8", (True, True, False)),
        ({"TERM": "xterm", "LC_ALL": "", "LC_CTYPE": "C.UTF-8", "LANG": "C"}, "utf-8", (True, True, True)),
        ({"TERM": "linux", "LANG": "en_US.UTF-8"}, "utf-8", (True, True, False)),
        ({"TERM": "dumb", "LANG": "en_US.UTF-8"}, "utf-8", (False, False, False)),
        ({}, "utf-8", (False, False, False)),
    ],
)
def test_abilities_follow_environment_and_encoding(
    environ: Mapping[str, str], encoding: str, abilities: tuple[bool, bool, bool]
) -> None:
    moves, colours, blocks = abilities
    assert read_abilities(Stream(encoding), environ) == Abilities(moves=moves, colours=colours, blocks=blocks)


def test_a_stream_that_is_no_terminal_has_none() -> None:
    assert read_abilities(io.StringIO(), {"TERM": "xterm"}) is None


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Our end and the program's end of a terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_a_terminal_that_does_not_tell_its_size_has_the_usual_one(terminal: tuple[int, int]) -> None:
    assert read_size(terminal[1]) == (80, 24)
    reader, writer = os.pipe()
    assert read_size(writer) == (80, 24)
    os.close(reader)
    os.close(writer)


def draw_and_fail(descriptor: int) -> None:
    with open_screen(descriptor) as screen:
        screen.draw(["a", "b"])
        raise KeyboardInterrupt


def test_the_screen_is_given_back_after_an_error(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    with pytest.raises(KeyboardInterrupt):
        draw_and_fail(theirs)
    written = os.read(ours, 4096).decode().replace("\r\r\n", "\r\n")  # a terminal adds a carriage return
    assert written == "\x1b[?1049h\x1b[?25l\x1b[2J\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J\x1b[?25h\x1b[?1049l"

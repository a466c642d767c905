"""Help that can be read and believed: every command explains itself, and its examples are right command lines."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from harness.cli.app import NAME, app
from harness.cli.commands import COMMANDS, Command, Group, LazyCommand
from harness.cli.help_text import HelpCommand

Call = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT_COMMAND = typer.main.get_command(app)


def verbs(command: Any = ROOT_COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below `command` that is no group, with the words that name it."""
    below: Mapping[str, Any] = getattr(command, "commands", {})
    for name, one in below.items():
        yield from verbs(one, (*path, name))
    if isinstance(command, LazyCommand):
        yield path, command.load()


VERBS = dict(verbs())
GROUPS: list[list[str]] = [[], *([name] for name, one in ROOT_COMMAND.commands.items() if hasattr(one, "commands"))]
EXAMPLES = [(path, line) for path, command in VERBS.items() for line in getattr(command, "examples", list)()]


def entries(
    table: Mapping[str, Command | Group], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Every command of a table and of the groups in it, with the words that name it."""
    for name, entry in table.items():
        if isinstance(entry, Group):
            yield from entries(entry.entries, (*path, name))
        else:
            yield (*path, name), entry


ENTRIES = dict(entries(COMMANDS))


@pytest.mark.parametrize("path", ENTRIES, ids=" ".join)
def test_the_line_of_a_command_in_the_list_is_that_of_its_docstring(path: tuple[str, ...]) -> None:
    summary = (VERBS[path].help or "").partition("\n\n")[0]
    assert ENTRIES[path].summary == " ".join(summary.split())


def test_all_verbs_are_looked_at() -> None:
    assert {("run",), ("campaign", "check"), ("lab", "truths")} <= VERBS.keys()
    assert len(VERBS) >= 18


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_every_command_has_examples_of_its_own(path: tuple[str, ...]) -> None:
    command = VERBS[path]
    assert isinstance(command, HelpCommand), "made without cls=HelpCommand"
    assert command.examples()
    for line in command.examples():
        words = re.sub(r"^ptp-harness --server \S+ ", "ptp-harness ", line)
        assert words.startswith(" ".join(("ptp-harness", *path)))


@pytest.mark.parametrize("line", [line for _, line in EXAMPLES])
def test_every_example_parses(line: str, parsed: Callable[[str], None]) -> None:
    parsed(line)


@pytest.mark.parametrize("line", ["ptp-harness fly", "ptp-harness plan", "ptp-harness run lab.phc --dept full"])
def test_the_parser_refuses_where_it_must(line: str, parsed: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError):
        parsed(line)


@pytest.mark.parametrize("words", [*GROUPS, *map(list, VERBS)], ids=lambda words: " ".join(words) or "ptp-harness")
def test_help_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, [*words, "--help"], prog_name=NAME)
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert "..." not in done.stdout.partition("Commands:")[2], "a summary that is cut off"
    shown = done.stdout.splitlines()
    for line in getattr(VERBS.get(tuple(words)), "examples", list)():
        assert f"  {line}" in shown, "an example has a line of its own"


CHEAP = {"doctor", "plan", "runs", "sweep", "campaign", "lab list", "lab truths"}


@pytest.mark.parametrize(
    "line",
    [
        line
        for path, line in EXAMPLES
        if {path[0], " ".join(path)} & CHEAP and not {"eu-north-1", "k3f9"} & {*line.split()}
    ],
    ids=lambda line: line[12:],
)
def test_cheap_examples_work_as_they_stand(call: Call, tmp_path: Path, line: str) -> None:
    (tmp_path / "campaign.yaml").write_text("instance_types: [lab.phc, lab.drifting]\n")
    (tmp_path / "hosts.yaml").write_text("all:\n  children:\n    rack7:\n      hosts: {a: {}, b: {}}\n")
    host = {"name": "lab.phc", "instance_type": "lab.phc", "outcome": "PASS", "reason": "synchronised"}
    (tmp_path / "report.json").write_text(json.dumps({"hosts": [host]}))
    words = shlex.split(line.partition(">")[0])[1:]
    done = call(*words)
    assert "ptp-harness:" not in done.stderr
    assert done.returncode == 0 or (words[0] == "doctor" and "MISSING" in done.stdout)


def test_a_command_for_a_host_keeps_its_own_options(call: Call) -> None:
    for words in (["ssh", "zzzz", "lab.phc", "ls", "-h"], ["lab", "ssh", "nobody", "ls", "--help"]):
        done = call(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no" in done.stderr


@pytest.mark.parametrize("path", [("ssh",), ("lab", "ssh"), ("lab", "exec")], ids=" ".join)
@pytest.mark.parametrize(
    ("given", "command"),
    [(["ls", "-h"], ["ls", "-h"]), (["--", "ls", "-h"], ["ls", "-h"]), (["ls", "--", "-h"], ["ls", "--", "-h"])],
)
def test_two_dashes_before_a_command_are_no_word_of_it(
    path: tuple[str, ...], given: list[str], command: list[str]
) -> None:
    """ssh, given a destination behind `--`, would pass on a second `--`, and the host's shell refuse it."""
    verb = VERBS[path]
    names = [one for one in verb.params if one.param_type_name == "argument" and one.name != "command"]
    context = verb.make_context(path[-1], [*("lab.phc" for _ in names), *given])
    assert list(context.params["command"]) == command


def test_two_dashes_before_nothing_are_refused(call: Call) -> None:
    done = call("lab", "exec", "lab.phc", "--")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "ptp-harness: no command follows `--`")

"""What was asked for goes to standard output, and all else to standard error; a reader that ends early is no error."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from harness.cli.app import app
from harness.store.ledger import Ledger

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(call: Call) -> Call:
    return call


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["runs"], "3a5r  "),
        (["show", "3a5r"], "lab.phc: PASS synchronised\n"),
        (["show", "3a5r", "lab.no-phc"], "lab.no-phc: UNSUPPORTED no_phc\n"),
        (["report", "3a5r"], "lab.drifting    FAIL "),
        (["plan", "lab.phc"], "1 host on bench lab"),
        (["types", "--bench", "lab"], "lab.drifting "),
        (["sweep"], "nothing is left\n"),
        (["lab", "truths"], "lab.phc                  PASS synchronised"),
        (["lab", "inventory"], "all:\n  hosts: {}\n"),
        (["campaign", "check", "c.yaml"], "c.yaml is valid"),
        (["campaign", "schema"], '"properties"'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_asked_for_is_on_standard_output(
    call: Call, ledger: Ledger, tmp_path: Path, words: list[str], shown: str
) -> None:
    (tmp_path / "c.yaml").write_text("instance_types: [lab.phc]\n")
    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr in ("", "no such lab host is running; `ptp-harness lab list` lists them\n")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["runs"], "no runs yet; `ptp-harness run lab.phc` makes one\n"),
        (["lab", "list"], "no lab hosts\n"),
        (["lab", "snapshot", "list"], "no snapshots\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_empty_list_is_empty_and_the_hint_is_on_standard_error(call: Call, words: list[str], hint: str) -> None:
    done = call(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", hint)


@pytest.mark.parametrize(
    "words",
    [["runs"], ["show", "3a5r"], ["plan", "lab.phc"], ["types", "--bench", "lab"], ["doctor"], ["lab", "list"]],
    ids=" ".join,
)
def test_json_is_all_that_is_printed_where_it_is_asked_for(call: Call, ledger: Ledger, words: list[str]) -> None:
    done = call(*words, "--json")
    assert json.loads(done.stdout) is not None
    assert done.stderr == ""


def test_doctor_says_what_is_missing_on_standard_output(call: Call) -> None:
    done = call("doctor", PATH="/nowhere")
    assert (done.returncode, done.stderr) == (2, "")
    assert "MISSING  " in done.stdout


def test_warnings_of_a_plan_are_on_standard_error(call: Call) -> None:
    done = call("plan", "lab.phc", "--duration", "5s")
    assert "no host can pass" in done.stderr
    assert "warning" not in done.stdout


@pytest.mark.parametrize("words", [["types", "--bench", "lab"], ["show", "3a5r"], ["report", "3a5r", "--json"]])
def test_a_reader_that_ends_early_is_no_error(ledger: Ledger, tmp_path: Path, words: list[str]) -> None:
    env = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        argv = [sys.executable, "-m", "harness", *words]
        done = subprocess.run(argv, env=env, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def arguments(command: typer.core.TyperCommand, path: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Each argument of all commands without a name for people, with its command."""
    below = [pair for name, one in getattr(command, "commands", {}).items() for pair in arguments(one, (*path, name))]
    own = [one for one in command.params if one.param_type_name == "argument" and one.metavar is None]
    return [*below, *((" ".join(path), str(one.name)) for one in own)]


def test_every_argument_has_the_name_that_its_help_shows() -> None:
    """A missing argument is called by that name; without it, by a name of the code."""
    assert arguments(typer.main.get_command(app)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "name"), [(["show"], "RUN"), (["ssh", "k3f9"], "HOST"), (["lab", "join", "lab.phc"], "OTHER")]
)
def test_a_missing_argument_is_called_as_in_the_help(call: Call, words: list[str], name: str) -> None:
    done = call(*words)
    assert (done.returncode, f"Missing argument '{name}'" in done.stderr) == (2, True)

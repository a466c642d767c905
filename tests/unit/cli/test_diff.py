"""`diff` and `baseline`: a run against earlier ones, named or of a baseline."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.model import Outcome
from tests.unit.cli.conftest import Call

RecordRun = Callable[..., str]


@pytest.fixture
def runs(record_run: RecordRun) -> tuple[str, str, str]:
    """Two good runs, and one in which a type fails."""
    good = {"lab.phc": Outcome.PASS, "lab.drifting": Outcome.FAIL}
    return record_run(good), record_run(good), record_run(good | {"lab.phc": Outcome.FAIL})


def test_a_lost_pass_is_a_regression(call: Call, runs: tuple[str, str, str]) -> None:
    first, second, third = runs
    done = call("diff", third, first, second)
    assert done.returncode == 1
    assert done.stdout.startswith(f"run {third} against ")
    assert "was PASS, is FAIL" in done.stdout
    assert "REGRESSION" in done.stdout
    assert "lab.drifting  FAIL as before" in done.stdout
    document = json.loads(call("diff", third, first, second, "--json").stdout)
    assert (document["regressed"], document["run"], set(document["bases"])) == (True, third, {first, second})


def test_a_regression_is_a_failed_test_of_a_pipeline(call: Call, runs: tuple[str, str, str], tmp_path: Path) -> None:
    first, _, third = runs
    done = call("diff", third, first, "--format", "junit=diff.xml", "-f", "json=diff.json", "-f", "text")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == call("diff", third, first).stdout
    cases = list(ElementTree.parse(tmp_path / "diff.xml").iter("testcase"))
    failed = [(case.get("classname"), case.get("name")) for case in cases if case.find("failure") is not None]
    assert failed == [("lab.phc", "verdict")]
    skipped = [(case.get("classname"), case.get("name")) for case in cases if case.find("skipped") is not None]
    assert skipped == [("lab.phc", "comparison"), ("lab.drifting", "comparison")]
    assert json.loads((tmp_path / "diff.json").read_text()) == json.loads(call("diff", third, first, "--json").stdout)


def test_a_form_of_a_comparison_that_there_is_not_is_refused(call: Call, runs: tuple[str, str, str]) -> None:
    done = call("diff", runs[1], runs[0], "--format", "markdown=diff.md")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--format 'markdown' is not one of text, html, json, junit" in done.stderr


def test_the_page_of_a_comparison_is_written_to_a_file(call: Call, runs: tuple[str, str, str], tmp_path: Path) -> None:
    first, second, third = runs
    done = call("diff", third, first, second, "-f", "html=diff.html")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    page = (tmp_path / "diff.html").read_text()
    assert page == call("diff", third, first, second, "--format", "html").stdout
    assert f"<h1>Run {third} against {first}, {second}</h1>" in page
    assert "lab.phc: was PASS, is FAIL" in page


def test_runs_without_figures_are_compared_by_their_verdicts_which_is_said(
    call: Call, runs: tuple[str, str, str]
) -> None:
    done = call("diff", runs[1], runs[0])
    assert done.returncode == 3
    assert "not compared: lab.phc: this run has no figures of its clock" in done.stdout


def test_a_baseline_is_added_to_listed_taken_and_removed_from(call: Call, runs: tuple[str, str, str]) -> None:
    first, second, third = runs
    assert call("baseline", "list").stderr == "there is no baseline; `ptp-harness baseline add RUN` makes one\n"
    assert call("baseline", "add", first, second).returncode == 0
    assert call("baseline", "add", first, "--name", "other").returncode == 0
    listed = json.loads(call("baseline", "list", "--json").stdout)
    assert {(line["name"], line["run"]) for line in listed} == {
        ("default", first),
        ("default", second),
        ("other", first),
    }
    assert first in call("baseline", "list").stdout
    assert json.loads(call("diff", third, "--json").stdout)["bases"] == [
        line["run"] for line in listed if line["name"] == "default"
    ]
    assert json.loads(call("diff", third, "--baseline", "other", "--json").stdout)["bases"] == [first]
    assert call("baseline", "remove", first).returncode == 0
    assert call("baseline", "remove", "--name", "other").returncode == 0
    assert [line["run"] for line in json.loads(call("baseline", "list", "--json").stdout)] == [second]


@pytest.mark.parametrize(
    ("words", "message", "next_step"),
    [
        (["diff", "THIRD"], "there is no run to compare with: the baseline 'default' is empty", "baseline add RUN"),
        (["diff", "THIRD", "THIRD"], "cannot be compared with itself", "name an earlier run"),
        (["diff", "THIRD", "HOSTS"], "is of bench lab, and others are not", "runs of one bench"),
        (["diff", "THIRD", "zzzz"], "there is no run 'zzzz'", ""),
        (["diff", "OPEN", "THIRD"], "has not ended", "so far"),
        (["baseline", "add", "OPEN"], "has not ended", "add it when it has"),
        (["baseline", "add", "THIRD", "--name", "-x y"], "is no name of a baseline", "at most 64"),
        (["baseline", "remove", "THIRD"], "the baseline default has no run", "baseline list"),
        (["baseline", "remove"], "the baseline default has no run at all", "baseline list"),
        (["baseline", "add", "THIRD", "HOSTS"], "a baseline has runs of one bench", "--name NAME"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_refused(
    call: Call,
    runs: tuple[str, str, str],
    record_run: RecordRun,
    words: list[str],
    message: str,
    next_step: str,
) -> None:
    known = {
        "THIRD": runs[2],
        "OPEN": record_run({"lab.phc": Outcome.PASS}, ended=False),
        "HOSTS": record_run({"mine": Outcome.PASS}, bench="hosts"),
    }
    done = call(*[known.get(word, word) for word in words])
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert next_step in done.stderr


def test_a_ledger_of_before_gets_its_table_of_baselines(call: Call, runs: tuple[str, str, str], tmp_path: Path) -> None:
    call("baseline", "add", runs[0])
    with sqlite3.connect(tmp_path / "state" / "ledger.sqlite") as database:
        assert database.execute("SELECT name, run FROM baselines").fetchall() == [("default", runs[0])]
    database.close()

"""What `-v` and `--log-file` show: programs, calls and events, each in one line that controls no terminal."""

import logging
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import log_options

pytestmark = pytest.mark.programs

Call = Callable[..., "subprocess.CompletedProcess[str]"]

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG  |INFO   ) harness[\w.]*: .*")
INVENTORY = "all: {hosts: {a1: {ansible_host: 127.0.0.1, ansible_port: 9, ansible_user: nobody}}}\n"


def test_the_log_of_a_run_has_its_programs_and_its_events(call: Call, tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text(INVENTORY)
    done = call("run", "--inventory", "hosts.yaml", "a1", "--read-only", "--log-file", "run.log")
    assert done.returncode == 3, done.stderr
    log = (tmp_path / "run.log").read_text().splitlines()
    assert [line for line in log if not LINE.fullmatch(line)] == []
    assert [line for line in log if "ansible-inventory --inventory=hosts.yaml" in line]
    assert [line for line in log if re.search(r"harness.runs.run_events: \w+ a1 provision: ", line)]
    assert " DEBUG " not in done.stderr, "the terminal shows no log unless it is asked for"
    assert stat.S_IMODE((tmp_path / "run.log").stat().st_mode) == 0o600


def test_a_log_file_is_appended_to(call: Call, tmp_path: Path) -> None:
    (tmp_path / "notes.log").write_text("before\n")
    (tmp_path / "hosts.yaml").write_text(INVENTORY)
    assert call("plan", "--inventory", "hosts.yaml", "a1", "--log-file", "notes.log").returncode == 0
    assert (tmp_path / "notes.log").read_text().startswith("before\n20")


def test_verbose_prints_programs_among_the_events_which_are_there_once(call: Call, tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text(INVENTORY)
    done = call("run", "--inventory", "hosts.yaml", "a1", "--read-only", "-v")
    assert done.returncode == 3, done.stderr
    assert re.search(
        r"^20\S+ DEBUG   harness\.system\.proc: \S+ansible-inventory .* ended with 0 after \d", done.stderr, re.M
    )
    assert "harness.runs.run_events" not in done.stderr


def test_a_log_that_cannot_be_written_is_refused_before_anything_is_done(call: Call, tmp_path: Path) -> None:
    done = call("run", "lab.phc", "--log-file", "no/such/folder/run.log")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--log-file: cannot write to no/such/folder/run.log: No such file or directory" in done.stderr
    assert not (tmp_path / "state" / "runs").exists()


def test_a_message_is_one_line_without_control_characters() -> None:
    formatter = log_options.LineFormatter()
    record = logging.LogRecord("harness.x", logging.INFO, "", 0, "a\x1b]52;c;x\x07\nb", None, None)
    assert formatter.format(record).endswith("harness.x: a\\x1b]52;c;x\\x07 | b")

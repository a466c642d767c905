"""The command with real guests: nothing is changed that may not be, and nothing is left whatever ends a run."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness.benches.lab.truths.truths import TRUTHS

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500), pytest.mark.xdist_group("guests")]

COMMAND = [sys.executable, "-m", "harness"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a state directory of its own; whatever a test left in it is removed."""
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}
    yield environ
    call(environ, "sweep", "--yes")


def call(environ: Mapping[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *words], env=environ, cwd=ROOT, capture_output=True, text=True, timeout=1400)


def start(environ: Mapping[str, str], log: Path, *words: str) -> "subprocess.Popen[bytes]":
    with log.open("wb") as out:
        return subprocess.Popen([*COMMAND, *words], env=environ, cwd=ROOT, stdout=out, stderr=out)


def wait_for(log: Path, words: str, child: "subprocess.Popen[bytes]", *, within_s: float = 300) -> None:
    give_up = time.monotonic() + within_s
    while words not in log.read_text():
        assert child.poll() is None, log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.2)


def living(state_dir: str) -> list[str]:
    """Processes of this machine that name the state directory in their command line or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if state_dir.encode() in words and int(process.name) != os.getpid():
            found.append(words.split(b"\0")[0].decode())
    return found


# --- what is looked at ---------------------------------------------------------------------------------------------


def test_a_read_only_run_changes_nothing_and_says_what_it_saw(state: dict[str, str]) -> None:
    done = call(state, "run", "lab.driver-off", "lab.phc", "--read-only", "--duration", "30s", "--json")
    off, on = json.loads(done.stdout)["hosts"]
    assert done.returncode == 1, done.stderr
    for host in (off, on):
        demand = TRUTHS[host["name"]].demand_read_only
        assert demand is not None
        assert (host["outcome"], host["reason"]) == (demand.outcome, demand.reason), host["sentence"]
    assert "--read-only" in off["remedy"]


# --- nothing is left ------------------------------------------------------------------------------------------------


def test_ctrl_c_releases_judges_and_reports(state: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = start(state, log, "run", "lab.phc", "lab.no-phc")
    wait_for(log, "configure", child)
    child.send_signal(signal.SIGINT)
    assert child.wait(120) == 130, log.read_text()
    assert "INCONCLUSIVE  interrupted" in log.read_text()
    assert "released 2 of 2" in log.read_text()
    assert living(state["PTP_HARNESS_STATE_DIR"]) == []
    assert call(state, "sweep").returncode == 0


@pytest.mark.parametrize("moment", ["making its keys", "reach", "configure", "measure"])
def test_after_kill_9_sweep_finds_all_and_removes_it(state: dict[str, str], tmp_path: Path, moment: str) -> None:
    log = tmp_path / "log"
    child = start(state, log, "run", "lab.phc")
    wait_for(log, moment, child)
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    listed = call(state, "sweep")
    assert (listed.returncode, "the process of its run died" in listed.stdout) == (4, True), listed.stderr
    removed = call(state, "sweep", "--yes")
    assert removed.returncode == 0, removed.stderr
    assert [name for name in living(state["PTP_HARNESS_STATE_DIR"]) if "ansible" not in name] == []
    lab = Path(state["PTP_HARNESS_STATE_DIR"]) / "lab" / "hosts"
    assert list(lab.iterdir()) == []
    assert call(state, "sweep").stdout == "nothing is left\n"
    runs = json.loads(call(state, "runs", "--json").stdout)
    record = json.loads(call(state, "report", runs[0]["run"], "--json").stdout)
    host = record["hosts"][0]
    assert (host["outcome"], host["reason"], host["state"]) == ("INCONCLUSIVE", "interrupted", "released")


def test_after_kill_9_resume_ends_what_was_begun(state: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = start(state, log, "run", "lab.no-capacity", "lab.no-phc", "--depth", "quick", "--parallel", "1")
    wait_for(log, "configure", child)
    child.send_signal(signal.SIGKILL)
    child.wait()
    run = json.loads(call(state, "runs", "--json").stdout)[0]
    assert run["state"] == "died"
    resumed = call(state, "resume", run["run"], "--json")
    record = json.loads(resumed.stdout)
    seen = {host["name"]: (host["outcome"], host["reason"], host["state"]) for host in record["hosts"]}
    assert seen == {
        "lab.no-capacity": ("INCONCLUSIVE", "capacity", "released"),
        "lab.no-phc": ("UNSUPPORTED", "no_phc", "released"),
    }, resumed.stderr
    assert "lab.no-capacity    provision" not in resumed.stderr, "it had its verdict"
    assert (resumed.returncode, record["leftovers"], call(state, "sweep").stdout) == (3, [], "nothing is left\n")
    again = call(state, "resume", run["run"])
    assert (again.returncode, "has ended" in again.stderr) == (2, True)


def test_two_runs_at_once_share_one_state_directory(state: dict[str, str], tmp_path: Path) -> None:
    words = ("run", "lab.no-capacity", "--json")
    logs = [tmp_path / "first", tmp_path / "second"]
    children = [start(state, log, *words) for log in logs]
    assert [child.wait(600) for child in children] == [3, 3], [log.read_text() for log in logs]
    assert all("released 1 of 1" in log.read_text() for log in logs)
    runs = json.loads(call(state, "runs", "--json").stdout)
    assert ([run["state"] for run in runs], len({run["run"] for run in runs})) == (["ended", "ended"], 2)
    assert call(state, "sweep").stdout == "nothing is left\n"


# --- what stays -----------------------------------------------------------------------------------------------------


def test_asked_on_the_terminal_hosts_stay_are_entered_and_released(state: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    argv = [*COMMAND, "run", "lab.phc", "lab.no-phc", "--depth", "quick", "--keep", "ask"]
    with subprocess.Popen(argv, env=state, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        said = read_until(ours, "keep which?", within_s=300)
        assert "1  lab.phc" in said
        assert re.search(r"lab\.phc +PASS +synchronised", said), "the verdicts come before the question"
        assert "1 host passed and waits for your choice" in said
        assert re.search(r"HOST +ADDRESS +ZONE +CLOCK +OFFSET +BOUND", said)
        assert re.search(r"1  lab\.phc +127\.0\.\d+\.\d+ +-  +/dev/ptp0 ena-ptp-", said)
        assert "2  lab" not in said, "a host without a clock goes at once"
        os.write(ours, b"2\n")
        read_until(ours, "'2' is not within 1-1; please try again", within_s=30)
        os.write(ours, b"lab.phc\n")
        said = read_until(ours, "kept lab.phc", within_s=60)
        assert "released 1 of 2" in said
        assert child.wait(60) == 3
    os.close(ours)
    run = json.loads(call(state, "runs", "--json").stdout)[0]["run"]
    swept = call(state, "sweep").stdout
    assert swept.endswith("nothing else is left\n"), "what was chosen is not swept"
    assert call(state, "ssh", run, "lab.phc", "--", "cat", "/sys/class/ptp/ptp0/clock_name").stdout.startswith(
        "ena-ptp-"
    )
    refused = call(state, "ssh", run, "lab.no-phc", "true")
    assert (refused.returncode, "lab.no-phc of run" in refused.stderr) == (2, True)
    assert call(state, "release", run).stderr == "lab.phc is released\n"
    assert living(state["PTP_HARNESS_STATE_DIR"]) == []
    hosts = json.loads(call(state, "report", run, "--json").stdout)["hosts"]
    assert [host["state"] for host in hosts] == ["released", "released"]


def read_until(terminal: int, words: str, *, within_s: float) -> str:
    said, give_up = "", time.monotonic() + within_s
    while words not in said:
        ready, _, _ = select.select([terminal], [], [], max(0.0, give_up - time.monotonic()))
        assert ready, said
        said += os.read(terminal, 4096).decode(errors="replace")
    return said

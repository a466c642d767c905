"""What the command says to a bad request: one sentence that names it, what to do, exit code 2, and no traceback."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.model.bench_traits import BenchName

BENCHES = " or ".join(", ".join(BenchName).rsplit(", ", 1))
Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "lab.fhc"], "no type 'lab.fhc' on bench lab; did you mean lab.phc or "),
        (["run", "lab.phc", "--depth", "full", "--read-only"], "--depth: full reboots the hosts, which read_only"),
        (["run", "m7i.large", "--bench", "ec2"], "no Region is known"),
        (["run", "lab.phc", "--bench", "moon"], f"--bench: is 'moon'; write {BENCHES}"),
        (["run", "lab.phc", "--duration", "soon"], "--duration: is 'soon'; write a duration"),
        (["run", "nowhere.yaml"], "cannot read the campaign file nowhere.yaml: No such file or directory"),
        (["plan", "lab.phc", "--parallel", "0"], "'--parallel'"),
        (["report", "zzzz"], "there is no run 'zzzz'"),
        (["show", "zzzz"], "there is no run 'zzzz'"),
        (["lab", "up", "lab.fhc"], "the lab has no type 'lab.fhc'"),
        (["lab", "ssh", "nobody"], "there is no lab host 'nobody'"),
        (["lab", "join", "nobody", "nobody"], "there is no lab host 'nobody'"),
        (["lab", "copy", "here", "there"], "exactly one of SOURCE and TARGET must be on a lab host"),
        (["lab", "copy", "a:/x", "b:/y"], "exactly one of SOURCE and TARGET must be on a lab host"),
        (["lab", "copy", "nobody:/x", "y"], "there is no lab host 'nobody'"),
        (["lab", "snapshot", "create", "nobody", "x"], "there is no lab host 'nobody'"),
        (["lab", "snapshot", "restore", "x"], "there is no snapshot 'x'"),
        (["lab", "snapshot", "delete", "../x"], "there is no snapshot '../x'"),
        (["lab", "pool", "lab.fhc"], "the lab has no type 'lab.fhc'"),
        (["lab", "pool", "lab.phc", "--size", "99"], "a pool of 99 warm guests cannot be kept with at most"),
        (["lab", "pool", "lab.unreachable"], "lab.unreachable accepts no login"),
        (["lab", "pool", "lab.phc", "--ttl", "10"], "--ttl is '10': it must be a duration with its unit"),
        (["lab", "exec", "--wait", "soon", "lab.phc", "true"], "--wait is 'soon': it must be a duration"),
        (["lab", "exec", "lab.fhc", "true"], "the lab has no type 'lab.fhc'"),
        (["lab", "down"], "say which hosts to remove"),
        (["run", "lab.phc", "--keep", "ask"], "keep: ask needs a terminal to ask on"),
        (["campaign", "check", "nowhere.yaml"], "cannot read the campaign file nowhere.yaml"),
        (["report", "zzzz", "--format", "xml"], "'xml' is not one of"),
        (["doctor", "--bench", "moon"], "there is no bench 'moon'"),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_a_bad_request_is_one_sentence(call: Call, words: list[str], said: str) -> None:
    done = call(*words)
    assert said in done.stderr
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_every_mistake_of_a_campaign_file_is_named_at_once(call: Call, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("instance_type: [lab.phc]\ninstance_types: [lab.phc]\nkeep: all\nparallel: 0\n")
    done = call("plan", "c.yaml")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "ptp-harness: 3 mistakes in campaign c.yaml",
        "c.yaml:1: instance_type: unknown key; did you mean 'instance_types'?",
        "c.yaml:3: keep: is 'all'; write none, supported or ask",
        "c.yaml:4: parallel: is 0; write a whole number from 1 to 1000",
        "  next: `ptp-harness campaign keys` explains every key",
    ]


def test_a_broken_campaign_file_is_named_with_its_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("instance_types: [lab.phc\nkeep: none\n")
    done = call("run", "c.yaml")
    assert done.returncode == 2
    assert "c.yaml:2:" in done.stderr


def test_a_state_directory_that_cannot_be_written_is_one_sentence(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call("runs", PTP_HARNESS_STATE_DIR=str(tmp_path / "file" / "state"))
    assert done.returncode == 2
    assert "cannot write to" in done.stderr
    assert "PTP_HARNESS_STATE_DIR" in done.stderr


def test_a_program_gets_the_plan_as_json(call: Call) -> None:
    done = call("plan", "lab.phc", "lab.phc", "lab.no-phc", "--json")
    assert done.returncode == 0
    made = json.loads(done.stdout)
    assert [host["name"] for host in made["hosts"]] == ["lab.phc", "lab.phc-2", "lab.no-phc"]
    assert call("plan", "lab.phc", "lab.phc", "lab.no-phc").stdout.startswith("3 hosts on bench lab")


def test_nothing_is_left_where_nothing_was_made(call: Call) -> None:
    assert (call("sweep").stdout, call("runs").stderr) == (
        "nothing is left\n",
        "no runs yet; `ptp-harness run lab.phc` makes one\n",
    )


def test_ctrl_c_while_the_command_is_loaded_is_no_traceback() -> None:
    program = (
        "import importlib.abc, signal, sys\n"
        "class Impatient(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'harness.cli.app':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "from harness.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "ptp-harness: interrupted\n")

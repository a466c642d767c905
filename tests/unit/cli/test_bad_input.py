"""What goes wrong around a run: each time a sentence that names what, where and what to do, and never a traceback.

The hosts are an inventory's, at an address of this machine where nobody listens: whole runs, without guests.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.store.ledger import Ledger

Call = Callable[..., "subprocess.CompletedProcess[str]"]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceholderPlaceholderPlaceholderPlaceholder"
RUN = ("run", "--inventory", "hosts.yaml", "all", "--read-only", "--json")


@pytest.fixture
def port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def inventory(tmp_path: Path, port: int) -> Callable[..., None]:
    """Writes hosts.yaml with the host `mine`, with such variables."""
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {KEY}\n")

    def write(**variables: object) -> None:
        mine = {
            "ansible_host": "127.0.0.1",
            "ansible_port": port,
            "ptp_harness_known_hosts": str(tmp_path / "known_hosts"),
            **variables,
        }
        (tmp_path / "hosts.yaml").write_text(json.dumps({"all": {"hosts": {"mine": mine}}}))

    return write


def only_host(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    (host,) = json.loads(done.stdout)["hosts"]
    return dict(host)


def said_next(done: "subprocess.CompletedProcess[str]") -> str:
    """The last line of a refusal: what to do."""
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    what, *_lines, following = done.stderr.splitlines()
    assert what.startswith("ptp-harness: ")
    assert following.startswith("  next: ")
    return following.removeprefix("  next: ")


@pytest.mark.parametrize(
    ("text", "what", "following"),
    [
        ("instance_types: [lab.phc\nkeep: none\n", "c.yaml:2:5: expected ',' or ']'", "look at that place"),
        ("instance_type: [lab.phc]\n", "c.yaml:1: instance_type: unknown key; did you mean 'instance_types'?", "keys"),
        (
            "instance_types: [lab.phc]\nread_only: true\ndepth: full\n",
            "c.yaml:3: depth: full reboots the hosts, which read_only does not allow",
            "keys",
        ),
        ("{instance_types: [a], bench: lab, inventory: hosts.yaml}", "the bench is lab, not hosts", "keys"),
    ],
)
def test_a_campaign_file(call: Call, tmp_path: Path, text: str, what: str, following: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    done = call("run", "c.yaml")
    assert following in said_next(done)
    assert what in done.stderr


@pytest.mark.parametrize("word", ["a\x1b[2J", "a\nb", os.fsdecode(b"\xff"), "x" * 5000], ids=ascii)
@pytest.mark.parametrize("verb", [["show"], ["run"], ["plan", "lab.phc", "--region"], ["campaign", "check"]])
def test_a_word_of_the_command_line_can_be_shown(call: Call, verb: list[str], word: str) -> None:
    done = call(*verb, word)
    assert said_next(done) == "`ptp-harness COMMAND --help`"
    assert "of the command line h" in done.stderr
    assert len(done.stderr) < 500


def test_a_command_for_a_host_may_hold_anything(call: Call) -> None:
    done = call("ssh", "k3f9", "lab.phc", "echo a\nb")
    assert "there is no run 'k3f9'" in done.stderr


def test_a_template_in_a_flag_is_refused(call: Call) -> None:
    done = call("plan", "{{ lookup('pipe', 'id') }}")
    assert "instance_types.0: holds '{{', which begins a template" in done.stderr
    assert said_next(done)


def test_a_campaign_file_that_never_ends(call: Call) -> None:
    done = call("campaign", "check", "/dev/zero")
    assert "/dev/zero: more than 262144 bytes are no campaign" in done.stderr
    assert said_next(done) == "split the file"


def test_what_is_written_is_for_its_user_alone(call: Call, inventory: Callable[..., None], tmp_path: Path) -> None:
    inventory()
    call(*RUN, PTP_HARNESS_SSH_TRIES="1")
    written = list((tmp_path / "state").rglob("*"))
    assert {path.name for path in written} >= {"ledger.sqlite", "campaign.json"}
    assert [path for path in written if path.stat().st_mode & 0o077] == []


def test_contradictory_flags(call: Call) -> None:
    done = call("run", "lab.phc", "--depth", "full", "--read-only")
    assert "ptp-harness run --help" in said_next(done)


@pytest.mark.programs
@pytest.mark.parametrize(("key", "why"), [("nowhere/key", "No such file or directory"), (".", "Is a directory")])
def test_an_ssh_key_that_cannot_be_read(
    call: Call, inventory: Callable[..., None], tmp_path: Path, key: str, why: str
) -> None:
    inventory(ansible_ssh_private_key_file=str(tmp_path / key))
    host = only_host(call(*RUN))
    assert (host["outcome"], host["reason"]) == ("INCONCLUSIVE", "launch_failed")
    assert f"its SSH key {tmp_path / key} cannot be read: {why}" in host["sentence"]
    assert "correct the key's path or mode, or ansible_ssh_private_key_file in hosts.yaml" in host["sentence"]


@pytest.mark.programs
def test_a_host_that_does_not_answer(call: Call, inventory: Callable[..., None], port: int) -> None:
    inventory()
    host = only_host(call(*RUN, PTP_HARNESS_SSH_TRIES="2", PTP_HARNESS_SSH_BACKOFF="0.1"))
    assert (host["outcome"], host["reason"]) == ("INCONCLUSIVE", "unreachable")
    assert f"127.0.0.1 port {port}: Connection refused" in host["sentence"]
    assert "see whether it runs and answers SSH" in host["remedy"]


@pytest.mark.programs
def test_a_run_says_beforehand_what_its_plan_warns_of(call: Call, inventory: Callable[..., None]) -> None:
    inventory()
    done = call(*RUN, "--duration", "10s", "--keep", "supported", PTP_HARNESS_SSH_TRIES="1")
    first, *_ = done.stderr.splitlines()
    assert first == "warning: 10 samples are fewer than the 45 that limits need: no host can pass"
    assert "warning: hosts that pass are kept" not in done.stderr, "own machines stay anyway"


@pytest.mark.programs
def test_two_runs_at_once_on_one_state_directory(call: Call, inventory: Callable[..., None], tmp_path: Path) -> None:
    inventory()
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state"), "PTP_HARNESS_SSH_TRIES": "2"}
    argv = [sys.executable, "-m", "harness", *RUN]
    children = [
        subprocess.Popen(argv, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    reports = []
    for child in children:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 3, err
        reports.append(json.loads(out))
    assert [report["hosts"][0]["reason"] for report in reports] == ["unreachable", "unreachable"]
    runs = {report["run"] for report in reports}
    assert len(runs) == 2
    listed = json.loads(call("runs", "--json").stdout)
    assert {line["run"]: line["state"] for line in listed} == dict.fromkeys(runs, "ended")
    for run in runs:
        evidence = tmp_path / "state" / "runs" / run
        check = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=evidence, check=False)
        assert check.returncode == 0


@pytest.fixture
def died(tmp_path: Path) -> str:
    """A run whose process was killed while it worked on its host."""
    program = (
        "import sys, time; from harness.store.ledger import Ledger; from harness.model import Stage\n"
        f"books = Ledger('sqlite:///{tmp_path}/state/ledger.sqlite')\n"
        "run = books.open_run(bench='lab', campaign={}, hosts={'lab.phc': 'lab.phc'})\n"
        "books.begin_step(books.claim(run).token, Stage.MEASURE); print(run, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        run = child.stdout.readline().strip()
        child.send_signal(signal.SIGKILL)
    return run


@pytest.mark.programs
def test_a_dead_run_is_named_and_closed(call: Call, inventory: Callable[..., None], died: str, tmp_path: Path) -> None:
    inventory()
    assert only_host(call(*RUN, PTP_HARNESS_SSH_TRIES="1"))["reason"] == "unreachable", "it stops no other run"
    done = call("report", died)
    assert "`ptp-harness sweep --yes`" in said_next(done)
    assert re.search(rf"run {died} of [0-9: -]+ UTC has no report: its process \d+ died", done.stderr)
    assert f"closed the books of {died}" in call("sweep", "--yes").stdout
    (host,) = json.loads(call("report", died, "--json").stdout)["hosts"]
    assert (host["outcome"], host["reason"], host["state"]) == ("INCONCLUSIVE", "interrupted", "released")


def test_a_run_under_way_is_named(call: Call, tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"})
    done = call("report", run)
    assert f"`ptp-harness show {run}`" in said_next(done)
    assert f"run {run} has not ended: it runs since " in done.stderr
    assert f", process {os.getpid()} leads it since" in done.stderr


@pytest.mark.programs
def test_a_host_that_a_run_has_not_is_refused_with_those_that_it_has(call: Call, died: str) -> None:
    done = call("show", died, "lab.phx")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"run {died} has no host 'lab.phx'" in done.stderr
    assert said_next(done) == "its hosts: lab.phc"

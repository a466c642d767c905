"""`show --follow`: the events of a run that somebody else leads, until it ends."""

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.model import HostState, Outcome, RunRecord, Stage
from harness.store.ledger import Ledger

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_run_that_ended_is_printed_whole_and_from_a_number_on(call: Call, record_run: Callable[..., str]) -> None:
    run = record_run({"lab.phc": Outcome.PASS})
    done = call("show", run, "--follow")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [(number, rest) for number, _time, rest in lines] == [
        ("1", "begins, hosts: 1"),
        ("2", "lab.phc          provision"),
        ("3", "lab.phc          provision  done"),
        ("4", "lab.phc          release    released"),
        ("5", "ended: 1 PASS"),
    ]
    assert call("show", run, "--follow", "--since", "3").stdout.splitlines() == done.stdout.splitlines()[3:]
    assert call("show", run, "lab.phc", "-f").stdout.splitlines() == done.stdout.splitlines()[1:4]
    documents = [json.loads(line) for line in call("show", run, "-f", "--json").stdout.splitlines()]
    assert [one["number"] for one in documents] == [1, 2, 3, 4, 5]
    assert (documents[2]["host"], documents[2]["stage"], documents[2]["text"]) == ("lab.phc", "provision", "done")


def test_a_run_under_way_is_followed_to_its_end(call: Call, ledger: Ledger, tmp_path: Path) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"})
    (earlier,) = [host for host in ledger.record("3a5r").hosts if host.name == "lab.phc"]  # type: ignore[union-attr]

    def go_on() -> None:
        token = ledger.own_host(run, "lab.phc").token
        ledger.end_step(ledger.begin_step(token, Stage.REACH), "done")
        ledger.record_state(token, replace(earlier, state=HostState.RELEASED))
        ledger.close_run(
            RunRecord(run=run, bench="lab", started="", seconds=1.0, interrupted=False, hosts=(earlier,), leftovers=())
        )

    threading.Timer(2, go_on).start()
    done = call("show", run, "--follow")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith("ended: 1 PASS")
    assert len(done.stdout.splitlines()) == 5


def test_since_without_follow_is_refused(call: Call, ledger: Ledger) -> None:
    done = call("show", "3a5r", "--since", "7")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--since goes with --follow" in done.stderr

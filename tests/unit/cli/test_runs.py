"""`runs`, `show` and `sweep` say how runs went and what they keep; `last` names the newest run."""

import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.quality import compute_quality
from harness.model import Evidence, HostState, Outcome, Stage
from harness.store.ledger import Ledger
from harness.store.owners import name_user

Call = Callable[..., "subprocess.CompletedProcess[str]"]
Record = Callable[..., str]
PASS, FAIL, UNSUPPORTED = Outcome.PASS, Outcome.FAIL, Outcome.UNSUPPORTED


@pytest.fixture
def call(call: Call) -> Call:
    return call


def test_runs_says_how_many_hosts_got_which_verdict(call: Call, record_run: Record) -> None:
    run = record_run({"a": PASS, "b": FAIL, "c": PASS, "d": UNSUPPORTED})
    newest, earlier = call("runs").stdout.splitlines()
    assert newest.split("  ")[0] == run
    assert "ended  2 PASS, 1 UNSUPPORTED, 1 FAIL  -  -  a, b, c, d" in newest
    assert "ended  2 PASS, 1 UNSUPPORTED, 1 FAIL  -  -  lab.phc, lab.driver-off, lab.no-phc, lab.drifting" in earlier


def test_runs_are_chosen_by_type_outcome_and_time(call: Call, record_run: Record) -> None:
    good = record_run({"m7i.large": PASS, "m5.large": UNSUPPORTED}, bench="ec2")
    bad = record_run({"m7i.large": FAIL}, bench="ec2")

    def listed(*words: str) -> list[str]:
        return [line["run"] for line in json.loads(call("runs", "--json", *words).stdout)]

    assert listed() == [bad, good, "3a5r"]
    assert listed("--type", "m5*") == [good]
    assert listed("--type", "m5*", "--type", "lab.phc") == [good, "3a5r"]
    assert listed("--failed") == [bad, "3a5r"]
    assert listed("--since", "1h") == [bad, good]
    assert listed("--since", "2020-01-01") == [bad, good, "3a5r"]
    none = call("runs", "--since", "2099-01-01T00:00:00Z")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no run matches\n")


# --- by figures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def measure(ledger: Ledger, record_run: Record, good: Evidence) -> Callable[..., str]:
    """Records a run of hosts with these offsets, ns, whose bounds are ten times as large; None: without figures."""
    quality = compute_quality(good, interval_s=1.0)
    assert quality is not None
    assert quality.error_bound_ns is not None

    def record(*offsets_ns: float | None) -> str:
        run = record_run({f"h{number}": PASS for number in range(len(offsets_ns))})
        for line, offset_ns in zip(ledger.hosts(run), offsets_ns, strict=True):
            if offset_ns is not None:
                figures = replace(
                    quality,
                    offset_ns=replace(quality.offset_ns, p99_abs=offset_ns),
                    error_bound_ns=replace(quality.error_bound_ns, p99_abs=10 * offset_ns),
                )
                assert line.record is not None
                ledger.record_state(ledger.own_host(run, line.host).token, replace(line.record, quality=figures))
        return run

    return record


def test_runs_show_the_worst_figures_of_their_hosts(call: Call, measure: Callable[..., str]) -> None:
    run = measure(120.0, 5_000.0, None)
    newest, earlier = call("runs").stdout.splitlines()
    assert newest.startswith(run)
    assert "  3 PASS" in newest
    assert "  offset 5 us, bound 50 us  -  h0, h1, h2" in newest
    assert "FAIL  -  " in earlier
    documents = {line["run"]: line for line in json.loads(call("runs", "--json").stdout)}
    assert (documents[run]["offset_p99_ns"], documents[run]["bound_p99_ns"]) == (5000.0, 50_000.0)
    assert (documents["3a5r"]["offset_p99_ns"], documents["3a5r"]["bound_p99_ns"]) == (None, None)


def test_runs_are_chosen_and_sorted_by_figures(call: Call, measure: Callable[..., str]) -> None:
    small, large, none, middle = measure(10.0), measure(20.0, 900_000.0), measure(None), measure(2_000.0)

    def listed(*words: str) -> list[str]:
        return [line["run"] for line in json.loads(call("runs", "--json", *words).stdout)]

    for figure in ("offset", "bound"):
        assert listed("--sort", figure) == [large, middle, small, none, "3a5r"]
    assert listed("--min-offset", "2us") == [middle, large]
    assert listed("--min-offset", "2us", "--sort", "offset") == [large, middle]
    assert listed("--min-bound", "1ms") == [large]
    assert listed("--sort", "offset", "--since", "1h", "--type", "h0") == [large, middle, small, none]
    nothing = call("runs", "--min-offset", "1s")
    assert (nothing.returncode, nothing.stderr) == (0, "no run matches\n")


def test_pages_of_a_sorted_list_have_each_run_once(call: Call, measure: Callable[..., str]) -> None:
    """Also where figures are equal, or lack."""
    for offset_ns in (50.0, None, 50.0, 7.0, None, 50.0, 80.0):
        measure(offset_ns)
    whole = [line["run"] for line in json.loads(call("runs", "--json", "--sort", "offset").stdout)]
    assert len(whole) == len(set(whole)) == 8
    pages: list[str] = []
    words = ["runs", "--sort", "offset", "--limit", "2"]
    done = call(*words)
    while True:
        pages += [line.split()[0] for line in done.stdout.splitlines()]
        if not done.stderr:
            break
        assert done.stderr == f"more runs: ptp-harness runs --sort offset --after {pages[-1]}\n"
        done = call(*words, "--after", pages[-1])
    assert pages == whole
    newest = [line["run"] for line in json.loads(call("runs", "--json").stdout)]
    assert [line["run"] for line in json.loads(call("runs", "--json", "--after", newest[2]).stdout)] == newest[3:]


@pytest.mark.parametrize("option", ["--min-offset", "--min-bound"])
@pytest.mark.parametrize("value", ["20", "-1us", "20ppm", "fast"])
def test_a_figure_that_is_none_is_refused(call: Call, option: str, value: str) -> None:
    done = call("runs", f"{option}={value}")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{option} is {value!r}: it must be a time with its unit, such as 500ns, 20us or 1.5ms" in done.stderr


def test_a_time_beyond_all_runs_is_no_error(call: Call, record_run: Record) -> None:
    record_run({"lab.phc": PASS})
    assert len(json.loads(call("runs", "--json", "--since", "0001-01-01").stdout)) == 2
    assert call("runs", "--since", "9999-12-31").stderr == "no run matches\n"


@pytest.mark.parametrize("when", ["soon", "12", "2026-13-01", "99999999999d"])
def test_a_time_that_is_none_is_refused(call: Call, when: str) -> None:
    done = call("runs", "--since", when)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"ptp-harness: --since is {when!r}: it must be a duration such as 12h or 7d, or a date"
    )


def test_a_kept_host_is_visible_with_its_end_and_its_removal(call: Call, ledger: Ledger, record_run: Record) -> None:
    run = record_run({"m7i.large": PASS}, bench="ec2", state=HostState.KEPT, lease_s=3600.0)
    (line,) = json.loads(call("runs", "--json", "--type", "m7i.large").stdout)
    assert line["kept"] == 1
    until = line["kept_until"][11:16]
    done = call("runs")
    assert "kept 1 until " in done.stdout.splitlines()[0]
    assert f"{until} UTC" in done.stdout.splitlines()[0]
    assert done.stderr == f"remove kept hosts: ptp-harness release {run}\n"
    shown = call("show", run).stdout.splitlines()[-1]
    assert shown.startswith("kept 1 until ")
    (keeper,) = line["kept_by"]
    assert keeper.endswith(f"@{socket.gethostname()}")
    assert shown.endswith(f"{until} UTC by {keeper}; remove with `ptp-harness release {run}`")


def test_what_kept_hosts_cost_so_far_is_told(call: Call, ledger: Ledger, record_run: Record) -> None:
    run = record_run({"m7i.large": PASS}, bench="ec2", state=HostState.KEPT, lease_s=3600.0)
    token = ledger.own_host(run, "m7i.large").token
    (record,) = [line.record for line in ledger.hosts(run) if line.record is not None]
    an_hour_at_60_usd = {Stage.MEASURE: 3600.0}
    ledger.record_state(token, replace(record, cost_usd=60.0, stages=an_hour_at_60_usd))
    (line,) = json.loads(call("runs", "--json", "--type", "m7i.large").stdout)
    assert line["kept_cost_usd"] == 1.0, "a minute at least"
    assert "($1.00 so far)" in call("show", run).stdout


def test_runs_are_shown_in_pages(call: Call, record_run: Record) -> None:
    made = [record_run({"lab.phc": PASS}) for _ in range(3)]
    first = call("runs", "--limit", "2")
    shown = [line.split()[0] for line in first.stdout.splitlines()]
    assert {*shown} <= {*made}
    assert first.stderr == f"older runs: ptp-harness runs --before {shown[-1]}\n"
    rest = call("runs", "--before", shown[-1])
    assert [line.split()[0] for line in rest.stdout.splitlines()] == [*({*made} - {*shown}), "3a5r"]
    assert rest.stderr == ""
    unknown = call("runs", "--before", "zzzz")
    assert (unknown.returncode, "there is no run 'zzzz'" in unknown.stderr) == (2, True)


def test_a_kept_host_whose_lease_ended_is_not_said_to_run(call: Call, record_run: Record) -> None:
    record_run({"m7i.large": PASS}, bench="ec2", state=HostState.KEPT, lease_s=0.001)
    assert "kept 1 whose lease ended " in call("runs").stdout


def test_sweep_names_what_is_kept_on_purpose(call: Call, record_run: Record) -> None:
    run = record_run({"lab.phc": PASS}, state=HostState.KEPT)
    done = call("sweep")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"run {run} kept 1 by {name_user()} on purpose (lab.phc); remove with `ptp-harness release {run}`\n"
        "nothing else is left\n",
        "",
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--older-than", "soon"], "--older-than is 'soon': it must be a duration such as 30m, 12h or 7d"),
        (["--bench", "hosts"], "--bench is 'hosts': hosts are made, and removed, by ec2 and lab alone"),
        (["--bench", "lap"], "--bench is 'lap': hosts are made, and removed, by ec2 and lab alone"),
    ],
)
def test_a_sweep_that_cannot_be_meant_is_refused(call: Call, words: list[str], told: str) -> None:
    done = call("sweep", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"ptp-harness: {told}\n  next: `ptp-harness sweep --help`\n"


def test_a_sweep_gives_a_program_all_that_it_shows(call: Call, record_run: Record) -> None:
    run = record_run({"lab.phc": PASS}, state=HostState.KEPT)
    assert json.loads(call("sweep", "--json").stdout) == {
        "searched": [{"bench": "lab", "region": None}],
        "not_searched": [],
        "left": [],
        "not_selected": 0,
        "left_alone": [],
        "kept": [{"run": run, "hosts": ["lab.phc"], "until": None, "by": [name_user()], "cost_usd": None}],
    }
    swept = json.loads(call("sweep", "--json", "--yes").stdout)
    assert (swept["removed"], swept["expired"], swept["closed"], swept["failed"]) == ([], [], [], [])


def test_last_is_the_newest_run(call: Call, record_run: Record) -> None:
    run = record_run({"lab.phc": PASS}, state=HostState.KEPT)
    assert json.loads(call("show", "last", "--json").stdout)["run"] == run
    assert json.loads(call("report", "last", "--json").stdout)["run"] == run
    assert f"run {run} has ended" in call("resume", "last").stderr
    assert f"lab.phc of run {run} does not run" in call("keep", "last", "lab.phc").stderr
    assert f"lab.phc of run {run} does not run" in call("ssh", "last", "lab.phc").stderr
    assert "lab.phc is released" in call("release", "last").stderr


def test_last_of_no_runs_is_refused(call: Call) -> None:
    done = call("show", "last")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ptp-harness: there is no run yet\n  next: `ptp-harness run lab.phc` makes one\n"


def test_show_gives_a_program_all_that_it_shows(call: Call, ledger: Ledger, record_run: Record) -> None:
    record_run({"lab.phc": PASS})
    shown = json.loads(call("show", "3a5r", "lab.drifting", "--json").stdout)
    assert {key: shown[key] for key in ("schema", "run", "bench", "state", "kept_until")} == {
        "schema": 1,
        "run": "3a5r",
        "bench": "lab",
        "state": "ended",
        "kept_until": None,
    }
    (host,) = shown["hosts"]
    assert (host["name"], host["outcome"], host["state"]) == ("lab.drifting", "FAIL", "released")
    assert [step["stage"] for step in shown["steps"]][:2] == ["provision", "reach"]
    assert all(step["result"] == "done" and step["seconds"] >= 0 for step in shown["steps"])


def test_show_gives_a_program_hosts_without_a_verdict(call: Call, ledger: Ledger) -> None:
    run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"})
    shown = json.loads(call("show", run, "--json").stdout)
    assert shown["hosts"] == [{"name": "lab.phc", "instance_type": "lab.phc", "outcome": None, "state": None}]
    assert shown["state"] == "under way"
    assert call("show", run).stdout == "lab.phc: no verdict yet\n"


def test_own_machines_are_neither_provisioned_nor_kept_nor_released(
    call: Call, record_run: Record, tmp_path: Path
) -> None:
    (tmp_path / "hosts.yaml").write_text("all: {hosts: {mine: {}}}\n")
    run = record_run({"mine": PASS}, bench="hosts", state=HostState.KEPT)
    shown = call("show", run).stdout
    for text in (shown, call("report", run, "--format", "markdown").stdout, call("report", run, "-f", "junit").stdout):
        assert "provision" not in text
        assert "release" not in text
        assert "stays" in text
    assert "look up" in shown
    assert "kept" not in call("runs").stdout
    for words in (["release", run], ["keep", run, "mine"]):
        done = call(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"the hosts of run {run} are your own machines" in done.stderr


def test_plan_gives_a_program_the_limits(call: Call) -> None:
    made = json.loads(call("plan", "lab.phc", "--json", "--duration", "30s").stdout)
    assert (made["depth"], made["measure"]) == ("standard", {"duration_s": 30.0, "interval_s": 1.0})
    assert {"quantity", "statistic", "comparison", "value", "unit", "source"} <= made["limits"][0].keys()
    assert "offset_ns" in {limit["quantity"] for limit in made["limits"]}

"""Which commands a service carries out, which are refused where one is named, and how it is named."""

import importlib
import inspect
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.cli.commands import COMMANDS, Command, Group
from harness.cli.remote_dispatch import OF_RUNS_HERE, REMOTE
from harness.model.tasks import Scope, TaskState
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.servers.service import RunningService, running_service

Call = Callable[..., "subprocess.CompletedProcess[str]"]
URL = "https://ptp.example.org"


def functions(entries: object = COMMANDS) -> Iterator[str]:
    """The functions of all commands."""
    assert isinstance(entries, dict)
    for entry in entries.values():
        if isinstance(entry, Group):
            yield from functions(entry.entries)
        elif isinstance(entry, Command):
            yield entry.function


def load(function: str) -> Callable[..., object]:
    module, _, name = function.partition(":")
    loaded: Callable[..., object] = getattr(importlib.import_module(module), name)
    return loaded


def test_the_tables_name_commands() -> None:
    assert {*REMOTE, *OF_RUNS_HERE} <= set(functions())
    assert not set(REMOTE) & set(OF_RUNS_HERE)


@pytest.mark.parametrize(("local", "remote"), REMOTE.items())
def test_the_form_for_a_service_takes_the_parameters_of_its_command(local: str, remote: str) -> None:
    ours, theirs = (inspect.signature(load(function)).parameters for function in (local, remote))
    named = [name for name, value in theirs.items() if value.kind is not inspect.Parameter.VAR_KEYWORD]
    takes_all = len(named) < len(theirs)
    assert named[0] == "server"
    assert set(named[1:]) <= set(ours)
    assert takes_all or set(ours) == set(named[1:])


@pytest.mark.parametrize("words", [["resume", "last"], ["judge", "last"], ["samples", "last", "a"], ["sweep"]])
def test_a_command_about_runs_of_this_machine_is_refused(call: Call, words: list[str]) -> None:
    for done in (call("--server", URL, *words), call(*words, PTP_HARNESS_SERVER=URL)):
        assert f"`{words[0]}` has no form for a service" in done.stderr
        assert "next: call it on the machine of the service" in done.stderr
        assert done.returncode == 2


def test_a_command_about_this_machine_goes_on_unless_the_command_line_names_a_service(call: Call) -> None:
    assert call("profiles", PTP_HARNESS_SERVER=URL).returncode == 0
    assert call("--server", URL, "profiles").returncode == 2


def test_help_is_there_with_a_service_too(call: Call) -> None:
    done = call("--server", URL, "judge", "--help")
    assert done.returncode == 0
    assert "Judge an ended run again" in done.stdout


def test_an_empty_name_is_no_service(call: Call) -> None:
    for done in (call("runs", PTP_HARNESS_SERVER=""), call("--server", "", "runs", PTP_HARNESS_SERVER=URL)):
        assert "no runs yet" in done.stderr
        assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--server", "ptp.example.org", "runs"], "is not one of http:// or https://"),
        (["--server", "http://127.0.0.1:9", "--token-file", "nowhere", "runs"], "cannot read the token in nowhere"),
        (["--server", URL, "run", "lab.phc", "--join", "k3f9"], "--join helps with a run of a ledger"),
        (["--server", URL, "run"], "nothing to run"),
        (["--server", URL, "run", "lab.phc", "--detach", "--json"], "--detach ends before there is a report"),
        (["--server", URL, "run", "lab.phc", "--duration", "soon"], "--duration: is 'soon'"),
        (["--server", URL, "show", "last", "--watch"], "--watch draws the samples of this machine"),
        (["--server", URL, "show", "last", "--since", "3"], "--since goes with --follow"),
        (["run", "lab.phc", "--site", "rack7"], "--site, --priority and --detach go with a service"),
        (["site", "add", "Rack", "ftp://x", "lab"], "the site: 'Rack' is no name"),
        (["site", "remove", "rack7"], "there is no site 'rack7' in the ledger"),
        (["serve", "--site-token", "a=b"], "--site-token goes with --registry"),
        (["serve", "--registry", "ftp://x"], "is of no kind that is read"),
        (["serve", "--registry", "ledger", "--registry-every", "soon"], "--registry-every is 'soon'"),
        (["serve", "--registry", "ledger", "--site-token", "x"], "--site-token is 'x'"),
        (["site", "sync"], "asks a service to read its registry, and none is named"),
    ],
)
def test_a_bad_request_is_one_sentence(call: Call, words: list[str], said: str) -> None:
    done = call(*words)
    assert said in done.stderr
    assert (done.returncode, done.stdout) == (2, "")


def test_a_token_of_more_than_a_line_is_refused_and_not_shown(call: Call, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("ptph_secret one\ntwo\n")
    done = call("--server", "http://127.0.0.1:9", "--token-file", "token", "runs")
    assert "the token is none" in done.stderr
    assert "secret" not in done.stderr


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with running_service(f"sqlite:///{tmp_path / 'theirs.sqlite'}", tmp_path / "theirs") as running:
        yield running


@pytest.fixture
def ask(call: Call, service: RunningService) -> Call:
    """The command with the service, and a token of a scope."""

    def run(*words: str, scope: Scope = Scope.OPERATE) -> "subprocess.CompletedProcess[str]":
        return call(*words, PTP_HARNESS_SERVER=service.url, PTP_HARNESS_TOKEN=service.tokens[scope])

    return run


def test_runs_of_a_service_are_listed_as_those_of_this_machine(call: Call, ask: Call, service: RunningService) -> None:
    assert "no runs yet" in ask("runs").stderr
    first = add_run(service.ledger, [MadeUpHost(outcome=None)], ended=True)
    names = [add_run(service.ledger, [MadeUpHost(instance_type="lab.good", offset_ns=80.0)]) for _ in range(3)]
    here = call("runs", PTP_HARNESS_LEDGER_URL=str(service.ledger.url))
    there = ask("runs")
    assert there.stdout == here.stdout
    assert [line.split()[0] for line in there.stdout.splitlines()] == [*names[::-1], first]
    assert ask("runs", "--type", "lab.good", "--limit", "2").stdout.split()[0] == names[2]
    assert f"--after {names[1]}" in ask("runs", "--limit", "2").stderr
    assert [line.split()[0] for line in ask("runs", "--after", names[1]).stdout.splitlines()] == [names[0], first]
    assert [line.split()[0] for line in ask("runs", "--before", names[0]).stdout.splitlines()] == [first]
    assert "no run matches" in ask("runs", "--failed").stderr
    assert "is not in this list" in ask("runs", "--after", "zzzz").stderr


def test_a_report_and_a_host_are_those_of_this_machine(call: Call, ask: Call, service: RunningService) -> None:
    run = add_run(service.ledger, {"a": MadeUpHost(offset_ns=80.0), "b": MadeUpHost(outcome=None)}, ended=False)
    here = str(service.ledger.url)
    for words in (["show", run], ["show", "last", "a"], ["show", run, "b"]):
        assert ask(*words).stdout == call(*words, PTP_HARNESS_LEDGER_URL=here).stdout
    assert "has not ended" in ask("report", run).stderr
    ended = add_run(service.ledger, {"a": MadeUpHost(offset_ns=80.0)})
    for words in (["report", ended], ["report", "last", "--json"], ["report", ended, "--format", "junit"]):
        theirs, ours = ask(*words), call(*words, PTP_HARNESS_LEDGER_URL=here)
        assert (theirs.stdout, theirs.returncode) == (ours.stdout, ours.returncode)
    follow = ["show", ended, "--follow", "--since", "2"]
    assert ask(*follow).stdout == call(*follow, PTP_HARNESS_LEDGER_URL=here).stdout
    assert ask(*follow, "--json").stdout == call(*follow, "--json", PTP_HARNESS_LEDGER_URL=here).stdout
    compared = ["diff", ended, run]
    assert "has not ended" in ask(*compared).stderr


def test_a_report_goes_into_files(ask: Call, service: RunningService, tmp_path: Path) -> None:
    add_run(service.ledger)
    done = ask("report", "last", "-f", "json=report.json", "-f", "junit=report.xml")
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "report.json").read_text() == ask("report", "last", "--json").stdout
    assert (tmp_path / "report.xml").read_text().startswith("<?xml")


def test_a_task_is_cancelled_by_its_name_or_its_run(call: Call, ask: Call, service: RunningService) -> None:
    done = ask("run", "lab.phc", "--detach", "--priority", "5")
    task = done.stdout.strip()
    assert service.context.queue.find(task).priority == 5
    assert f"task {task} is cancelled" in ask("cancel", task).stderr
    assert f"task {task} is cancelled" in ask("cancel", task).stderr
    assert "there is no run 'zzzz'" in ask("cancel", "zzzz").stderr
    add_run(service.ledger)
    assert "was begun by a command, and not submitted" in ask("cancel", "last").stderr
    here = str(service.ledger.url)
    other = ask("run", "lab.phc", "--detach").stdout.strip()
    assert f"task {other} is cancelled" in call("cancel", other, PTP_HARNESS_LEDGER_URL=here).stderr
    assert "was begun by a command" in call("cancel", "last", PTP_HARNESS_LEDGER_URL=here).stderr
    line = service.context.queue.find(other)
    assert line.state is TaskState.CANCELLED
    assert "@" in str(line.cancelled_by)


def test_mistakes_are_those_of_the_file_that_was_sent(ask: Call, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("instance_types:\n  - lab.fhc\n")
    done = ask("run", "c.yaml")
    assert "1 mistake in campaign c.yaml\nc.yaml:2: instance_types.0: there is no type 'lab.fhc'" in done.stderr
    assert done.returncode == 2
    flagged = ask("run", "c.yaml", "--depth", "quick")
    assert "1 mistake in campaign c.yaml\nc.yaml: instance_types.0: there is no type 'lab.fhc'" in flagged.stderr
    typed = ask("run", "lab.fhc")
    assert typed.stderr.startswith("ptp-harness: the command line: instance_types.0: there is no type 'lab.fhc'")
    assert "has the scope read, and this needs submit" in ask("run", "lab.phc", scope=Scope.READ).stderr


def test_flags_override_the_file_that_is_sent(ask: Call, service: RunningService, tmp_path: Path) -> None:
    text = "instance_types: [lab.phc]\nmeasure: {duration: 90s, interval: 2s}\n"
    (tmp_path / "c.yaml").write_text(text)
    queue = service.context.queue
    assert queue.document(ask("run", "c.yaml", "--detach").stdout.strip()) == text
    changed = ask("run", "c.yaml", "--detach", "--duration", "30s", "--depth", "quick").stdout.strip()
    campaign = queue.campaign(changed)
    assert (campaign["depth"], campaign["measure_duration_s"], campaign["measure_interval_s"]) == ("quick", 30.0, 2.0)


def test_the_token_is_in_no_log(call: Call, service: RunningService, tmp_path: Path) -> None:
    secret = service.tokens[Scope.READ]
    done = call("runs", "-v", "--log-file", "log", PTP_HARNESS_SERVER=service.url, PTP_HARNESS_TOKEN=secret)
    log = (tmp_path / "log").read_text()
    assert f"GET {service.url}/v1/runs: 200" in log
    assert secret not in log + done.stderr + done.stdout


def test_sites_of_the_ledger_are_added_listed_and_removed(call: Call) -> None:
    assert "no sites in the ledger" in call("site", "list").stderr
    assert (
        "site rack7 is at https://rack7.example.org"
        in call("site", "add", "rack7", "https://rack7.example.org/", "lab").stderr
    )
    assert call("site", "list").stdout.splitlines()[1].split()[:3] == ["rack7", "https://rack7.example.org", "lab"]
    (listed,) = json.loads(call("site", "list", "--json").stdout)
    assert (listed["name"], listed["benches"]) == ("rack7", ["lab"])
    assert "is removed from the ledger" in call("site", "remove", "rack7").stderr


def test_a_service_without_sites_lists_none(ask: Call) -> None:
    done = ask("site", "list")
    assert "this service has no sites" in done.stderr
    assert done.returncode == 2

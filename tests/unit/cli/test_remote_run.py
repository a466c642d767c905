"""A campaign that a service carries out for the command: progress, report, exit code, files, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.client.client import Client
from harness.model import HostState
from harness.model.tasks import Scope, TaskState
from tests.servers.cutting_proxy import cutting_proxy
from tests.servers.site import ServiceProcess, service_process

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

Call = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[3]
STAGE_S = 1.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    flags = ("--parallel", "8", "--per-bench", "lab=8")
    with service_process(tmp_path_factory.mktemp("service"), *flags, stage_s=STAGE_S) as running:
        running.make_token("ada", Scope.OPERATE)
        yield running


@pytest.fixture
def environ(service: ServiceProcess, tmp_path: Path) -> dict[str, str]:
    return {
        "PTP_HARNESS_SERVER": service.url,
        "PTP_HARNESS_TOKEN_FILE": str(service.folder / "ada.token"),
        "PTP_HARNESS_STATE_DIR": str(tmp_path / "mine"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'lab'}",
    }


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[Client]:
    with Client(service.url, (service.folder / "ada.token").read_text().strip()) as client:
        yield client


class Command:
    """A command in a process of its own, whose standard error is read line by line."""

    def __init__(self, *words: str, environ: dict[str, str], folder: Path) -> None:
        self._file = folder / "stderr"
        with self._file.open("wb") as errors:
            argv = [sys.executable, "-m", "harness", *words]
            self.process = subprocess.Popen(
                argv, env=os.environ | environ, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    @property
    def said(self) -> str:
        return self._file.read_text()

    def wait_for(self, text: str) -> None:
        give_up_at = time.monotonic() + 60
        while text not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < give_up_at, self.said
            time.sleep(0.05)

    def end(self) -> int:
        return self.process.wait(120)


def only_task(client: Client) -> str:
    return next(client.tasks()).task


def wait_for_end(client: Client, task: str) -> TaskState:
    give_up_at = time.monotonic() + 60
    while not (now := client.task(task)).state.final:
        assert time.monotonic() < give_up_at, now
        time.sleep(0.1)
    return now.state


def test_a_run_ends_with_the_report_and_exit_code_of_the_run(
    environ: dict[str, str], tmp_path: Path, client: Client
) -> None:
    words = ("run", "good", "bad", "-f", "json=report.json", "-f", "junit=report.xml")
    command = Command(*words, environ=environ, folder=tmp_path)
    command.wait_for("good       measure")  # while it goes on
    assert client.task(only_task(client)).state is TaskState.RUNNING
    assert command.end() == 3
    task = client.task(only_task(client))
    assert (task.state, task.exit_code, task.submitter) == (TaskState.ENDED, 3, "ada")
    assert task.run is not None
    assert client.report(task.run) in command.said
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(host["name"], host["outcome"]) for host in report["hosts"]] == [("good", "PASS"), ("bad", "INCONCLUSIVE")]
    assert report["exit_code"] == 3
    assert "<testsuite" in (tmp_path / "report.xml").read_text()
    for part in range(4):
        assert command.said.count(f"measure of {task.run}/good/1: part {part}") == 1


def test_a_pass_is_a_pass(environ: dict[str, str], tmp_path: Path) -> None:
    command = Command("run", "good", "--json", environ=environ, folder=tmp_path)
    out, _ = command.process.communicate(timeout=120)
    assert command.process.returncode == 0, command.said
    assert json.loads(out)["outcome"] == "PASS"


def test_progress_goes_on_where_connections_are_cut(
    service: ServiceProcess, environ: dict[str, str], tmp_path: Path, client: Client
) -> None:
    with cutting_proxy(service.url) as proxy:
        proxy.cut_after_bytes = 3000
        command = Command("run", "good", environ=environ | {"PTP_HARNESS_SERVER": proxy.url}, folder=tmp_path)
        for stage in ("reach", "configure", "measure"):
            command.wait_for(f"good       {stage}")
            proxy.cut_all()
        assert command.end() == 0, command.said
        run = client.task(only_task(client)).run
        lines = [f"{stage} of {run}/good/1: part {part}" for stage in ("reach", "measure") for part in range(4)]
        assert [command.said.count(line) for line in lines] == [1] * 8
        assert len(list(client.tasks())) == len({task.task for task in client.tasks()})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_cancels_the_campaign_and_waits_for_its_report(
    environ: dict[str, str], tmp_path: Path, client: Client, number: signal.Signals
) -> None:
    command = Command("run", "good", "late", environ=environ, folder=tmp_path)
    command.wait_for("good       reach")
    command.process.send_signal(number)
    command.wait_for("cancelling: hosts under way are released")
    assert command.end() == 130
    task = client.task(only_task(client))
    assert (task.state, task.cancelled_by, task.exit_code) == (TaskState.CANCELLED, "ada", 130)
    assert task.run is not None
    assert [host.state for host in client.run(task.run).hosts] == [HostState.RELEASED] * 2
    assert "INCONCLUSIVE" in command.said
    assert "interrupted" in command.said


def test_a_signal_while_the_campaign_waits_cancels_it(
    environ: dict[str, str], tmp_path: Path, client: Client, service: ServiceProcess
) -> None:
    first = [client.submit("instance_types: [good]").task for _ in range(16)]  # eight of them still wait
    command = Command("run", "good", environ=environ, folder=tmp_path)
    command.wait_for("in the queue")
    command.process.send_signal(signal.SIGINT)
    assert command.end() == 130
    assert "was cancelled before its run began" in command.said
    for task in first:
        client.cancel(task)
    assert {wait_for_end(client, task) for task in first} <= {TaskState.CANCELLED, TaskState.ENDED}


def test_the_second_signal_leaves_at_once_and_says_how_to_go_on(
    environ: dict[str, str], tmp_path: Path, client: Client, service: ServiceProcess
) -> None:
    command = Command("run", "good", environ=environ, folder=tmp_path)
    command.wait_for("good       reach")
    command.process.send_signal(signal.SIGINT)
    task = only_task(client)
    command.wait_for(f"task {task} is cancelled")
    command.process.send_signal(signal.SIGINT)
    assert command.end() == 130
    assert f"the service ends task {task}, which is cancelled, by itself" in command.said
    assert f"`ptp-harness --server {service.url} show {task} --follow` shows the rest" in command.said
    assert wait_for_end(client, task) is TaskState.CANCELLED


def test_a_terminal_that_closes_leaves_the_campaign_to_the_service(
    environ: dict[str, str], tmp_path: Path, client: Client
) -> None:
    command = Command("run", "good", environ=environ, folder=tmp_path)
    command.wait_for("good       reach")
    command.process.send_signal(signal.SIGHUP)
    assert command.end() == 130
    task = only_task(client)
    assert client.task(task).state is TaskState.RUNNING
    followed = Command("show", task, "--follow", environ=environ, folder=tmp_path)
    out, _ = followed.process.communicate(timeout=120)
    assert followed.process.returncode == 0
    assert f"measure of {client.task(task).run}/good/1: part 3" in out
    assert wait_for_end(client, task) is TaskState.ENDED


def test_a_host_that_stays_is_kept_longer_and_released(
    call: Call, service: ServiceProcess, environ: dict[str, str], client: Client
) -> None:
    task = client.submit("instance_types: [good, late]\nkeep: supported\n").task
    assert wait_for_end(client, task) is TaskState.ENDED
    run = client.task(task).run
    assert run is not None
    assert [kept.host for kept in client.kept_hosts(run=run)] == ["good", "late"]
    assert "kept 2" in call("runs", **environ).stdout
    assert f"good of run {run} is kept" in call("keep", run, "good", **environ).stderr
    assert "lease is '5s'" in call("keep", run, "good", "--for", "5s", **environ).stderr
    done = call("release", task, "late", **environ)
    assert (done.stderr, done.returncode) == ("late is released\n", 0)
    again = call("release", run, "late", **environ)
    assert "late" in again.stderr
    assert again.returncode == 2
    assert call("release", run, **environ).stderr == "good is released\n"
    assert f"run {run} keeps no host" in call("release", run, **environ).stderr
    assert not list((service.folder / "bench" / "made").iterdir())


def test_a_run_that_could_not_begin_says_why(environ: dict[str, str], tmp_path: Path) -> None:
    words = ("run", "m7i.large", "--region", "eu-north-1", "--bench", "ec2")
    command = Command(*words, environ=environ, folder=tmp_path)
    assert command.end() == 2, command.said
    assert "could not begin" in command.said

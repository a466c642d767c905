"""Run a playbook on one host: ansible-runner in a new private directory, and the outcome checked for that host.

Each play has a new directory, since a reused one keeps the extra variables of the last play. Host keys are checked,
since ansible-runner switches the check off by default. Statistics are read, since a play that matched no host ends
"successful".
"""

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import ansible_runner
import yaml

from harness import units
from harness.errors import HarnessError, last_line
from harness.host import ansible_memory, ssh
from harness.model import Machine
from harness.system import proc
from harness.untrusted.plain_text import clip, well_formed

_ON_THE_WIRE = {"runner_on_ok", "runner_on_failed", "runner_on_unreachable", "runner_on_async_ok"}
_OUR_PROGRAMS = (str(Path(sys.executable).parent),)
_LONGEST_MESSAGE = 300
_POLL_S = 1
_REPORT_AGAIN_S = 30
_VALIDATION = "Validating arguments against arg spec"
_LOCAL_ACTIONS = {"set_fact", "assert", "debug", "meta", "include_tasks", "import_tasks", "include_role", "import_role",
                  "include_vars", "fail", "validate_argument_spec", "add_host", "group_by", "pause"}  # fmt: skip


class PlayOutcome(StrEnum):
    """How a play ended for its one host."""

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayResult:
    """A play that has ended. `results` maps task names to results of their modules; `message` says why it failed.

    `failed_task` names the task that `message` is from.

    `task_seconds` has the name and duration of each task that was begun, in order.
    """

    outcome: PlayOutcome
    message: str
    changed: int
    tasks_on_wire: int
    seconds: float
    task_seconds: Sequence[tuple[str, float]]
    stdout: str
    results: Mapping[str, Mapping[str, Any]]
    failed_task: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A machine, its pinned key file, and the shared connection that all plays and commands to it use."""

    machine: Machine
    known_hosts: Path
    control: Path

    def command(self, *arguments: str) -> list[str]:
        """Build the argv that runs a program on the host. Arguments may hold any text: the shell sees them quoted."""
        return ssh.build_command(self.machine, self.known_hosts, shlex.join(arguments), control=self.control)

    def as_root(self, *arguments: str) -> list[str]:
        """Build the argv that runs a program on the host as root."""
        sudo = () if self.machine.user == "root" else ("sudo", "-n")
        return self.command(*sudo, *arguments)


def role_variables(machine: Machine) -> dict[str, Any]:
    """Build the variables of the roles for a machine: its own ones, and the time server of the second opinion."""
    if machine.second_opinion is None:
        return dict(machine.role_variables)
    address, port = machine.second_opinion.split()
    return dict(machine.role_variables) | {
        "chrony_phc_second_opinion_address": address,
        "chrony_phc_second_opinion_port": int(port),
        "chrony_phc_second_opinion_minpoll": machine.second_opinion_poll,
        "chrony_phc_second_opinion_maxpoll": machine.second_opinion_poll,
        "clock_facts_ntp_servers": [f"{address}:{port}"],
    }


@dataclass(slots=True)
class _PlayEvents:
    """Collects results, statistics and the last message from the events of one play, and reports long tasks."""

    progress: Callable[[str], None]
    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)
    starts: list[tuple[str, float]] = field(default_factory=list)
    on_wire: int = 0
    message: str = ""
    failed_task: str = ""

    def report_task(self) -> None:
        """Report the task that runs now, after each half minute with its time so far.

        Called once a second: most tasks are done sooner, or have nothing to do, and are not worth a line.
        """
        if self.starts:
            task, start_s = self.starts[-1]
            periods = int(time.monotonic() - start_s) // _REPORT_AGAIN_S
            self.progress(f"{task} ({units.duration(periods * _REPORT_AGAIN_S)})" if periods else task)

    def task_seconds(self, end_s: float) -> Sequence[tuple[str, float]]:
        """List name and duration of each task. The last task ended at `end_s` of the monotonic clock."""
        ends_s = [*(start_s for _, start_s in self.starts[1:]), end_s]
        return [(task, task_end_s - start_s) for (task, start_s), task_end_s in zip(self.starts, ends_s, strict=False)]

    def __call__(self, event: Mapping[str, Any]) -> bool:
        kind, data = event.get("event", ""), event.get("event_data", {})
        task = str(data.get("task", ""))
        if kind == "playbook_on_task_start" and not task.startswith(_VALIDATION):
            self.starts.append((task, time.monotonic()))
        if kind == "playbook_on_stats":
            self.stats = data
        if kind in _ON_THE_WIRE:
            result = data.get("res", {})
            self.results[task] = result
            self.on_wire += _short_name(str(data.get("task_action", ""))) not in _LOCAL_ACTIONS
            if kind != "runner_on_ok" and not data.get("ignore_errors"):
                self.message, self.failed_task = f"task {task!r}: {_failure_message(result)}", task
        return False  # no event files: they would only be deleted with the directory


def play(
    playbook: Path,
    target: Target,
    variables: Mapping[str, Any],
    *,
    timeout_s: float,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> PlayResult:
    """Run `playbook` on one host until it ends or `cancelled()` is true. A failure on the host raises nothing.

    `progress` takes the name of each task that runs for a second. Raises HarnessError when Ansible itself could not run
    or no host was matched.
    """
    events, begun = _PlayEvents(progress), time.monotonic()

    def poll() -> bool:
        if cancelled():
            return True
        events.report_task()
        return False

    name = target.machine.token.host
    with tempfile.TemporaryDirectory(prefix="ptp-play-") as private:
        hosts = Path(private, "inventory", "hosts.yaml")
        _write_variables(hosts, {"all": {"hosts": {name: _host_variables(target)}}})
        _write_variables(Path(private, "env", "extravars"), variables)  # where ansible-runner looks for both
        _write_variables(Path(private, "env", "settings"), {"pexpect_timeout": _POLL_S})
        with _end_failed_fork():
            runner = ansible_runner.run(
                private_data_dir=private,
                playbook=str(playbook),
                inventory=str(hosts),
                envvars=_environment(playbook, private),
                quiet=True,
                event_handler=events,
                cancel_callback=poll,
                timeout=int(timeout_s),
                suppress_env_files=True,
            )
        if runner.status in ("canceled", "timeout"):
            _end_workers(private)
        stdout = ansible_memory.clip_output(Path(runner.config.artifact_dir) / "stdout")
    outcome = _find_outcome(runner.status, events.stats, name)
    if outcome is None and runner.rc is None:
        raise HarnessError(f"Ansible was killed while it played {playbook.name}")
    if outcome is None:
        raise HarnessError(f"{playbook.name} reached no host: {last_line(stdout) or runner.status}")
    return PlayResult(
        outcome=outcome,
        message="" if outcome is PlayOutcome.OK else events.message or f"{playbook.name} ended {runner.status}",
        changed=int(events.stats.get("changed", {}).get(name, 0)),
        tasks_on_wire=events.on_wire,
        seconds=time.monotonic() - begun,
        task_seconds=events.task_seconds(time.monotonic()),
        stdout=stdout,
        results=events.results,
        failed_task=events.failed_task,
    )


@contextmanager
def _end_failed_fork() -> Iterator[None]:
    """End a forked copy of this process that did not become Ansible.

    ansible-runner starts Ansible with pexpect, whose copy raises what fails before its exec: its terminal is gone, for
    one, when this process was killed meanwhile. The copy would then go on as this run, and judge and release its hosts.
    """
    pid = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != pid:
            os._exit(1)


class _Unsafe(str):
    """A text that Ansible never takes for a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes `_Unsafe` as Ansible's `!unsafe`, the documented tag for text from other sources."""


_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'))


def _write_variables(path: Path, variables: Mapping[str, Any]) -> None:
    """Write a file of variables for Ansible in which no text is a template.

    Ansible trusts inventory and extra variables and evaluates templates in them, which may run any program on this
    machine. The variables of the harness hold texts of campaigns, inventories and clouds.
    """
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_text(yaml.dump(_mark_unsafe(variables), Dumper=_Dumper, allow_unicode=False))


def _mark_unsafe(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _mark_unsafe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mark_unsafe(item) for item in value]
    return _Unsafe(value) if isinstance(value, str) else value


def _end_workers(private: str) -> None:
    """End Ansible's workers. They lead sessions of their own and outlive a parent that was killed."""
    for process in proc.find_by_environment("ANSIBLE_HOME", _home(private)):
        proc.end(process, grace_s=1.0)


def _home(private: str) -> str:
    return f"{private}/ansible"


def _find_outcome(status: str, stats: Mapping[str, Any], name: str) -> PlayOutcome | None:
    """Find the outcome for one host; None when the play did not reach the host."""
    if status == "canceled":
        return PlayOutcome.CANCELLED
    if status == "timeout":
        return PlayOutcome.TIMED_OUT
    if stats.get("dark", {}).get(name):
        return PlayOutcome.UNREACHABLE
    if stats.get("failures", {}).get(name):
        return PlayOutcome.FAILED
    if stats.get("ok", {}).get(name) and status == "successful":
        return PlayOutcome.OK
    return None


def _host_variables(target: Target) -> dict[str, Any]:
    """Build the variables of Ansible's connection by ssh. Raises HarnessError for an invalid user or address."""
    machine = target.machine
    ssh.format_destination(machine)
    return {
        "ansible_host": machine.address,
        "ansible_port": machine.port,
        "ansible_user": machine.user,
        **({"ansible_ssh_private_key_file": machine.private_key} if machine.private_key else {}),
        "ansible_ssh_args": "",
        "ansible_control_path": str(target.control),
        "ansible_ssh_common_args": shlex.join(ssh.build_options(machine, target.known_hosts, target.control)),
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def _environment(playbook: Path, private: str) -> dict[str, str]:
    return {
        "ANSIBLE_CONFIG": str(playbook.parent.parent / "ansible.cfg"),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_INJECT_FACT_VARS": "False",  # facts of a host never become variables, despite the environment
        "ANSIBLE_HOME": _home(private),
        "ANSIBLE_NOCOLOR": "1",
        "PATH": os.pathsep.join(
            [
                str(ansible_memory.limited_ansible_folder(Path(private))),
                *_OUR_PROGRAMS,
                os.environ.get("PATH", os.defpath),
            ]
        ),
    }


def _short_name(action: str) -> str:
    return action.rpartition(".")[2]


def _failure_message(result: Mapping[str, Any]) -> str:
    """Return the message of a failed module, in one line."""
    for key in ("msg", "stderr", "stdout"):
        if text := last_line(str(result.get(key) or "")):
            return clip(well_formed(text), _LONGEST_MESSAGE)
    return clip(json.dumps(dict(result)), _LONGEST_MESSAGE)

"""How a playbook is run on one host: ansible-runner in a new private directory, and its outcome checked for that host.

A new directory per run, since a reused one brings the last run's extra variables back; host keys checked, since
ansible-runner switches that off unless told; and statistics read, since a play that matched no host ends "successful".
"""

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import ansible_runner
import yaml

from harness.errors import HarnessError, last_line
from harness.host import ansible_memory, ssh
from harness.model import Machine
from harness.system import proc
from harness.untrusted.plain_text import clip, well_formed

_ON_THE_WIRE = {"runner_on_ok", "runner_on_failed", "runner_on_unreachable", "runner_on_async_ok"}
_OUR_PROGRAMS = (str(Path(sys.executable).parent),)
_LONGEST_MESSAGE = 300
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
    """A play that has ended. `results` maps task names to what their modules returned; `message` says why it failed."""

    outcome: PlayOutcome
    message: str
    changed: int
    tasks_on_wire: int
    seconds: float
    stdout: str
    results: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A machine, its pinned key file, and the shared connection that all plays and commands to it use."""

    machine: Machine
    known_hosts: Path
    control: Path

    def command(self, *words: str) -> list[str]:
        """The argv that runs a program on the host with these words, whatever they hold: its shell sees them quoted."""
        return ssh.command(self.machine, self.known_hosts, shlex.join(words), control=self.control)

    def as_root(self, *words: str) -> list[str]:
        """The same as root."""
        sudo = () if self.machine.user == "root" else ("sudo", "-n")
        return self.command(*sudo, *words)


def role_variables(machine: Machine) -> dict[str, Any]:
    """What the roles are told of a machine: its own variables, and the time server that gives the second opinion."""
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
    """Gathers what the events of one play tell."""

    on_task: Callable[[str], None]
    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)
    on_wire: int = 0
    message: str = ""

    def __call__(self, event: Mapping[str, Any]) -> bool:
        kind, data = event.get("event", ""), event.get("event_data", {})
        task = str(data.get("task", ""))
        if kind == "playbook_on_task_start" and not task.startswith(_VALIDATION):
            self.on_task(task)
        if kind == "playbook_on_stats":
            self.stats = data
        if kind in _ON_THE_WIRE:
            result = data.get("res", {})
            self.results[task] = result
            self.on_wire += _bare(str(data.get("task_action", ""))) not in _LOCAL_ACTIONS
            if kind != "runner_on_ok" and not data.get("ignore_errors"):
                self.message = f"task {task!r}: {_words(result)}"
        return False  # no event files: they would only be deleted with the directory


def play(
    playbook: Path,
    target: Target,
    variables: Mapping[str, Any],
    *,
    timeout_s: float,
    on_task: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> PlayResult:
    """Run `playbook` on one host. Ends early when `cancelled()` says so. Never raises for what happened on the host.

    Raises HarnessError when Ansible itself could not run or no host was matched.
    """
    watch, begun = _PlayEvents(on_task), time.monotonic()
    name = target.machine.token.host
    with tempfile.TemporaryDirectory(prefix="ptp-play-") as private:
        hosts = Path(private, "inventory", "hosts.yaml")
        _write(hosts, {"all": {"hosts": {name: _host_variables(target)}}})
        _write(Path(private, "env", "extravars"), variables)  # where ansible-runner looks for them
        runner = ansible_runner.run(
            private_data_dir=private,
            playbook=str(playbook),
            inventory=str(hosts),
            envvars=_environment(playbook, private),
            quiet=True,
            event_handler=watch,
            cancel_callback=cancelled,
            timeout=int(timeout_s),
            suppress_env_files=True,
        )
        if runner.status in ("canceled", "timeout"):
            _end_workers(private)
        stdout = ansible_memory.clip_output(Path(runner.config.artifact_dir) / "stdout")
    outcome = _outcome(runner.status, watch.stats, name)
    if outcome is None:
        raise HarnessError(f"{playbook.name} reached no host: {last_line(stdout) or runner.status}")
    return PlayResult(
        outcome=outcome,
        message="" if outcome is PlayOutcome.OK else watch.message or f"{playbook.name} ended {runner.status}",
        changed=int(watch.stats.get("changed", {}).get(name, 0)),
        tasks_on_wire=watch.on_wire,
        seconds=time.monotonic() - begun,
        stdout=stdout,
        results=watch.results,
    )


class _Unsafe(str):
    """A text that Ansible never takes for a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes `_Unsafe` as Ansible's `!unsafe`, which its documentation has for what comes from elsewhere."""


_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'))


def _write(path: Path, variables: Mapping[str, Any]) -> None:
    """A file of variables for Ansible, each text of which stays as it is.

    Ansible trusts what a user names as inventory and extra variables, and fills in templates in it, which may run
    anything here. Ours hold what campaigns, inventories and clouds say.
    """
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_text(yaml.dump(_unsafe(variables), Dumper=_Dumper, allow_unicode=False))


def _unsafe(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _unsafe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_unsafe(inner) for inner in value]
    return _Unsafe(value) if isinstance(value, str) else value


def _end_workers(private: str) -> None:
    """Ansible's workers are sessions of their own: they outlive a parent that was killed at a deadline or by us."""
    for process in proc.with_environment("ANSIBLE_HOME", _home(private)):
        proc.end(process, grace_s=1.0)


def _home(private: str) -> str:
    return f"{private}/ansible"


def _outcome(status: str, stats: Mapping[str, Any], name: str) -> PlayOutcome | None:
    """The outcome for one host; None when the play did not touch it."""
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
    """How Ansible speaks to the host. Raises HarnessError where user or address are no names: it hands them to ssh."""
    machine = target.machine
    ssh.login(machine)
    return {
        "ansible_host": machine.address,
        "ansible_port": machine.port,
        "ansible_user": machine.user,
        **({"ansible_ssh_private_key_file": machine.private_key} if machine.private_key else {}),
        "ansible_ssh_args": "",
        "ansible_control_path": str(target.control),
        "ansible_ssh_common_args": shlex.join(ssh.options(machine, target.known_hosts, target.control)),
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def _environment(playbook: Path, private: str) -> dict[str, str]:
    return {
        "ANSIBLE_CONFIG": str(playbook.parent.parent / "ansible.cfg"),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_INJECT_FACT_VARS": "False",  # a host's facts are no variables, whatever the user's environment says
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


def _bare(action: str) -> str:
    return action.rpartition(".")[2]


def _words(result: Mapping[str, Any]) -> str:
    """What a failed module says, in one line."""
    for key in ("msg", "stderr", "stdout"):
        if text := last_line(str(result.get(key) or "")):
            return clip(well_formed(text), _LONGEST_MESSAGE)
    return clip(json.dumps(dict(result)), _LONGEST_MESSAGE)

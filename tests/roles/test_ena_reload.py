"""A reload of the driver that cuts the connection which asked for it: what the role waits for, and what it then reads.

On guests whose connection is on the ENA card: test_on_card.py.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.roles.test_hostile_python import SWITCHED, Place, ena_answers, failed

RECORD = {"clock": "ptp0", "boot_id": "b0"}


@pytest.fixture
def library(load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load("ena_driver/library/ena_phc.py")
    monkeypatch.setattr(module, "RELOAD_REQUEST", str(tmp_path / "request"))
    monkeypatch.setattr(module, "run_program", lambda task, argv, **_more: task.run(argv))
    return module


class Failed(Exception):
    """What a task fails with."""


class Task:
    """The module as Ansible runs it, on a host whose systemd says these states, the last one for ever."""

    def __init__(self, folder: Path, *states: str) -> None:
        self.params = {"record": str(folder / "record.json"), "unit": {"path": "/etc/systemd/system/x.service"}}
        self.states, self.ran = list(states), []

    def get_bin_path(self, name: str, required: bool = False) -> str:
        return name

    def run(self, argv: list[str]) -> tuple[int, str, str]:
        self.ran.append(argv)
        if argv[:2] != ["systemctl", "is-active"]:
            return 0, "", ""
        assert argv[2:] == ["ptp-harness-ena-reload.timer", "ptp-harness-ena-reload.service"]
        return 3, self.states.pop(0) if len(self.states) > 1 else self.states[0], ""

    def fail_json(self, msg: str) -> None:
        raise Failed(msg)


def write(task: Task, text: str, age_s: float = 0) -> None:
    path = Path(task.params["record"])
    path.write_text(text)
    at = path.stat().st_mtime - age_s
    os.utime(path, (at, at))


def test_the_record_is_read_once_systemd_has_done_the_reload(
    library: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(tmp_path, "inactive\ninactive\n", "active\ninactive\n", "active\nactive\n", "inactive\ninactive\n")
    library.schedule_by_systemd(task)
    assert task.ran[-1][:4] == ["systemd-run", "--collect", "--unit=ptp-harness-ena-reload", "--on-active=2s"]
    pauses: list[float] = []

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        write(task, json.dumps(RECORD))

    monkeypatch.setattr(library.time, "sleep", sleep)
    assert library.read_reload_record(task) == RECORD
    assert len(pauses) == 2


@pytest.mark.parametrize(("text", "age_s"), [("", 0), ("{", 0), (json.dumps(RECORD), 10)])
def test_a_reload_that_leaves_no_record_is_a_failure_and_not_another_reload(
    library: ModuleType, tmp_path: Path, text: str, age_s: float
) -> None:
    task = Task(tmp_path, "inactive\ninactive\n")
    library.schedule_by_systemd(task)
    if text:
        write(task, text, age_s)
    with pytest.raises(Failed, match=r"left no record of it; `journalctl -u x\.service -u ptp-harness-ena-reload"):
        library.read_reload_record(task)


def test_a_reload_that_does_not_end_is_not_waited_for_for_ever(
    library: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(tmp_path, "active\nactive\n")
    monkeypatch.setattr(library, "RELOAD_DEADLINE_S", 0.0)
    with pytest.raises(Failed):
        library.read_reload_record(task)


def test_a_reload_that_an_earlier_play_asked_for_is_the_reload(library: ModuleType, tmp_path: Path) -> None:
    task = Task(tmp_path, "active\ninactive\n")
    library.schedule_by_systemd(task)
    assert [argv[0] for argv in task.ran] == ["systemctl"]


@pytest.mark.programs
def test_the_role_asks_for_one_reload_and_reads_what_became_of_it(tmp_path: Path) -> None:
    place = Place(tmp_path / "machine")
    pending = SWITCHED | {"pending": True, "record": None}
    place.add("host", ena_answers(switched=[pending, SWITCHED]) | {"ping": {"ping": "pong"}})
    said = place.play({"roles": ["ena_driver"]}, {})
    assert failed(said) == set(), said
    asked = re.findall(r'^ena_phc .*"after_reload": (true|false)|^ena_phc (.)', place.received(), re.MULTILINE)
    assert [after for after, _ in asked] == ["", "true"]


@pytest.mark.programs
def test_what_a_reload_leaves_decides_about_a_reboot(tmp_path: Path) -> None:
    """The task after the reload sees whether the driver let go; the one before it has no record yet."""
    place = Place(tmp_path / "machine")
    pending = SWITCHED | {"pending": True, "record": None}
    stuck = SWITCHED | {"record": {"reboot": True, "decision": "module_parameter", "clock": None}}
    answers = {"stuck": [pending, stuck], "well": [pending, SWITCHED], "apart": [stuck], "none": [SWITCHED]}
    for name, switched in answers.items():
        place.add(name, ena_answers(switched=switched) | {"ping": {"ping": "pong"}})
    message = "{{ inventory_hostname }} reboots: {{ __ena_driver_result.reboot }}"
    said = place.play({"roles": ["ena_driver"], "post_tasks": [{"ansible.builtin.debug": {"msg": message}}]}, {})
    assert failed(said) == set(), said
    assert sorted(re.findall(r"(\w+) reboots: (\w+)", said)) == [
        ("apart", "True"),
        ("none", "False"),
        ("stuck", "True"),
        ("well", "False"),
    ]

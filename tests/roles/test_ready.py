"""Does a play wait for cloud-init, and name what a host lacks, before anything needs Python or root?"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The only programs of the host, beside its shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("timeout", "sleep"):
        program = shutil.which(name)
        assert program is not None
        (folder / name).symlink_to(program)
    return folder


def add_program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def see(programs: Path, *, become: bool = False, python: str = sys.executable, wait_s: int = 300) -> tuple[int, str]:
    """Run the tasks over a local connection; ansible-playbook's status and output."""
    tasks = {"ansible.builtin.import_tasks": str(CHECKOUT / "playbooks/tasks/ready.yml")}
    given = {
        "ready_become": become,
        "ready_become_method": "sudo",
        "ready_python": python,
        "ready_cloud_init_wait_s": wait_s,
        "ansible_user": "admin",
    }
    play = {"hosts": "all", "gather_facts": False, "tasks": [tasks]}
    (programs.parent / "play.yml").write_text(json.dumps([play]))
    argv = [
        *(str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local"),
        *("-e", json.dumps(given), str(programs.parent / "play.yml")),
    ]
    env = os.environ | {"PATH": str(programs), "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=env)
    return done.returncode, done.stdout + done.stderr


def test_a_host_with_python_and_root_is_ready(programs: Path) -> None:
    status, said = see(programs)
    assert (status, "it has what the roles need" in said) == (0, True), said


def test_a_host_without_python_is_told_so(programs: Path) -> None:
    status, said = see(programs, python="/usr/bin/no-such-python3")
    assert status == 2
    assert (
        "the host has no Python: there is no /usr/bin/no-such-python3 on it; next: install Python 3.9 or later on it "
        "(`dnf install python3`, `apt-get install python3`), or use an image that has it"
    ) in said


def test_a_python_of_before_3_9_is_told_so(programs: Path) -> None:
    add_program(programs, "python3.6", "exit 1")
    status, said = see(programs, python="python3.6")
    assert status == 2
    assert "the host's Python is too old, or does not run: python3.6; next: install Python 3.9" in said


def test_a_host_without_sudo_is_told_so(programs: Path) -> None:
    status, said = see(programs, become=True)
    assert status == 2
    assert (
        "the host has no sudo, and its user admin is not root; next: install sudo and let that user use it without a "
        "password, or log in as root"
    ) in said
    add_program(programs, "sudo", "exit 0")
    assert see(programs, become=True)[0] == 0


def test_cloud_init_is_waited_for(programs: Path) -> None:
    done = programs.parent / "done"
    add_program(programs, "cloud-init", f'[ "$*" = "status --wait" ] && sleep 2 && : > {done}')
    status, said = see(programs)
    assert (status, done.exists(), "it has what the roles need" in said) == (0, True, True), said


def test_a_cloud_init_that_does_not_end_holds_the_play_up_for_a_limited_time(programs: Path) -> None:
    add_program(programs, "cloud-init", "exec sleep 600")
    begun = time.monotonic()
    status, said = see(programs, wait_s=1)
    assert (status, time.monotonic() - begun < 60) == (0, True)
    assert "cloud-init had not ended after 1 s: the play goes on" in said


@pytest.mark.parametrize("name", ["configure.yml", "observe.yml"])
def test_the_playbooks_see_to_it_first(name: str) -> None:
    text = (CHECKOUT / "playbooks" / name).read_text()
    assert text.index("import_tasks: tasks/ready.yml") < text.index("  roles:")
    assert "ready_cloud_init_wait_s: 300" in text

"""A play's outcome is that of its host: real Ansible, against a host that does not answer and against a broken play."""

import contextlib
import errno
import json
import os
import pickle
import sys
import time
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.host import ansible_memory
from harness.host.playbooks import PlayOutcome, Target, play
from harness.model import Machine
from harness.system import proc
from harness.system.settings import assets_dir

pytestmark = pytest.mark.programs

OBSERVE = assets_dir() / "playbooks" / "observe.yml"
FIRST_TASK = "Wait for cloud-init, and look for what the roles need"


@pytest.fixture
def target(silent_machine: Machine, tmp_path: Path) -> Target:
    return Target(machine=silent_machine, known_hosts=tmp_path / "known_hosts", control=tmp_path / "control")


def test_a_host_that_does_not_answer_is_unreachable_not_failed(target: Target) -> None:
    done = play(OBSERVE, target, {}, timeout_s=60, progress=lambda _: None, cancelled=lambda: False)
    assert done.outcome is PlayOutcome.UNREACHABLE
    assert "Connection refused" in done.message
    assert list(dict(done.task_seconds)) == [FIRST_TASK]
    assert done.results[FIRST_TASK]["unreachable"] is True


def test_a_play_that_ran_no_task_on_the_host_is_an_error_not_a_success(target: Target, tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    playbook = tmp_path / "playbooks" / "nobody.yml"
    playbook.parent.mkdir()
    playbook.write_text("- hosts: nobody\n  gather_facts: false\n  tasks: []\n")
    with pytest.raises(HarnessError, match=r"nobody\.yml reached no host"):
        play(playbook, target, {}, timeout_s=60, progress=lambda _: None, cancelled=lambda: False)


def test_a_copy_of_this_process_that_did_not_become_ansible_ends(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when this process is killed between the fork and the exec: the copy finds its terminal gone."""
    went_on, pid = tmp_path / "went-on", os.getpid()

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("ptyprocess.ptyprocess._setecho", fail)
    try:
        with pytest.raises(HarnessError, match=r"observe\.yml reached no host"):
            play(OBSERVE, target, {}, timeout_s=60, progress=lambda _: None, cancelled=lambda: False)
    finally:
        if os.getpid() != pid:
            went_on.touch()
            os._exit(0)
    assert not went_on.exists()


def test_a_task_that_fails_is_named_with_its_words(target: Target, tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    playbook = tmp_path / "playbooks" / "broken.yml"
    playbook.parent.mkdir()
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - name: Give up\n      ansible.builtin.fail: {msg: 'because of {{ why }}'}\n"
    )
    done = play(playbook, target, {"why": "a test"}, timeout_s=60, progress=lambda _: None, cancelled=lambda: False)
    assert (done.outcome, done.message, done.failed_task, done.tasks_on_wire) == (
        PlayOutcome.FAILED,
        "task 'Give up': because of a test",
        "Give up",
        0,
    )


def test_a_play_ends_soon_after_it_is_cancelled(target: Target, tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    playbook = tmp_path / "playbooks" / "long.yml"
    playbook.parent.mkdir()
    playbook.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.pause: {seconds: 60}\n")
    begun, seen = time.monotonic(), list[str]()
    done = play(playbook, target, {}, timeout_s=60, progress=seen.append, cancelled=lambda: bool(seen))
    assert done.outcome is PlayOutcome.CANCELLED
    assert time.monotonic() - begun < 30
    assert workers_of(playbook) == []


def test_a_task_that_takes_long_is_reported_once_a_second_and_a_quick_one_is_not(
    target: Target, tmp_path: Path
) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    playbook = tmp_path / "playbooks" / "slow.yml"
    playbook.parent.mkdir()
    quick = "".join(
        f"    - {{name: Quick {number}, ansible.builtin.set_fact: {{x: {number}}}}}\n" for number in range(9)
    )
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        + quick
        + "    - {name: Slow, ansible.builtin.pause: {seconds: 4}}\n"
    )
    texts: list[str] = []
    done = play(playbook, target, {}, timeout_s=120, progress=texts.append, cancelled=lambda: False)
    assert done.outcome is PlayOutcome.OK
    assert texts.count("Slow") >= 2, "every second of four"
    assert len(set(texts)) < 6, "not every quick task"
    assert [task for task, _ in done.task_seconds] == [*(f"Quick {number}" for number in range(9)), "Slow"]
    assert dict(done.task_seconds)["Slow"] >= 4


def workers_of(playbook: Path) -> list[str]:
    """The processes whose command line names a playbook: Ansible's own and its workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().decode(errors="replace"))
    return [line for line in found if str(playbook) in line]


# --- a host that answers without an end -------------------------------------------------------------------------------

FLOODING_SSH = """#!/bin/sh
case "$*" in
    *-O*) exit 0 ;;
esac
exec 3<&0
cat <&3 > /dev/null &
exec tr '\\000' 'x' < /dev/zero
"""

PLAY_AND_TELL = """
import json, pickle, resource, sys, time
from pathlib import Path
from harness.errors import HarnessError
from harness.host.playbooks import play
target, playbook, variables = pickle.load(open(sys.argv[1], "rb"))
most_kib = 0

def look():
    global most_kib
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(playbook).encode() in (path / "cmdline").read_bytes():
                lines = (path / "status").read_text().splitlines()
                most_kib = max([most_kib, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        except OSError:
            pass
    return False

before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
try:
    outcome = play(playbook, target, variables, timeout_s=12, progress=lambda _: None, cancelled=look).outcome
except HarnessError as error:
    outcome = str(error)
more_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([outcome, more_kib, most_kib, time.monotonic() - begun]))
"""


def test_a_host_that_floods_ansible_costs_bounded_memory_and_time(target: Target, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(FLOODING_SSH)
    ssh.chmod(0o755)
    (tmp_path / "request").write_bytes(pickle.dumps((target, OBSERVE, {"ansible_ssh_executable": str(ssh)})))
    words = [sys.executable, "-c", PLAY_AND_TELL, str(tmp_path / "request")]
    said = proc.run(words, timeout_s=180, cwd=Path(__file__).parents[3]).stdout
    outcome, more_kib, ansible_kib, seconds = json.loads(said.splitlines()[-1])
    assert outcome != PlayOutcome.OK
    assert more_kib < 100 * 1024, "our own process"
    assert 100 * 1024 < ansible_kib <= ansible_memory.MOST_KIB, "Ansible's, which was flooded"
    assert seconds < 60

"""The rotation of a host key leaves no half of it here when it is cut off."""

import dataclasses
import os
from pathlib import Path

import pytest

from harness.host import host_key, ssh
from harness.host.playbooks import Target
from harness.model import Machine

SSH = """#!/bin/sh
# In place of ssh: a host that makes a key and serves it, and lets nobody in.
for last; do :; done
case "$last" in
    *make*) echo ssh-ed25519 AAAAnew ;;
    *serve*) ;;
    *) exit 255 ;;
esac
"""


class Interrupted(Exception):
    """Raised by a pause, as an interrupted run does."""


def test_a_pause_that_raises_leaves_no_file_of_the_new_key_alone(
    silent_machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    store = tmp_path / "keys" / "known_hosts"
    first = "127.0.0.1 ssh-ed25519 AAAAfirst"
    machine = dataclasses.replace(silent_machine, known_host=first, rotated_key=str(store))

    def pause(_seconds: float) -> None:
        assert store.with_name("known_hosts.new").exists(), "the pause is the one between tries to log in"
        raise Interrupted

    with ssh.shared_connection() as control:
        target = Target(machine=machine, known_hosts=ssh.write_known_hosts(machine, tmp_path), control=control)
        with pytest.raises(Interrupted):
            host_key.rotate_host_key(target, progress=print, pause=pause)
    assert [path.name for path in store.parent.iterdir()] == ["known_hosts"]
    assert store.read_text().splitlines() == [first, "127.0.0.1 ssh-ed25519 AAAAnew"], "either key may be served now"

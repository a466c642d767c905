"""First contact: patient, strict about the key, and clear about why it failed."""

import dataclasses
from pathlib import Path

from harness import ssh
from harness.model import Machine


def test_it_tries_as_often_as_told_with_doubling_pauses(silent_machine: Machine, tmp_path: Path) -> None:
    pauses: list[float] = []
    news: list[str] = []
    found = ssh.reach(
        silent_machine,
        ssh.pin(silent_machine, tmp_path),
        tries=4,
        first_backoff_s=0.5,
        progress=news.append,
        sleep=pauses.append,
    )
    assert pauses == [0.5, 1.0, 2.0]
    assert (found.reached, found.tries) == (False, 4)
    assert "Connection refused" in found.detail
    assert len(news) == 3


def test_only_the_pinned_key_counts(silent_machine: Machine, tmp_path: Path) -> None:
    argv = ssh.command(silent_machine, ssh.pin(silent_machine, tmp_path), "true")
    assert (tmp_path / "known_hosts").read_text() == silent_machine.known_host + "\n"
    assert argv[-2:] == ["root@127.0.0.1", "true"]
    for word in ("StrictHostKeyChecking=yes", f"UserKnownHostsFile={tmp_path}/known_hosts", "BatchMode=yes"):
        assert word in argv


def test_connections_are_shared_only_where_asked(silent_machine: Machine, tmp_path: Path) -> None:
    with ssh.shared_connection() as control:
        shared = ssh.command(silent_machine, tmp_path, "true", control=control)
        folder = control.parent
        assert len(str(control)) < 60, "a unix socket's path is short, and ssh adds to it while it connects"
    assert f"ControlPath={control}" in shared
    assert not any("ControlPath" in word for word in ssh.command(silent_machine, tmp_path, "true"))
    assert not folder.exists()


def test_an_odd_port_is_used(silent_machine: Machine, tmp_path: Path) -> None:
    argv = ssh.command(dataclasses.replace(silent_machine, port=2222), tmp_path, "true")
    assert argv[argv.index("-p") + 1] == "2222"

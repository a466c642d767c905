"""First contact: patient, strict about the key, and clear about why it failed."""

import dataclasses
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from harness.host import file_copy, ssh
from harness.model import Machine


def test_it_tries_as_often_as_told_with_doubling_pauses(silent_machine: Machine, tmp_path: Path) -> None:
    pauses: list[float] = []
    news: list[str] = []
    found = ssh.wait_for_login(
        silent_machine,
        ssh.write_known_hosts(silent_machine, tmp_path),
        tries=4,
        first_backoff_s=0.5,
        progress=news.append,
        sleep=pauses.append,
    )
    assert pauses == [0.5, 1.0, 2.0]
    assert (found.reached, found.tries) == (False, 4)
    assert "Connection refused" in found.detail
    assert len(news) == 3


def read(client: socket.socket) -> None:
    """Read the greeting of a client, which may be gone."""
    with suppress(ConnectionError):
        client.recv(100)


def test_a_host_that_boots_is_tried_once_it_answers(silent_machine: Machine, tmp_path: Path) -> None:
    """By one who greets as an SSH server does, from the third question on."""
    booting = dataclasses.replace(silent_machine, boots_within_s=30.0)
    news: list[str] = []
    greeted: list[float] = []

    def greet(server: socket.socket) -> None:
        for _ in range(2):
            there, _ = server.accept()
            greeted.append(time.monotonic())
            there.sendall(b"SSH-2.0-nobody\r\n")
            read(there)
            there.close()

    with socket.socket() as server:
        server.bind((booting.address, booting.port))

        def sleep(_seconds: float) -> None:
            if len(news) == 3 and not greeted:
                server.listen()
                threading.Thread(target=greet, args=(server,), daemon=True).start()

        known = ssh.write_known_hosts(booting, tmp_path)
        found = ssh.wait_for_login(booting, known, tries=1, first_backoff_s=9, progress=news.append, sleep=sleep)
    assert news == ["waiting for its SSH server"] * 3
    assert (found.reached, found.tries, len(greeted)) == (False, 1, 2), "asked by the probe and by ssh"


def test_a_connection_that_a_booting_host_ends_before_a_login_is_no_try(
    silent_machine: Machine, tmp_path: Path
) -> None:
    booting = dataclasses.replace(silent_machine, boots_within_s=60.0)
    news: list[str] = []
    pauses: list[float] = []

    def serve(server: socket.socket) -> None:
        for said in (b"SSH-2.0-nobody\r\n", b"Not allowed at this time\r\n", b"", b"SSH-2.0-nobody\r\n"):
            there, _ = server.accept()
            there.sendall(said)
            if said.startswith(b"SSH"):
                read(there)
            there.close()

    with socket.socket() as server:
        server.bind((booting.address, booting.port))
        server.listen()
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        known = ssh.write_known_hosts(booting, tmp_path)
        found = ssh.wait_for_login(
            booting, known, tries=1, first_backoff_s=9, progress=news.append, sleep=pauses.append
        )
    assert pauses == [5.0, 5.0]
    assert all(sentence.startswith("its SSH server takes no connection yet: ") for sentence in news)
    assert (found.reached, found.tries) == (False, 1)


@pytest.mark.parametrize("greets_after_s", [0.6, 1.5, 4.0, 9.0])
def test_waiting_for_a_slow_server_brings_no_penalty_that_locks_us_out(greets_after_s: float) -> None:
    """By the rule of OpenSSH 9.8: each connection without a login adds a second, which passes; 15 are too many."""
    now_s = penalty_until_s = 0.0
    while (patience_s := ssh.choose_patience_s(now_s)) < greets_after_s:
        now_s += patience_s
        penalty_until_s = max(penalty_until_s, now_s) + 1.0
        assert penalty_until_s - now_s < 15
        now_s += ssh.PROBE_PAUSE_S
    assert now_s <= 12 * greets_after_s


def test_a_host_that_does_not_boot_gets_its_tries_in_the_end(silent_machine: Machine, tmp_path: Path) -> None:
    news: list[str] = []
    booting = dataclasses.replace(silent_machine, boots_within_s=0.3)
    found = ssh.wait_for_login(
        booting, ssh.write_known_hosts(booting, tmp_path), tries=2, first_backoff_s=0, progress=news.append
    )
    assert (found.reached, found.tries, news[-1][:10]) == (False, 2, "SSH try 1 ")
    assert set(news[:-1]) == {"waiting for its SSH server"}


def test_where_a_command_leads_to_the_host_ssh_itself_is_asked(silent_machine: Machine, tmp_path: Path) -> None:
    mark = tmp_path / "asked"
    way = ("-o", f"ProxyCommand=echo x >> {mark}; exit 1")
    booting = dataclasses.replace(silent_machine, boots_within_s=30.0, ssh_options=way)

    def sleep(_seconds: float) -> None:
        if len(mark.read_text().split()) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        ssh.wait_for_login(
            booting, ssh.write_known_hosts(booting, tmp_path), tries=1, first_backoff_s=9, progress=print, sleep=sleep
        )


def test_a_server_that_refuses_the_login_has_booted(silent_machine: Machine, tmp_path: Path) -> None:
    news: list[str] = []
    program = tmp_path / "proxy"
    program.write_text("#!/bin/sh\necho 'root@127.0.0.1: Permission denied (publickey).' >&2\nexit 1\n")
    program.chmod(0o755)
    machine = dataclasses.replace(silent_machine, boots_within_s=30.0, ssh_options=("-o", f"ProxyCommand={program}"))
    known = ssh.write_known_hosts(machine, tmp_path)
    found = ssh.wait_for_login(machine, known, tries=1, first_backoff_s=0, progress=news.append)
    assert (found.reached, news) == (False, []), "what a host gets while it boots is not waited for"


def test_a_login_that_fails_says_what_session_manager_said(silent_machine: Machine, tmp_path: Path) -> None:
    said = "An error occurred (TargetNotConnected) when calling the StartSession operation: i-1 is not connected."
    program = tmp_path / "proxy"
    program.write_text(f"#!/bin/sh\nprintf '\\n%s\\n' '{said}' >&2\nexit 254\n")
    program.chmod(0o755)
    machine = dataclasses.replace(silent_machine, ssh_options=("-o", f"ProxyCommand={program}"))
    known = ssh.write_known_hosts(machine, tmp_path)
    found = ssh.wait_for_login(machine, known, tries=1, first_backoff_s=0, progress=print)
    assert (found.reached, found.detail) == (False, said)


def test_only_the_pinned_key_counts(silent_machine: Machine, tmp_path: Path) -> None:
    argv = ssh.build_command(silent_machine, ssh.write_known_hosts(silent_machine, tmp_path), "true")
    assert (tmp_path / "known_hosts").read_text() == silent_machine.known_host + "\n"
    assert argv[-3:] == ["--", "root@127.0.0.1", "true"]
    for word in ("StrictHostKeyChecking=yes", f"UserKnownHostsFile={tmp_path}/known_hosts", "BatchMode=yes"):
        assert word in argv


def test_connections_are_shared_only_where_asked(silent_machine: Machine, tmp_path: Path) -> None:
    with ssh.shared_connection() as control:
        shared = ssh.build_command(silent_machine, tmp_path, "true", control=control)
        folder = control.parent
        assert len(str(control)) < 60, "a unix socket's path is short, and ssh adds to it while it connects"
    assert f"ControlPath={control}" in shared
    assert not any("ControlPath" in word for word in ssh.build_command(silent_machine, tmp_path, "true"))
    assert not folder.exists()


def test_an_odd_port_is_used(silent_machine: Machine, tmp_path: Path) -> None:
    argv = ssh.build_command(dataclasses.replace(silent_machine, port=2222), tmp_path, "true")
    assert argv[argv.index("-p") + 1] == "2222"


def test_what_stands_behind_the_end_of_options_is_none(tmp_path: Path) -> None:
    """OpenSSH itself says so: the same word before `--` runs a command here."""
    for words, runs in ((["--", f"-oProxyCommand=touch {tmp_path}/a"], False), (["--", "x@nowhere.invalid"], False)):
        ended = subprocess.run(["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", *words], capture_output=True)
        assert ended.returncode == 255
        assert (tmp_path / "a").exists() is runs


def test_a_path_with_blanks_and_percent_signs_is_one_path(silent_machine: Machine, tmp_path: Path) -> None:
    """As ssh reads its own options (ssh -G)."""
    folder = tmp_path / "My files %h"
    folder.mkdir()
    argv = ssh.build_command(
        dataclasses.replace(silent_machine, private_key=f"{folder}/key"), folder / "known_hosts", "true"
    )
    said = subprocess.run(["ssh", "-G", *argv[1:]], capture_output=True, text=True, check=True).stdout
    told = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    assert told["userknownhostsfile"] == f"{folder}/known_hosts"
    assert told["identityfile"].replace("%%", "%") == f"{folder}/key"  # shown before its tokens are filled in


@pytest.mark.parametrize(
    ("address", "there"),
    [("::1", "root@[::1]:/x"), ("fe80::1%lo", "root@[fe80::1%lo]:/x"), ("h.example", "root@h.example:/x")],
)
def test_scp_is_told_an_address_of_colons_in_brackets(silent_machine: Machine, address: str, there: str) -> None:
    assert file_copy.remote_path(dataclasses.replace(silent_machine, address=address), "/x") == there

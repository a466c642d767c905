"""The agent of a lab guest, outside a guest: which services use a card's clock, who waits for an identity."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from agent import agent


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the PCI devices of a guest: a virtio card, and an ENA card with a clock."""
    folder, driver = tmp_path / "devices", tmp_path / "ena"
    for pci, vendor in (("0000:00:02.0", "0x1af4"), ("0000:01:00.0", "0x1d0f")):
        (folder / pci / "net" / "eth0").mkdir(parents=True)
        (folder / pci / "vendor").write_text(vendor + "\n")
    (folder / "0000:01:00.0" / "ptp" / "ptp0").mkdir(parents=True)
    driver.mkdir()
    (driver / "0000:01:00.0").touch()
    monkeypatch.setattr(agent, "PCI_DEVICES", str(folder))
    monkeypatch.setattr(agent, "ENA_DRIVER", str(driver))
    return folder


def add_process(processes: Path, pid: int, cgroup: str, file: str) -> None:
    (processes / str(pid) / "fd").mkdir(parents=True)
    (processes / str(pid) / "fd" / "3").symlink_to(file)
    (processes / str(pid) / "cgroup").write_text(f"0::/system.slice/{cgroup}\n")


def test_services_with_an_open_clock_are_found_and_sessions_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid, (cgroup, file) in enumerate(
        [
            ("chrony.service", "/dev/ptp0"),
            ("ssh.service", "/dev/ptp0"),
            ("lab-agent.service", "/dev/ptp0"),
            ("other.service", "/dev/ptp1"),
            ("run-1.scope", "/dev/ptp0"),
        ],
        start=10,
    ):
        add_process(tmp_path, pid, cgroup, file)
    (tmp_path / "99").mkdir()  # ended meanwhile
    (tmp_path / "uptime").touch()
    monkeypatch.setattr(agent, "PROCESSES", str(tmp_path))
    assert agent.services_with_open_files({"/dev/ptp0"}) == ["chrony.service"]
    assert agent.services_with_open_files(set()) == []


def test_cards_are_known_by_their_maker_and_clocks_by_their_card(devices: Path) -> None:
    assert agent.amazon_functions() == ["0000:01:00.0"]
    assert agent.clocks_of("0000:01:00.0") == ["ptp0"]
    assert agent.clocks_of("0000:00:02.0") == []


def test_a_driver_that_does_not_let_go_is_told(devices: Path) -> None:
    reply = agent.handle_line(b'{"do": "unplug", "timeout_s": 0.05}')
    assert reply == {
        "ok": False,
        "error": "TimeoutError: the kernel does not let go of an ENA card within 0.05 s",
    }
    assert (devices / "0000:01:00.0" / "remove").read_text() == "1"
    assert agent.unplugged_cards == {"0000:01:00.0": True}


def test_a_card_that_stays_away_is_told(devices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PCI_RESCAN", str(tmp_path / "rescan"))
    monkeypatch.setattr(agent, "unplugged_cards", {"0000:01:00.0": True})
    assert agent.handle_line(b'{"do": "replug", "timeout_s": 1, "utc_ns": null}') == {"ok": True, "clocks": 1}
    monkeypatch.setattr(agent, "unplugged_cards", {"0000:02:00.0": False})
    reply = agent.handle_line(b'{"do": "replug", "timeout_s": 0.05, "utc_ns": null}')
    assert reply["error"] == "TimeoutError: too few network cards of ena within 0.05 s"
    assert (tmp_path / "rescan").read_text() == "1"


def test_an_sshd_that_waits_at_the_pipe_gets_its_configuration_and_a_booted_guest_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "config"
    monkeypatch.setattr(agent, "SSHD_PIPE", str(pipe))
    agent.configure_sshd()
    assert not pipe.exists()
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as sshd:
        agent.configure_sshd()
        assert sshd.communicate(timeout=10)[0] == agent.SSHD_CONFIG
    assert pipe.read_text() == agent.SSHD_CONFIG  # for an sshd that is told to read it again
    agent.configure_sshd()
    assert pipe.read_text() == agent.SSHD_CONFIG


def test_a_listening_socket_is_told_from_its_successor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        earlier = agent.listening_socket(port)
        assert earlier is not None
    assert agent.listening_socket(port) is None
    with socket.create_server(("127.0.0.1", port)):
        assert agent.listening_socket(port) not in (None, earlier)


def test_a_greeting_names_all_requests() -> None:
    assert {"unplug", "replug", "identity"} <= set(agent.handle_line(b'{"do": "hello"}')["requests"])

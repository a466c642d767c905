"""JSON lines over a unix socket: deadlines, noise, and a side that hangs up."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.benches.lab import agent, qmp
from harness.benches.lab.lines import JsonLines
from harness.errors import CommandError


@contextmanager
def other_side(path: Path, act: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody who listens at the path and does `act` with whom connects."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                act(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(timeout=10)
    assert not thread.is_alive()


def test_noise_is_passed_over_and_lines_are_put_together(tmp_path: Path) -> None:
    def act(connection: socket.socket) -> None:
        connection.sendall(b'garbage\n[1]\n{"a"')
        connection.sendall(b': 1}\n{"b": 2}\n')

    with other_side(tmp_path / "s", act):
        lines = JsonLines(tmp_path / "s", deadline_s=5)
        assert [lines.receive(deadline_s=5), lines.receive(deadline_s=5)] == [{"a": 1}, {"b": 2}]
        with pytest.raises(CommandError, match="the other side hung up"):
            lines.receive(deadline_s=5)
        lines.close()


def test_silence_ends_at_the_deadline(tmp_path: Path) -> None:
    with other_side(tmp_path / "s", lambda connection: connection.recv(1) and None):
        lines = JsonLines(tmp_path / "s", deadline_s=5)
        with pytest.raises(CommandError, match="did not end within 0 s"):
            lines.receive(deadline_s=0.05)
        lines.close()


def test_nobody_there_is_told_after_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot connect: No such file or directory"):
        JsonLines(tmp_path / "s", deadline_s=0.05)


def test_the_agents_own_words_reach_the_caller(tmp_path: Path) -> None:
    def act(connection: socket.socket) -> None:
        assert connection.recv(100) == b'{"do": "driver", "timeout_s": 1}\n'
        connection.sendall(b'{"ok": false, "error": "TimeoutError: no card"}\n')

    with (
        other_side(tmp_path / "s", act),
        agent.connected(tmp_path / "s") as port,
        pytest.raises(CommandError, match="lab-agent ended with status 1: TimeoutError: no card"),
    ):
        port.ask("driver", deadline_s=5, timeout_s=1)


def test_events_between_command_and_answer_are_no_answers(tmp_path: Path) -> None:
    def act(connection: socket.socket) -> None:
        connection.sendall(b'{"QMP": {}}\n')
        assert b"qmp_capabilities" in connection.recv(100)
        connection.sendall(b'{"return": {}}\n')
        assert connection.recv(200) == b'{"execute": "device_add", "arguments": {"bus-name": "x"}}\n'
        connection.sendall(b'{"event": "STOP"}\n{"error": {"desc": "no such bus"}}\n')

    with (
        other_side(tmp_path / "s", act),
        qmp.session(tmp_path / "s") as monitor,
        pytest.raises(CommandError, match="no such bus"),
    ):
        monitor.do("device_add", bus_name="x")

"""JSON lines over a unix socket: deadlines, noise, and a side that hangs up."""

import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness.benches.lab.io import guest_agent, qmp
from harness.benches.lab.io.guest_agent import ScriptResult
from harness.benches.lab.io.json_lines import MOST_BYTES, JsonLines
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


def flood(part: bytes, pause_s: float = 0) -> Callable[[socket.socket], None]:
    """Send the same again and again, until the other side hangs up."""

    def act(connection: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection.sendall(part)
                time.sleep(pause_s)

    return act


def test_a_line_without_end_is_given_up_before_it_fills_the_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with other_side(tmp_path / "s", flood(b"x" * 65536)):
            lines = JsonLines(tmp_path / "s", deadline_s=5)
            with pytest.raises(CommandError, match="a line of more than 1048576 bytes"):
                lines.receive(deadline_s=60)
            lines.close()
        assert tracemalloc.get_traced_memory()[1] < 8 * MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "pause_s"),
    [(b"noise\n" * 1000, 0), (b"n", 0.05), (b"[" * 200_000 + b"\n", 0)],
    ids=["noise", "drops", "deep"],
)
def test_who_goes_on_and_on_is_heard_until_the_deadline_and_no_longer(
    tmp_path: Path, part: bytes, pause_s: float
) -> None:
    with other_side(tmp_path / "s", flood(part, pause_s)):
        lines = JsonLines(tmp_path / "s", deadline_s=5)
        begun = time.monotonic()
        with pytest.raises(CommandError, match="did not end within"):
            lines.receive(deadline_s=0.5)
        assert 0.4 < time.monotonic() - begun < 3
        lines.close()


def test_who_reads_nothing_holds_nobody_up_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.benches.lab.io.json_lines.SEND_DEADLINE_S", 0.2)
    ended = threading.Event()
    with other_side(tmp_path / "s", lambda connection: ended.wait(10) and None):
        lines = JsonLines(tmp_path / "s", deadline_s=5)
        with pytest.raises(CommandError, match="did not end within"):
            lines.send({"words": "x" * 10**7})
        ended.set()
        lines.close()


def test_a_long_line_in_many_parts_is_put_together_in_linear_time(tmp_path: Path) -> None:
    whole = json.dumps({"a": "x" * 1_000_000}).encode() + b"\n"

    def act(connection: socket.socket) -> None:
        for at in range(0, len(whole), 100):
            connection.sendall(whole[at : at + 100])

    with other_side(tmp_path / "s", act):
        lines = JsonLines(tmp_path / "s", deadline_s=5)
        assert len(lines.receive(deadline_s=20)["a"]) == 1_000_000
        lines.close()


@pytest.mark.parametrize(
    "reply",
    [
        '{"ok": true}',
        '{"ok": true, "status": "0", "out": ""}',
        '{"ok": true, "status": true, "out": ""}',
        '{"ok": true, "status": 0, "out": ["x"]}',
        '{"ok": true, "status": 0, "out": null, "found": 1}',
        '{"ok": 1, "status": 0, "out": "", "found": true}',
        '{"ok": false, "error": {"a": ["\\ud800"]}}',
        '{"error": ' + "9" * 4000 + "}",
        json.dumps({"ok": False, "error": "x" * 1_000_000}),
    ],
)
def test_a_guest_that_answers_anything_at_all_is_a_clear_error(tmp_path: Path, reply: str) -> None:
    def act(connection: socket.socket) -> None:
        for _ in range(2):
            connection.recv(1000)
            connection.sendall(reply.encode() + b"\n")

    with other_side(tmp_path / "s", act), guest_agent.connect(tmp_path / "s") as port:
        for ask in (lambda: port.shell("true", deadline_s=5), lambda: port.exists("/*", deadline_s=5)):
            with pytest.raises(CommandError, match="lab-agent ended with status 1") as caught:
                ask()
            assert len(caught.value.message) < 3000
            caught.value.message.encode()


def test_an_honest_guests_replies_are_what_they_are(tmp_path: Path) -> None:
    def act(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b'{"ok": true, "status": 3, "out": "words\\n"}\n')
        connection.recv(1000)
        connection.sendall(b'{"ok": true, "found": true}\n')

    with other_side(tmp_path / "s", act), guest_agent.connect(tmp_path / "s") as port:
        assert port.shell("false", deadline_s=5) == ScriptResult(status=3, out="words\n")
        assert port.exists("/*", deadline_s=5) is True


def test_nobody_there_is_told_after_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot connect: No such file or directory"):
        JsonLines(tmp_path / "s", deadline_s=0.05)


def test_a_link_in_a_sockets_place_leads_nowhere(tmp_path: Path) -> None:
    """Who is a guest's user may make names in its folder, and we speak as somebody who may speak to other sockets."""
    with socket.socket(socket.AF_UNIX) as secret:
        secret.bind(str(tmp_path / "secret"))
        secret.listen()
        (tmp_path / "agent").symlink_to("secret")
        with pytest.raises(CommandError, match="cannot connect"):
            JsonLines(tmp_path / "agent", deadline_s=0.05)
        JsonLines(tmp_path / "secret", deadline_s=5).close()


def test_the_agents_own_words_reach_the_caller(tmp_path: Path) -> None:
    def act(connection: socket.socket) -> None:
        assert connection.recv(100) == b'{"do": "driver", "timeout_s": 1}\n'
        connection.sendall(b'{"ok": false, "error": "TimeoutError: no card"}\n')

    with (
        other_side(tmp_path / "s", act),
        guest_agent.connect(tmp_path / "s") as port,
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

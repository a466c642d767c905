"""Requests to servers of others end in time, whatever these send, and every failure is a phrase."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.client.failures import FailedTry
from harness.watch.http_posts import MOST_AFTER_S, Posting, parse_retry_after
from tests.servers.receiver import Receiver, ScriptedAnswer


@contextmanager
def serve_bytes(send: Callable[[socket.socket], None]) -> Iterator[str]:
    """Yield the URL of a server that answers each connection with what `send` sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                connection.recv(65536)
                with suppress(OSError):
                    send(connection)

        threading.Thread(target=work, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/secret"


def drip(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Header: " + b"x" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    ("send", "phrase"),
    [
        (drip, "did not end its answer in time"),
        (lambda _connection: time.sleep(5), "did not answer in time"),
        (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "lost the connection"),
        (lambda _connection: None, "lost the connection"),
    ],
    ids=["a byte now and then", "silence", "another protocol", "nothing"],
)
def test_a_bad_server_is_given_up_in_time(send: Callable[[socket.socket], None], phrase: str) -> None:
    with serve_bytes(send) as url:
        posting = Posting(url, answer_s=0.5)
        begun = time.monotonic()
        with pytest.raises(FailedTry, match=phrase) as failed:
            posting.post(b"x", {})
        assert time.monotonic() - begun < 3
        assert "secret" not in str(failed.value)
        posting.close()


def test_an_endless_answer_is_read_to_its_bound(receiver: Receiver) -> None:
    with serve_bytes(flood) as url:
        posting = Posting(url, answer_s=5)
        reply = posting.post(b"x", {})
        posting.close()
    assert reply.status == 400
    assert reply.words.startswith("xxx")
    assert len(reply.words) < 400


def test_after_a_server_that_hung_the_next_request_is_sent(receiver: Receiver) -> None:
    posting = Posting(receiver.url, answer_s=0.3)
    receiver.script(ScriptedAnswer(pause_s=2.0), ScriptedAnswer(200))
    with pytest.raises(FailedTry):
        posting.post(b"x", {})
    assert posting.post(b"y", {}).succeeded
    posting.close()


def test_retry_after_is_seconds_or_a_date_and_bounded() -> None:
    assert parse_retry_after(None, 0.0) is None
    assert parse_retry_after("17", 0.0) == 17.0
    assert parse_retry_after("100000000000000000000000", 0.0) == MOST_AFTER_S
    assert parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40.0) == 60.0
    assert parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400.0) == 0.0
    assert parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", 0.0) == MOST_AFTER_S


@given(text=st.text(max_size=40), now_s=st.floats(0, 1e11))
def test_any_text_is_a_bounded_pause_or_none(text: str, now_s: float) -> None:
    after_s = parse_retry_after(text, now_s)
    assert after_s is None or 0 <= after_s <= MOST_AFTER_S

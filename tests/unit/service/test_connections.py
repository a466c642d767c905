"""Connections that are slow, silent, greedy or broken: served or cut off, and nobody else notices."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from harness.model.tasks import Scope
from harness.service import connections, request_limits
from harness.service.connections import Connections
from tests.servers.service import RunningService, running_service

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with running_service(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "state") as running:
        yield running


def connect(service: RunningService) -> socket.socket:
    host, _, port = service.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def read_to_end(client: socket.socket) -> bytes:
    """What a server sends until it closes the connection."""
    received = b""
    with suppress(ConnectionResetError, BrokenPipeError):
        while chunk := client.recv(65536):
            received += chunk
    return received


def read_answer(client: socket.socket) -> bytes:
    """One answer with a length."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65536) or pytest.fail("no answer")
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536) or pytest.fail("no answer")
    return head + b"\r\n\r\n" + body


def assert_serves(service: RunningService) -> None:
    begun = time.monotonic()
    assert service.get("/healthz", None).status_code == 200
    assert time.monotonic() - begun < 5


# -- slow and silent clients


@pytest.mark.parametrize(
    "beginning",
    [b"", b"G", b"\r\n", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: b"],
    ids=["nothing", "a letter", "an empty line", "a line", "half a header"],
)
def test_headers_that_do_not_come_end_the_connection(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 1.0)
    with closing(connect(service)) as client:
        client.sendall(beginning)
        begun = time.monotonic()
        assert read_to_end(client) == b""
        assert time.monotonic() - begun < 10
    assert_serves(service)


def test_headers_that_come_byte_by_byte_end_the_connection(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 1.0)
    with closing(connect(service)) as client:
        begun = time.monotonic()
        with suppress(OSError):
            for byte in b"GET /healthz HTTP/1.1\r\nX-Slow: " + b"a" * 1000:
                client.sendall(bytes([byte]))
                time.sleep(0.05)
                if time.monotonic() - begun > 20:
                    pytest.fail("it was never cut off")
        assert time.monotonic() - begun < 10
    assert_serves(service)


@pytest.mark.parametrize("more", [b"", b"\r\n", b"GET"])
def test_a_connection_that_is_kept_and_not_used_ends(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 1.0)
    service.server.config.timeout_keep_alive = 1
    with closing(connect(service)) as client:
        for _ in range(2):
            client.sendall(GET)
            assert read_answer(client).startswith(b"HTTP/1.1 200")
        client.sendall(more)
        begun = time.monotonic()
        assert read_to_end(client) == b""
        assert time.monotonic() - begun < 10


def test_a_body_that_does_not_come_is_refused(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "BODY_WITHIN_S", 1.0)
    with closing(connect(service)) as client:
        head = f"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.tokens[Scope.SUBMIT]}\r\n"
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{".encode())
        answer = read_to_end(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert b"the body did not come within 1 s" in answer


def test_a_client_that_reads_nothing_is_cut_off(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_WITHIN_S", 1.0)
    with closing(connect(service)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        give_up_at = time.monotonic() + 60
        client.settimeout(1)
        with suppress(OSError):
            while time.monotonic() < give_up_at:
                with suppress(TimeoutError):
                    client.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
                time.sleep(0.1)
        assert time.monotonic() < give_up_at, "it was never cut off"
    assert_serves(service)


# -- large requests


@pytest.mark.parametrize("name", [b"X-Large: " + b"a" * 10_000_000, b"\r\n".join([b"X-A: " + b"b" * 100] * 20_000)])
def test_headers_that_are_too_large_are_refused(service: RunningService, name: bytes) -> None:
    with closing(connect(service)) as client:
        with suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + name + b"\r\n\r\n")
        assert read_to_end(client)[:13] in (b"HTTP/1.1 431 ", b"")
    assert_serves(service)


def test_headers_just_within_the_bound_are_served_and_just_beyond_refused(service: RunningService) -> None:
    for size, status in ((60_000, b"200"), (70_000, b"431")):
        with closing(connect(service)) as client:
            client.sendall(
                b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-A: " + b"a" * size + b"\r\n\r\n"
            )
            assert read_to_end(client)[9:12] == status
    with closing(connect(service)) as client:
        client.sendall(b"GET /healthz?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_to_end(client)[9:12] == b"431"


def send_without_end(client: socket.socket, make_chunk: Callable[[bytes], bytes], seconds: float = 20) -> int:
    """Send a body of a gigabyte until the server has enough of it; return how many bytes it took."""
    sent, chunk, give_up_at = 0, make_chunk(b"x" * 65536), time.monotonic() + seconds
    with suppress(OSError):
        while sent < 1_000_000_000 and time.monotonic() < give_up_at:
            client.sendall(chunk)
            sent += len(chunk)
    return sent


@pytest.mark.parametrize("scope", [None, Scope.SUBMIT])
@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/nowhere", "/healthz"])
def test_a_gigabyte_with_a_length_is_refused_before_it_is_read(
    service: RunningService, scope: Scope | None, path: str
) -> None:
    token = "" if scope is None else f"Authorization: Bearer {service.tokens[scope]}\r\n"
    with closing(connect(service)) as client:
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\n{token}Content-Type: application/json\r\n"
            "Content-Length: 1000000000\r\n\r\n".encode()
        )
        answer = read_answer(client)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["next_step"].startswith("a campaign is a few kilobytes")
        assert send_without_end(client, lambda data: data) < 40_000_000
    assert_serves(service)


@pytest.mark.parametrize("scope", [None, Scope.SUBMIT])
def test_a_gigabyte_without_a_length_is_refused_once_it_is_too_much(
    service: RunningService, scope: Scope | None
) -> None:
    token = "" if scope is None else f"Authorization: Bearer {service.tokens[scope]}\r\n"
    with closing(connect(service)) as client:
        client.sendall(
            f"POST /v1/tasks HTTP/1.1\r\nHost: x\r\n{token}Content-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        assert send_without_end(client, lambda data: b"%x\r\n%s\r\n" % (len(data), data)) < 60_000_000
        answer = read_to_end(client)
    assert answer[:13] in (b"HTTP/1.1 413 ", b""), answer[:200]
    assert_serves(service)


def test_a_body_just_beyond_the_bound_gets_its_answer(service: RunningService) -> None:
    """A client that sends all before it reads is told, too."""
    for extra, status in ((0, 422), (1, 413)):
        body = b'{"campaign": "' + b"x" * (1_000_000 - 16 + extra) + b'"}'
        answer = service.post("/v1/tasks", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == status
    chunks = (b"x" * 100_000 for _ in range(20))
    answer = service.post("/v1/tasks", content=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_small_rest_of_a_body_is_thrown_away_and_the_connection_goes_on(service: RunningService) -> None:
    with closing(connect(service)) as client:
        client.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * 1000)
        assert read_answer(client).startswith(b"HTTP/1.1 404 ")
        client.sendall(b"x" * 299_000 + GET)
        assert read_answer(client).startswith(b"HTTP/1.1 200 ")


def test_a_rest_of_a_body_that_does_not_come_ends_the_connection(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "DRAIN_WITHIN_S", 1.0)
    with closing(connect(service)) as client:
        client.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
        assert read_answer(client).startswith(b"HTTP/1.1 404 ")
        client.sendall(b"x" * 1000)
        begun = time.monotonic()
        assert read_to_end(client) == b""
        assert time.monotonic() - begun < 10


# -- broken requests


@pytest.mark.parametrize(
    "request_text",
    [
        b"\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\0y\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_a_broken_request_is_refused(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, request_text: bytes
) -> None:
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 2.0)
    monkeypatch.setattr(request_limits, "BODY_WITHIN_S", 2.0)
    service.server.config.timeout_keep_alive = 1
    with closing(connect(service)) as client:
        client.sendall(request_text)
        answer = read_to_end(client)
    status = answer[9:12]
    assert status in (b"", b"400", b"401", b"404", b"405", b"413", b"501", b"505"), answer
    assert answer.count(b"HTTP/1.1 ") <= 1, "one answer, whatever stands behind it"
    assert_serves(service)


def test_trailers_are_no_headers(service: RunningService) -> None:
    with closing(connect(service)) as client:
        client.sendall(
            b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n{}\r\n0\r\n" + f"Authorization: Bearer {service.tokens[Scope.ADMIN]}\r\n\r\n".encode()
        )
        assert read_to_end(client).startswith(b"HTTP/1.1 401 ")


def test_requests_behind_each_other_are_answered_in_order(service: RunningService) -> None:
    with closing(connect(service)) as client:
        client.sendall(GET * 3 + b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = read_to_end(client)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"200", b"404"]


def test_an_answer_names_no_server(service: RunningService) -> None:
    answer = service.get("/healthz", None)
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers


# -- many connections


def test_too_many_connections_end_those_that_have_waited_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.service.server.allow_connections", lambda: 20)
    with running_service(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "state") as service:
        clients = [connect(service) for _ in range(60)]
        try:
            give_up_at = time.monotonic() + 20
            while len(service.server.server_state.connections) > 20 and time.monotonic() < give_up_at:
                time.sleep(0.05)
            assert len(service.server.server_state.connections) <= 20
            assert_serves(service)
            assert read_to_end(clients[0]) == b""
            clients[-1].sendall(GET)
            assert read_answer(clients[-1]).startswith(b"HTTP/1.1 200")
        finally:
            for client in clients:
                client.close()


def test_connections_that_have_ended_are_forgotten(service: RunningService) -> None:
    shared: Connections = service.server.config.http_protocol_class.keywords["shared"]  # type: ignore[union-attr]
    for _ in range(20):
        with closing(connect(service)) as client:
            client.sendall(GET)
            read_answer(client)
    give_up_at = time.monotonic() + 20
    while (shared.waiting or service.server.server_state.connections) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert (len(shared.waiting), len(service.server.server_state.connections)) == (0, 0)

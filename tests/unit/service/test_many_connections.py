"""Ten thousand connections on which nothing is sent: the service keeps its memory, and serves others."""

import resource
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.servers.serve_process import ServeProcess, serving

NUMBER = 10_000


def open_idle(service: ServeProcess, number: int, stack: ExitStack) -> list[socket.socket]:
    clients = []
    for _ in range(number):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", service.port))
        clients.append(client)
        if len(clients) % 500 == 0:
            time.sleep(0.05)  # so that the service can accept them
    return clients


def count_open(clients: list[socket.socket]) -> int:
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        ended = {key.fd for key, _ in selector.select(0)}
    return len(clients) - len(ended)


@pytest.mark.programs
@pytest.mark.slow
def test_ten_thousand_idle_connections_cost_little_and_hold_nobody_up(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < NUMBER + 1000:
        pytest.skip(f"this process may open {soft} files, and needs {NUMBER + 1000}")
    with serving(tmp_path, "--open", "--no-work") as service, ExitStack() as stack:
        assert httpx2.get(f"{service.url}/v1/tasks").status_code == 200
        before = service.memory_mib()
        clients = open_idle(service, NUMBER, stack)
        begun = time.monotonic()
        assert httpx2.get(f"{service.url}/v1/tasks", timeout=20).status_code == 200
        seconds = time.monotonic() - begun
        during = service.memory_mib()
        kept = count_open(clients)
        for client in clients:
            client.close()
        for _ in range(3):
            with ExitStack() as wave:
                open_idle(service, 2000, wave)
        assert httpx2.get(f"{service.url}/healthz", timeout=20).status_code == 200
        after = service.memory_mib()
    record_property(
        "counted",
        f"{NUMBER} idle connections, of which {kept} stay: {before:.0f} MiB before, {during:.0f} MiB during, "
        f"{after:.0f} MiB after 6000 more; another request took {seconds:.2f} s",
    )
    assert during - before < 60
    assert after - before < 80
    assert seconds < 10

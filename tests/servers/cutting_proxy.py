"""Pass TCP connections on to a server, and cut them where a test says so."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65536
_PIECE_EVERY_S = 0.03


class CuttingProxy:
    """A port of this machine behind which a server is. Its connections are cut, or its answers replaced, by turns.

    `lose_answers`: so many connections are cut once the server has answered them, before anything of that arrives.
    `refuse`: so many are cut before the server hears of them. `cut_after_bytes`: each connection ends after so many
    bytes of its answer; None: at its own end. `answers`: what the next connections get instead of an answer.
    `piece_bytes`: an answer arrives in pieces of so many bytes, as over a slow link; None: as fast as it goes.
    `silent`: no answer arrives. `away`: every connection is cut at once. `connect`, `listening`: how the server is
    reached, and where connections are taken, if one of these is in another network than that of this machine.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        connect: Callable[[str, int], socket.socket] | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self._server, self._connect = (host, port), connect or _connect
        self._listening = listening or socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.lose_answers, self.refuse, self.connections = 0, 0, 0
        self.cut_after_bytes: int | None = None
        self.piece_bytes: int | None = None
        self.answers: list[bytes] = []
        self.silent = self.away = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self._listening.getsockname()
        return f"http://{host}:{port}"

    def cut_all(self) -> None:
        """Cut every connection that is open now."""
        for side in list(self._open):
            _close(side)

    def close(self) -> None:
        _close(self._listening)
        self.cut_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.away or self.refuse > 0:
            self.refuse -= not self.away
            _close(client)
            return
        if self.answers:
            answer = self.answers.pop(0)
            with suppress(OSError):
                client.recv(_CHUNK)
                client.sendall(answer)
            _close(client)
            return
        try:
            server = self._connect(*self._server)
        except OSError:
            _close(client)
            return
        server.settimeout(None)
        self._open.add(server)
        threading.Thread(target=self._pass_requests, args=(client, server), daemon=True).start()
        self._pass_answers(server, client)

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(_CHUNK):
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := server.recv(_CHUNK):
                if self.lose_answers > 0:
                    self.lose_answers -= 1
                    break
                if self.away:
                    break
                if self.silent:
                    continue
                if self.cut_after_bytes is not None:
                    data = data[: max(0, self.cut_after_bytes - passed)]
                self._send(client, data)
                passed += len(data)
                if self.cut_after_bytes is not None and passed >= self.cut_after_bytes:
                    break
        for side in (client, server):
            _close(side)
            self._open.discard(side)

    def _send(self, client: socket.socket, data: bytes) -> None:
        while self.piece_bytes is not None and data:
            client.sendall(data[: self.piece_bytes])
            data = data[self.piece_bytes :]
            time.sleep(_PIECE_EVERY_S)
        client.sendall(data)


@contextmanager
def cutting_proxy(url: str) -> Iterator[CuttingProxy]:
    """Put a proxy before the server of a URL."""
    host, _, port = url.partition("://")[2].rpartition(":")
    proxy = CuttingProxy(host, int(port))
    try:
        yield proxy
    finally:
        proxy.close()


def _connect(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=10)


def _close(side: socket.socket) -> None:
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()

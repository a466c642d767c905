"""Listen, serve requests until a signal comes, and end in order."""

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import uvicorn
from fastapi import FastAPI

from harness.errors import RequestError, SetupError
from harness.service.app import make_app
from harness.service.connections import BoundedProtocol, Connections, allow_connections
from harness.service.context import ServiceContext
from harness.service.executor import Executor
from harness.service.scheduler import Scheduler
from harness.untrusted.input_checks import shorten_value

_ANSWERED_WITHIN_S = 10
_BACKLOG = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a service listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    @classmethod
    def of_socket(cls, listening: socket.socket) -> "Address":
        """Return the address to which a socket is bound."""
        host, port, *_ = listening.getsockname()
        return cls(host=str(host), port=int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The files of a certificate and of its private key."""

    certificate: Path
    key: Path

    @classmethod
    def load(cls, certificate: Path | None, key: Path | None) -> "Certificate | None":
        """Check a certificate and its key; None without both. Raises RequestError."""
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise RequestError("--certificate and --key go together", next_step="name both files, or neither")
        try:
            # With a password here nobody is asked for one at a terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        except OSError as error:  # SSLError is one
            raise RequestError(
                f"the certificate {certificate} and the key {key} cannot be used: {error.strerror or error}",
                next_step="both in PEM; the key is that of the certificate, and has no password",
            ) from error
        return cls(certificate=certificate, key=key)


class BackgroundPart(Protocol):
    """Works in threads of its own while the service runs."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self) -> None:
        """End, within seconds."""


def parse_address(text: str) -> Address:
    """Parse HOST:PORT. Raises RequestError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise RequestError(
            f"--listen is {shorten_value(text)}: it must be HOST:PORT", next_step="such as 127.0.0.1:8440 or [::1]:8440"
        )
    return Address(host=host, port=int(port))


def parse_proxies(texts: Sequence[str]) -> tuple[str, ...]:
    """Parse the addresses of proxies, or their networks. Raises RequestError."""
    for text in texts:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise RequestError(
                f"--proxy is {shorten_value(text)}: it must be an address or a network",
                next_step="such as 10.0.0.1 or 10.0.0.0/24; what a proxy says of clients counts, so name yours alone",
            ) from error
    return tuple(texts)


@contextmanager
def listen(address: Address) -> Iterator[socket.socket]:
    """Listen on an address. Raises SetupError when that cannot be."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SetupError(f"cannot listen on {address}: {error.strerror or error}") from error
    with listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(_BACKLOG)
        except OSError as error:
            raise SetupError(
                f"cannot listen on {address}: {error.strerror or error}",
                next_step="another program may have the port (`ss -ltnp`); --listen HOST:PORT takes another one",
            ) from error
        listening.set_inheritable(False)
        yield listening


def serve_requests(
    context: ServiceContext,
    listening: socket.socket,
    *,
    executor: Executor | None = None,
    certificate: Certificate | None = None,
    proxies: Sequence[str] = (),
) -> None:
    """Serve requests until SIGINT or SIGTERM. Open requests are answered, streams closed; tasks that run go on."""
    server = make_server(context, executor=executor, certificate=certificate, proxies=proxies)
    with suppress(KeyboardInterrupt):  # uvicorn passes the signal on once it has ended
        server.run(sockets=[listening])


def make_server(
    context: ServiceContext,
    *,
    executor: Executor | None = None,
    certificate: Certificate | None = None,
    proxies: Sequence[str] = (),
) -> uvicorn.Server:
    """Make the server of a service's application. Its `handle_exit` ends it, as a signal does."""
    app = make_app(context)
    app.router.lifespan_context = _lifespan(context, executor)
    config = uvicorn.Config(
        app,
        http=partial(BoundedProtocol, shared=Connections(allow_connections())),  # type: ignore[arg-type]
        ws="none",
        log_level="error",  # whoever sends nonsense could fill the log with warnings
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies) or "",
        timeout_graceful_shutdown=_ANSWERED_WITHIN_S,
        timeout_keep_alive=30,
        ssl_certfile=str(certificate.certificate) if certificate else None,
        ssl_keyfile=str(certificate.key) if certificate else None,
    )
    return _Server(config, context)


class _Server(uvicorn.Server):
    """Tells the context first that a signal came, so that streams of events end themselves."""

    def __init__(self, config: uvicorn.Config, context: ServiceContext) -> None:
        super().__init__(config)
        self._context = context

    def handle_exit(self, sig: int, frame: object) -> None:
        """Handle a signal."""
        self._context.draining.set()
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def _lifespan(context: ServiceContext, executor: Executor | None):  # type: ignore[no-untyped-def]
    given = [part for part in (executor, context.hub, context.watch) if part is not None]
    parts: list[BackgroundPart] = [context.trail, *given, Scheduler(context)]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        for part in parts:
            part.start()
        yield
        context.draining.set()
        for part in reversed(parts):
            part.stop()

    return lifespan

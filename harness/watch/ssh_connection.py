"""Keep one SSH connection to a host, in the event loop, over which its sampler is asked and answers in lines.

By asyncssh: a process of ssh for each host would take 7 MB. Only the keys of the stream's own source are trusted, no
file of this user's configuration is read, and what the host sends is bounded: each line, and all lines together by the
number of questions. A peer that is gone is noticed by its silence within DEAD_AFTER_S.
"""

import asyncio
import logging
import random
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import asyncssh

from harness.client.retries import RetryPolicy
from harness.errors import HarnessError, last_line
from harness.probes.reading import LONGEST_SAMPLE
from harness.untrusted.plain_text import clip, printable
from harness.watch.host_route import HostRoute

DEAD_AFTER_S = 5.0
_KEEPALIVE_S = 2.0
"""Where questions are rarer, the connection itself is asked every two seconds; the second lost answer ends it."""

_BYTES_AHEAD, _MOST_STDERR = 4 * LONGEST_SAMPLE, 4096
_REKEY_S = 3600


class Trouble(StrEnum):
    """A reason why a host cannot be sampled, for whoever looks after the host."""

    WRONG_KEY = "wrong host key"
    LOGIN_REFUSED = "login refused"
    UNREACHABLE = "unreachable"
    NO_SAMPLER = "the sampler does not run"
    BAD_ANSWER = "answers that are no samples"
    BAD_SOURCE = "a source that cannot be used"


class HostConnectionError(HarnessError):
    """A host of a stream that cannot be sampled. `trouble`: of which kind."""

    def __init__(self, trouble: Trouble, message: str, *, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.trouble = trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTimes:
    """Deadlines of a connection, s. `connect`: of TCP or the proxy command; `login`: until a session is open."""

    connect_s: float = 5.0
    login_s: float = 10.0
    start_s: float = 15.0  # until the sampler's first line
    first_pause_s: float = 0.5  # before the second try
    longest_pause_s: float = 30.0
    keepalive_s: float = _KEEPALIVE_S


class Backoff:
    """Pauses between tries: they double, each at random between half of it and all, so that hosts do not march."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._policy, self._tries = RetryPolicy(first_pause_s=first_s, longest_pause_s=longest_s), 0

    def next_s(self) -> float:
        self._tries += 1
        return self._policy.draw_pause_s(self._tries)

    def reset(self) -> None:
        self._tries = 0


class LineChannel(asyncssh.SSHClientSession[bytes]):
    """A command's output as lines, each at most LONGEST_SAMPLE bytes, and its end.

    `allow` grants the bytes of one more answer. `on_line` gets each line, `on_end` why no more come, once.
    """

    def __init__(self, on_line: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        self._on_line, self._on_end = on_line, on_end
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._rest, self._errors, self._allowed, self._ended = b"", b"", _BYTES_AHEAD, False
        self._status: int | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def allow(self) -> None:
        """Allow one more line; what was not used for earlier ones lapses."""
        self._allowed = min(self._allowed + LONGEST_SAMPLE, _BYTES_AHEAD)

    def write(self, text: bytes) -> None:
        if self._channel is not None and not self._ended:
            self._channel.write(text)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._ended:
            return
        if datatype is not None:
            self._errors = (self._errors + data)[-_MOST_STDERR:]
            self._allowed -= len(data)
        else:
            self._allowed -= len(data)
            *lines, self._rest = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
            for line in lines:
                if not self._ended and len(line) <= LONGEST_SAMPLE:
                    self._on_line(line)
                elif len(line) > LONGEST_SAMPLE:
                    self.end("it sends lines that are longer than a sample")
        if len(self._rest) > LONGEST_SAMPLE:
            self.end("it sends a line without an end")
        elif self._allowed < 0:
            self.end("it sends more than it was asked for")

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(self._describe_end(exc))

    def end(self, why: str) -> None:
        """End the command, and tell why; nothing that follows counts."""
        if self._ended:
            return
        self._ended, self._rest = True, b""
        if self._channel is not None:
            self._channel.abort()
        self._on_end(why)

    def _describe_end(self, error: Exception | None) -> str:
        said = last_line(self._errors.decode(errors="replace"))
        if said:
            return clip(printable(said))
        if error is not None:
            return f"the connection is lost: {clip(printable(str(error) or type(error).__name__))}"
        return "the connection is closed" if self._status is None else f"its Python ended with status {self._status}"


class HostConnection:
    """An open connection with the sampler's command running. `close` ends both."""

    def __init__(self, connection: asyncssh.SSHClientConnection, channel: LineChannel) -> None:
        self._connection, self._channel = connection, channel

    def ask(self, question: bytes) -> None:
        """Send a line; its answer may take one line."""
        self._channel.allow()
        self._channel.write(question + b"\n")

    def send(self, text: bytes) -> None:
        self._channel.write(text)

    def close(self) -> None:
        """Close at once, without a word of the other side."""
        self._channel.end("closed here")
        self._connection.abort()


class Connector:
    """Opens connections to hosts, so many at once. Keys and lists of known hosts are read once."""

    def __init__(self, times: ConnectionTimes | None = None, *, at_once: int = 20) -> None:
        self.times = times or ConnectionTimes()
        self._places = asyncio.Semaphore(at_once)
        self._keys: dict[tuple[str, int], asyncssh.SSHKey] = {}
        logging.getLogger("asyncssh").setLevel(logging.ERROR)

    async def connect(
        self,
        route: HostRoute,
        command: str,
        *,
        on_line: Callable[[bytes], None],
        on_end: Callable[[str], None],
        asked_every_s: float,
    ) -> HostConnection:
        """Log in and start a command. Raises HostConnectionError. `on_end` is not called before this returns."""
        async with self._places:
            connection = await self._log_in(route, asked_every_s)
            channel = LineChannel(on_line, on_end)
            try:
                async with asyncio.timeout(self.times.login_s):
                    await connection.create_session(
                        lambda: channel, command, encoding=None, window=2 * _BYTES_AHEAD, max_pktsize=LONGEST_SAMPLE
                    )
            except (OSError, TimeoutError, asyncssh.Error) as error:
                connection.abort()
                raise HostConnectionError(
                    Trouble.NO_SAMPLER,
                    f"{route.address} opens no session: {describe_error(error)}",
                    next_step="see whether `ssh` runs a command there",
                ) from error
            except BaseException:
                connection.abort()
                raise
            return HostConnection(connection, channel)

    async def _log_in(self, route: HostRoute, asked_every_s: float) -> asyncssh.SSHClientConnection:
        where = f"{route.user}@{route.address} port {route.port}"
        options = self._make_options(route, asked_every_s)
        try:
            async with asyncio.timeout(self.times.connect_s + self.times.login_s):
                return await asyncssh.connect(route.address, route.port, **options)
        except asyncssh.HostKeyNotVerifiable as error:
            raise _wrong_key(where) from error
        except asyncssh.KeyExchangeFailed as error:
            if "host key" in str(error).lower():
                raise _wrong_key(where) from error
            raise HostConnectionError(
                Trouble.UNREACHABLE,
                f"{where} agrees on no encryption: {describe_error(error)}",
                next_step="update its SSH server",
            ) from error
        except asyncssh.PermissionDenied as error:
            raise HostConnectionError(
                Trouble.LOGIN_REFUSED,
                f"{where} refuses the key {route.private_key or 'of this user'}",
                next_step="see whether `ssh` logs in with this key from the worker's machine",
            ) from error
        except (OSError, TimeoutError, asyncssh.Error) as error:
            raise HostConnectionError(
                Trouble.UNREACHABLE,
                f"{where} does not answer: {describe_error(error)}",
                next_step="see whether the host runs, and whether the worker's machine reaches it",
            ) from error

    def _make_options(self, route: HostRoute, asked_every_s: float) -> dict[str, Any]:
        """Make asyncssh's options: nothing from this user's files but the key. Raises HostConnectionError."""
        try:
            known_hosts = asyncssh.import_known_hosts(route.known_hosts)
        except ValueError as error:
            raise HostConnectionError(
                Trouble.BAD_SOURCE,
                f"the host keys of {route.address} cannot be read: {describe_error(error)}",
                next_step="remove the stream, and add it again",
            ) from error
        keys: dict[str, Any] = {}
        if route.private_key is not None:
            keys = {"client_keys": [self._read_key(route.private_key)], "agent_path": None}
        proxy = None if route.proxy is None else ["/bin/sh", "-c", f"exec {expand_proxy(route)}"]
        return {
            "known_hosts": known_hosts,  # an object, since asyncssh takes an empty text for the user's own file
            "config": None,
            "username": route.user,
            **keys,
            "proxy_command": proxy,
            "preferred_auth": "publickey",
            "password_auth": False,
            "kbdint_auth": False,
            "host_based_auth": False,
            "gss_kex": False,
            "gss_auth": False,
            "x509_trusted_certs": None,
            "compression_algs": None,
            "connect_timeout": self.times.connect_s,
            "login_timeout": self.times.login_s,
            "keepalive_interval": 0 if asked_every_s <= _KEEPALIVE_S else self.times.keepalive_s,
            "keepalive_count_max": 1,
            "rekey_seconds": round(_REKEY_S * random.uniform(0.8, 1.2)),  # not all of them in one second
        }

    def _read_key(self, path: str) -> asyncssh.SSHKey:
        """Read a private key; one that changed is read again. Raises HostConnectionError."""
        file = Path(path).expanduser()
        try:
            version = (str(file), file.stat().st_mtime_ns)
            if version not in self._keys:
                self._keys[version] = asyncssh.read_private_key(file)
            return self._keys[version]
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise HostConnectionError(
                Trouble.BAD_SOURCE,
                f"the SSH key {path} cannot be read on this worker: {describe_error(error)}",
                next_step="put the key there, without a passphrase",
            ) from error


def _wrong_key(where: str) -> HostConnectionError:
    return HostConnectionError(
        Trouble.WRONG_KEY,
        f"{where} answers with another host key than the one that is trusted",
        next_step="find out why; if the host was made anew, remove its stream and add it again",
    )


def expand_proxy(route: HostRoute) -> str:
    """Put host, port and user into a proxy command (%h, %p, %r and %% of ssh_config(5))."""
    values = {"%h": shlex.quote(route.address), "%p": str(route.port), "%r": shlex.quote(route.user), "%%": "%"}
    parts, text = [], route.proxy or ""
    while text:
        before, mark, rest = text.partition("%")
        token = f"%{rest[:1]}"
        parts += [before, values.get(token, token) if mark else ""]
        text = rest[1:] if mark else ""
    return "".join(parts)


def describe_error(error: BaseException) -> str:
    """Describe an error of the network or of asyncssh, whose text may be the host's, in a few plain words."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return clip(printable(" ".join(text.split())))

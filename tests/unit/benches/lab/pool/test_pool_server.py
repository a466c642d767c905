"""The counter hands guests to whoever connects, and takes them back from whoever goes, however they go."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.benches.bench import Progress
from harness.benches.lab.io.json_lines import JsonLines
from harness.benches.lab.pool.pool import WarmPool
from harness.benches.lab.pool.pool_server import PoolServer
from harness.benches.lab.pool.pool_state import PoolRules
from harness.errors import CommandError, RequestError
from harness.model import Token


@dataclass(frozen=True)
class Named:
    """What the counter looks at in a guest: guest.machine.token."""

    token: Token

    @property
    def machine(self) -> "Named":
        return self


class Names:
    """A source of guests that are names."""

    def __init__(self) -> None:
        self.exist: set[int] = set()

    def make(self, number: int, progress: Progress) -> Named:
        self.exist.add(number)
        return Named(Token(run="pool", host="a", attempt=number))

    def answers(self, guest: Named) -> bool:
        return True

    def prepare_for_client(self, guest: Named) -> bool:
        return True

    def remove(self, guest: Named) -> None:
        self.exist.remove(guest.token.attempt)


@pytest.fixture
def source() -> Names:
    return Names()


@contextmanager
def served(source: Names, path: Path) -> Iterator[WarmPool[Named]]:
    """A counter over a pool of one guest, served by a thread; at the end nothing of it is left."""
    pool = WarmPool(PoolRules(size=1, most=1), source)
    stop = threading.Event()
    with PoolServer(pool, path) as counter, pool:  # type: ignore[arg-type]
        thread = threading.Thread(target=lambda: counter.serve(until=stop.is_set))
        thread.start()
        try:
            yield pool
        finally:
            stop.set()
            thread.join()
    assert (source.exist, path.exists(), counter.unremoved) == (set(), False, [])


@pytest.fixture
def desk(tmp_path: Path, source: Names) -> Iterator[Path]:
    """The socket of a counter."""
    with served(source, tmp_path / "socket"):
        yield tmp_path / "socket"


def until(seen: Callable[[], object]) -> None:
    give_up = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def ask(path: Path, timeout_s: float = 10) -> JsonLines:
    lines = JsonLines(path, deadline_s=30)
    lines.send({"timeout_s": timeout_s})
    return lines


def test_a_guest_is_theirs_until_they_hang_up(desk: Path, source: Names) -> None:
    first = ask(desk)
    assert first.receive(deadline_s=30) == {"token": "pool/a/1"}
    second = ask(desk)
    refused = ask(desk, timeout_s=0.05).receive(deadline_s=30)
    assert refused["error"].startswith("no guest came free within 0.05 s: 1 of 1 are handed out")
    assert refused["next_step"].startswith("release guests")
    first.close()
    assert second.receive(deadline_s=30) == {"token": "pool/a/2"}
    assert source.exist == {2}


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"hello\n",
        b"[]\n",
        b'{"timeout_s": "soon"}\n',
        b'{"timeout_s": NaN}\n',
        b"\xff\xfe\n",
        b'{"timeout_s": 1, "more": "' + b"x" * 10_000 + b'"}\n',
        b"[" * 4000 + b"\n",
    ],
)
def test_what_is_not_understood_is_hung_up_on(desk: Path, source: Names, words: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as odd:
        odd.connect(str(desk))
        odd.settimeout(5)
        odd.sendall(words)
        odd.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # hung up on with words unread
            assert odd.recv(100) == b""
    assert ask(desk).receive(deadline_s=30) == {"token": "pool/a/1"}


def test_closing_it_takes_all_back_and_tells_who_waits(tmp_path: Path, source: Names) -> None:
    path = tmp_path / "socket"
    with served(source, path) as pool:
        holder = ask(path)
        assert holder.receive(deadline_s=30) == {"token": "pool/a/1"}
        waiter = ask(path)
        until(lambda: pool.state.queue)
    assert waiter.receive(deadline_s=30)["error"] == "the pool of warm guests is shut down"
    with pytest.raises(CommandError, match="hung up"):
        holder.receive(deadline_s=30)


def test_there_is_one_of_each(desk: Path, source: Names) -> None:
    with (
        pytest.raises(RequestError, match="kept already"),
        PoolServer(WarmPool(PoolRules(size=1, most=1), source), desk),
    ):  # type: ignore[arg-type]
        pytest.fail("two counters at one place")


def test_what_a_killed_one_left_is_no_hindrance(tmp_path: Path, source: Names) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with PoolServer(WarmPool(PoolRules(size=1, most=1), source), path):  # type: ignore[arg-type]
        JsonLines(path, deadline_s=30).close()

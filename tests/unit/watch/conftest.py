"""Ledgers with watched streams, and a receiver of what is sent."""

from collections.abc import Callable, Iterator

import pytest

from harness.store.ledger import Ledger
from harness.store.watch_streams import NewStream, WatchStreams
from tests.servers.receiver import Receiver, serve_receiver

AddStreams = Callable[..., None]


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A ledger in each kind of database."""
    opened = Ledger(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def add_streams(ledger: Ledger) -> AddStreams:
    """Adds streams to the ledger."""

    def add(*names: str, interval_s: float = 1.0) -> None:
        streams = [NewStream(stream=name, source={}, limits={}, interval_s=interval_s) for name in names]
        assert WatchStreams(ledger.database).add(streams, by="ada") == []

    return add


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that takes what is posted to it."""
    with serve_receiver() as server:
        yield server

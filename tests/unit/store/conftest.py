"""Ledgers in a file and in a server's database: both keep the same promises."""

from collections.abc import Callable, Iterator

import pytest

from harness.store.ledger import Ledger

OpenLedger = Callable[[], Ledger]


@pytest.fixture
def open_ledger(ledger_url: str) -> Iterator[OpenLedger]:
    """Opens the ledger again and again, each time as another owner."""
    opened: list[Ledger] = []

    def open_once() -> Ledger:
        opened.append(Ledger(ledger_url))
        return opened[-1]

    yield open_once
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: OpenLedger) -> Ledger:
    return open_ledger()

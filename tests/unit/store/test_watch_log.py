"""The log of the watch: pages of it, what belongs to one stream, and what is pruned."""

import sqlalchemy as sql

from harness.store.ledger import Ledger
from harness.store.tables import WATCH_LOG
from harness.store.watch_log import LogEntry, LogKind, WatchLog


def entry(number: int, kind: LogKind = LogKind.MOVE, **more: str) -> LogEntry:
    return LogEntry(kind=kind, sentence=f"entry {number}", **more)


def test_entries_come_back_newest_first_page_by_page(ledger: Ledger) -> None:
    log = WatchLog(ledger.database)
    log.add([entry(number) for number in range(5)], epoch=7)
    first = log.list_lines(most=2)
    assert [line.entry.sentence for line in first] == ["entry 4", "entry 3"]
    assert {line.epoch for line in first} == {7}
    rest = log.list_lines(before=first[-1].number)
    assert [line.entry.sentence for line in rest] == ["entry 2", "entry 1", "entry 0"]


def test_entries_of_a_stream_a_worker_or_a_kind_are_found(ledger: Ledger) -> None:
    log = WatchLog(ledger.database)
    log.add([entry(0, stream="a"), entry(1, worker="w"), entry(2, LogKind.MEND), entry(3, stream="a", worker="w")])
    assert [line.entry.sentence for line in log.list_lines(stream="a")] == ["entry 3", "entry 0"]
    assert [line.entry.sentence for line in log.list_lines(worker="w")] == ["entry 3", "entry 1"]
    assert [line.entry.sentence for line in log.list_lines(kinds=[LogKind.MEND])] == ["entry 2"]
    newest = log.list_lines()[0]
    assert log.list_lines(since_ns=newest.logged_ns + 1) == []


def test_no_entry_steers_a_terminal_or_is_endless(ledger: Ledger) -> None:
    log = WatchLog(ledger.database)
    log.add([LogEntry(kind=LogKind.MEND, sentence="\x1b[2J" + "x" * 5000)])
    (line,) = log.list_lines()
    assert "\x1b" not in line.entry.sentence
    assert len(line.entry.sentence) <= 2000


def test_old_entries_and_too_many_are_pruned(ledger: Ledger) -> None:
    log = WatchLog(ledger.database)
    log.add([entry(number) for number in range(10)])
    assert log.prune() == 0
    old = WATCH_LOG.update().where(WATCH_LOG.c.sentence == "entry 9").values(logged_ns=0)
    ledger.database.write(lambda db: db.execute(old) and None)
    assert log.prune() == 1
    assert log.prune(entries=4) == 5
    assert [line.entry.sentence for line in log.list_lines()] == ["entry 8", "entry 7", "entry 6", "entry 5"]
    assert (
        ledger.database.read(lambda db: db.execute(sql.select(sql.func.count()).select_from(WATCH_LOG)).scalar()) == 4
    )

"""The audit log: what is added comes back, the newest first; no text is too long or unprintable for it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from harness.store.audit_log import AuditEntry, AuditLog
from harness.store.ledger import Ledger

ENTRY = AuditEntry(actor="ada", address="10.0.0.7", action="task.submit", object="fsuqjc", status=201)


@pytest.fixture
def audit(ledger: Ledger) -> AuditLog:
    return AuditLog(ledger.database)


def test_an_entry_comes_back_with_its_number_and_time(audit: AuditLog, ledger: Ledger) -> None:
    before = ledger.now_ns()
    audit.add(ENTRY)
    audit.add(replace(ENTRY, actor="", status=401), replace(ENTRY, status=403))
    lines = audit.list_lines()
    assert [line.entry for line in lines] == [
        replace(ENTRY, status=403),
        replace(ENTRY, actor="", status=401),
        ENTRY,
    ]
    assert [line.number for line in lines] == [3, 2, 1]
    assert all(before <= line.at_ns <= ledger.now_ns() for line in lines)
    assert AuditLog(ledger.database).list_lines() == lines
    audit.add()
    assert len(audit.list_lines()) == 3


def test_a_text_of_any_kind_and_length_is_kept_as_far_as_it_fits(audit: AuditLog) -> None:
    for text in ("x" * 5000, "\0" * 300, "\u202e\x1b[31m", "\udc80", "é" * 300, "a\nb"):
        audit.add(AuditEntry(actor=text, address=text, action=text, object=text, status=400))
        entry = audit.list_lines(most=1)[0].entry
        assert max(map(len, (entry.actor, entry.address, entry.action))) <= 64
        assert len(entry.object) <= 255
        assert not {"\0", "\x1b", "\u202e"} & {*entry.object}


def test_pages_name_each_entry_once_also_while_others_are_added(audit: AuditLog) -> None:
    for number in range(25):
        audit.add(replace(ENTRY, object=str(number)))
    seen: list[str] = []
    before: int | None = None
    while page := audit.list_lines(before=before, most=10):
        seen += [line.entry.object for line in page]
        before = page[-1].number
        audit.add(replace(ENTRY, object="later"))
    assert seen == [str(number) for number in range(24, -1, -1)]
    assert audit.list_lines(before=1) == []


def test_threads_add_at_once(audit: AuditLog) -> None:
    with ThreadPoolExecutor(8) as threads:
        [*threads.map(lambda number: audit.add(replace(ENTRY, object=str(number))), range(80))]
    lines = audit.list_lines(most=1000)
    assert sorted(int(line.entry.object) for line in lines) == [*range(80)]
    assert len({line.number for line in lines}) == 80


def test_nothing_changes_or_removes_an_entry() -> None:
    assert {name for name in vars(AuditLog) if not name.startswith("_")} == {"add", "list_lines"}

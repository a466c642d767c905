"""Records of hosts: found by token, oldest first, and never read from what is no whole record."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RequestError
from harness.model import Token
from harness.store.host_records import RECORD_FILE, HostRecords, record_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The least that a bench records."""

    token: Token
    created_utc: str


def from_document(document: dict[str, Any]) -> Host:
    return Host(token=Token(**document.pop("token")), **document)


@pytest.fixture
def records(tmp_path: Path) -> HostRecords[Host]:
    return HostRecords(tmp_path / "hosts", from_document)


def stored(records: HostRecords[Host], host: str, created_utc: str) -> Host:
    record = Host(token=Token(run="k3f9", host=host), created_utc=created_utc)
    folder = records.folder(record.token)
    folder.mkdir(parents=True)
    (folder / RECORD_FILE).write_text(record_text(asdict(record)))
    return record


def test_records_are_found_by_token_and_listed_oldest_first(records: HostRecords[Host]) -> None:
    assert (records.all(), records.folders()) == ([], [])
    later, earlier = stored(records, "a", "2026-11-22"), stored(records, "b", "2026-11-21")
    assert records.all() == [earlier, later]
    assert records.find(later.token) == later
    assert records.find(Token(run="k3f9", host="c")) is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "token": 3}']
)
def test_what_is_no_record_of_this_schema_is_none(content: str, records: HostRecords[Host]) -> None:
    record = stored(records, "a", "2026-11-21")
    (records.folder(record.token) / RECORD_FILE).write_text(content)
    assert records.find(record.token) is None
    assert records.folders() == [records.folder(record.token)]


def test_a_record_in_another_host_s_folder_is_not_that_host_s(records: HostRecords[Host]) -> None:
    record = stored(records, "a", "2026-11-21")
    other = Token(run="k3f9", host="b")
    records.folder(record.token).rename(records.folder(other))
    assert records.find(other) is None
    assert json.loads((records.folder(other) / RECORD_FILE).read_text())["schema"] == 1


def test_no_token_names_a_folder_elsewhere(records: HostRecords[Host]) -> None:
    with pytest.raises(RequestError, match="cannot name a host"):
        records.folder(Token(run="../x", host="a"))

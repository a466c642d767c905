"""Records survive whatever happens to their writer."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from harness.benches.lab.guests import removal
from harness.benches.lab.guests.guest_records import GuestRecord, GuestRecords, read
from harness.errors import RequestError, SetupError
from harness.model import Resource, Token
from harness.system.proc import ProcessId

TOKEN = Token(run="r", host="lab.driver-off-2", attempt=3)


def record(records: GuestRecords, token: Token = TOKEN) -> GuestRecord:
    return GuestRecord(
        token=token,
        instance_type="lab.driver-off",
        folder=records.folder(token),
        sockets=Path("/nowhere/s"),
        intent="begin",
        created_utc="2026-11-21T00:00:00+00:00",
        mac="06:00:00:00:00:01",
        processes={},
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    records = GuestRecords(tmp_path / "hosts")
    begun = records.begin(record(records))
    ready = records.write(
        replace(
            begun,
            intent="running",
            processes={"guest": ProcessId(pid=1, start_ticks=2)},
            address="127.0.3.4",
            port=22,
            second_opinion="10.0.2.2 123",
            ready=True,
        )
    )
    assert records.find(TOKEN) == ready
    assert records.all() == [ready]
    assert ready == replace(
        record(records),
        intent="running",
        processes={"guest": ProcessId(pid=1, start_ticks=2)},
        address="127.0.3.4",
        port=22,
        second_opinion="10.0.2.2 123",
        ready=True,
    )


def test_a_second_maker_of_the_same_host_is_refused(tmp_path: Path) -> None:
    records = GuestRecords(tmp_path)
    records.begin(record(records))
    with pytest.raises(FileExistsError):
        records.begin(record(records))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 2}', '{"schema": 1, "token": 5, "processes": {}}'])
def test_a_record_that_cannot_be_read_is_none_but_its_folder_counts(tmp_path: Path, text: str) -> None:
    records = GuestRecords(tmp_path)
    folder = records.folder(TOKEN)
    folder.mkdir()
    (folder / "record.json").write_text(text)
    assert read(folder) is None
    assert removal.resources(records) == [
        Resource(
            token=str(TOKEN),
            kind="folder",
            name=str(folder),
            detail="its maker was killed before its first record",
            owner=f"{folder.owner()}@{socket.gethostname()}",
        )
    ]


def test_another_tokens_record_is_not_ours(tmp_path: Path) -> None:
    records = GuestRecords(tmp_path)
    other = Token(run="r-lab.driver", host="off-2", attempt=3)  # the same file name
    assert other.slug == TOKEN.slug
    records.begin(record(records, other))
    assert records.find(TOKEN) is None


def test_a_token_that_would_leave_the_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"'\.\./x-a-1' cannot name a host"):
        GuestRecords(tmp_path).folder(Token(run="../x", host="a"))


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    records = GuestRecords(tmp_path / "file" / "hosts")
    with pytest.raises(SetupError, match=r"file/hosts cannot be written: .*PTP_HARNESS_STATE_DIR"):
        records.begin(record(records))

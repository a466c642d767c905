"""A folder and a bucket keep the same promises: whole or absent, and one sentence for each thing that is wrong."""

from pathlib import Path

import fsspec
import pytest

from harness.errors import RequestError, SetupError
from harness.store.object_store import ObjectStore, StoreAwayError, open_store, retrying
from harness.store.s3_filesystem import BucketMissingError, S3FileSystem
from tests.servers import s3

SECRET = "s3cr3t-7d0f3b"


@pytest.fixture
def store(evidence_url: str) -> ObjectStore:
    return open_store(evidence_url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"\0\xff" * 600_000)
    return path


def test_an_object_is_read_as_it_was_written(store: ObjectStore, file: Path) -> None:
    assert store.read("a/b/samples.jsonl", most=10) is None
    store.put_file("a/b/samples.jsonl", file)
    assert b"".join(store.read_in_chunks("a/b/samples.jsonl")) == file.read_bytes()
    file.write_bytes(b"other")
    store.put_file("a/b/samples.jsonl", file)
    assert store.read("a/b/samples.jsonl", most=5) == b"other"


def test_an_object_that_is_too_large_or_missing_is_named(store: ObjectStore, file: Path) -> None:
    store.put_file("a/samples", file)
    with pytest.raises(SetupError, match=f"{store.label}/a/samples has more than 9 bytes"):
        store.read("a/samples", most=9)
    with pytest.raises(SetupError, match=f"{store.label}/a/none is missing"):
        list(store.read_in_chunks("a/none"))


def test_an_empty_file_is_an_object(store: ObjectStore, file: Path) -> None:
    file.write_bytes(b"")
    store.put_file("a/empty", file)
    assert store.read("a/empty", most=9) == b""


def test_no_partial_file_stays_where_writing_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "full").write_text("x")
    store = open_store(f"file://{tmp_path}/store")

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StoreAwayError, match="No space left on device"):
        store.put_file("a/b", tmp_path / "full")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_folder_and_a_bucket_that_are_not_there_are_named(s3_server: s3.Server, tmp_path: Path, file: Path) -> None:
    away = open_store(f"file://{tmp_path}/mnt/evidence/")
    nowhere = open_store("s3://no-such-bucket/team")
    for action in (lambda store: store.put_file("a/b", file), lambda store: store.read("a/b", most=9)):
        with pytest.raises(StoreAwayError, match=f"no folder for evidence at file://{tmp_path}/mnt/evidence "):
            action(away)
        with pytest.raises(SetupError, match="there is no bucket no-such-bucket") as caught:
            action(nowhere)
        assert caught.value.next_step.startswith("make it (aws s3 mb s3://no-such-bucket)")
    assert not (tmp_path / "mnt").exists(), "what is mounted there is away"


def test_denied_access_is_one_sentence(
    s3_server: s3.Server, bucket: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"s3://{bucket}")
    s3_server.demand_known_keys(after_requests=0)
    try:
        with pytest.raises(SetupError, match=f"s3://{bucket} denies writing a/b: InvalidAccessKeyId") as caught:
            store.put_file("a/b", file)
    finally:
        s3_server.demand_known_keys(after_requests=10**9)
    assert not isinstance(caught.value, StoreAwayError), "it does not help to try again"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(SetupError, match="denies writing a/b: Unable to locate credentials"):
        open_store(f"s3://{bucket}").put_file("a/b", file)


def test_a_store_that_comes_back_is_tried_again(s3_server: s3.Server, bucket: str, file: Path) -> None:
    store, pauses = open_store(f"s3://{bucket}/team"), list[float]()

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 2:
            s3_server.start()
        return False

    s3_server.stop()
    retrying(lambda: store.put_file("a/b", file), pause)
    assert store.read("a/b", most=1 << 22) == file.read_bytes()
    assert len(pauses) == 2
    assert pauses[0] < pauses[1]


def test_a_store_that_stays_away_is_given_up_and_a_stop_ends_the_tries(s3_server: s3.Server, bucket: str) -> None:
    store, pauses = open_store(f"s3://{bucket}/team"), list[float]()
    s3_server.stop()
    try:
        for stops, tries in ((False, 4), (True, 1)):
            pauses.clear()
            with pytest.raises(StoreAwayError, match=f"s3://{bucket}/team cannot be reached for reading a: "):
                retrying(lambda: store.read("a", most=9), lambda s, stops=stops: pauses.append(s) or stops)  # type: ignore[misc]
            assert len(pauses) == tries
    finally:
        s3_server.start()


@pytest.mark.parametrize(
    ("url", "message", "next_step"),
    [
        (f"s3://key:{SECRET}@bucket/x", "has a bucket and a prefix, and no credentials", "AWS_PROFILE"),
        (f"s3://bucket?secret={SECRET}", "has a bucket and a prefix, and no credentials", "AWS_PROFILE"),
        ("s3:///x", "has a bucket and a prefix", "s3://BUCKET/PREFIX"),
        (f"nope://me:{SECRET}@host/x?a={SECRET}", "nope://host/x is no URL of evidence: nope:// is not known", "s3://"),
        (f"gs://{SECRET}@bucket/x", "gs://bucket/x needs a package that is not installed", "gcsfs"),
        ("file://mnt/evidence", "names a folder from the root on", "file:///FOLDER"),
        ("file:///", "names a folder from the root on", "file:///FOLDER"),
        ("/mnt/evidence", "the URL of the evidence is none", "file:///FOLDER"),
        (f"simplecache::sftp://me:{SECRET}@host/x", "the URL of the evidence is none", "s3://"),
        (f"http://[{SECRET}", "the URL of the evidence is none", "s3://"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_credentials(url: str, message: str, next_step: str) -> None:
    with pytest.raises(RequestError) as caught:
        open_store(url)
    assert message in caught.value.message
    assert next_step in caught.value.next_step
    assert SECRET not in str(caught.value)


def test_what_a_filesystem_says_is_told_without_credentials(file: Path) -> None:
    store = open_store(f"ftp://me:{SECRET}@127.0.0.1:1/evidence")
    with pytest.raises(StoreAwayError, match=r"ftp://127.0.0.1:1/evidence cannot be reached for writing a: ") as caught:
        store.put_file("a", file)
    assert SECRET not in str(caught.value)


def test_memory_is_a_store_too(file: Path) -> None:
    store = open_store("memory://team")
    store.put_file("a/b", file)
    assert store.read("a/b", most=1 << 22) == file.read_bytes()


def test_the_filesystem_of_s3_lists_and_says_what_is_there(bucket: str, file: Path) -> None:
    open_store(f"s3://{bucket}")  # registers it
    filesystem = fsspec.filesystem("s3")
    assert isinstance(filesystem, S3FileSystem)
    for name in ("0000", "0250", "0500", "0750", "1000"):
        filesystem.pipe_file(f"{bucket}/many/{name}", b"x")
    filesystem.put_file(str(file), f"{bucket}/many/deep/samples")
    assert filesystem.ls(f"s3://{bucket}/many", detail=False) == [
        f"{bucket}/many/{name}" for name in ("deep", "0000", "0250", "0500", "0750", "1000")
    ]
    assert (filesystem.exists(f"{bucket}/many/0000"), filesystem.exists(f"{bucket}/many/none")) == (True, False)
    assert filesystem.info(f"{bucket}/many/deep/samples")["size"] == 1_200_000
    with pytest.raises(FileNotFoundError):
        filesystem.open(f"{bucket}/many/none")
    with pytest.raises(BucketMissingError):
        filesystem.ls("no-such-bucket/x")

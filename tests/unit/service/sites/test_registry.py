"""A registry as a URL, a file and the ledger; what cannot be read says why, and how old the last list is."""

import json
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.model.sites import Freshness, Site
from harness.service.sites.registry import make_reader
from harness.service.sites.site_cache import COUNTS_FOR_S, SiteCache
from harness.service.sites.site_list import MOST_BYTES, RegistryError
from harness.store.ledger import Ledger
from harness.store.site_table import SiteTable
from tests.unit.service.sites.conftest import RegistryServer

RACK = Site(name="rack7", url="https://rack7.example.org", benches=("lab",))
LISTED = b'{"sites": [{"name": "rack7", "url": "https://rack7.example.org", "benches": ["lab"]}]}'


@pytest.fixture
def ledger(ledger_url: str):
    ledger = Ledger(ledger_url)
    yield ledger
    ledger.close()


def test_the_ledger_keeps_sites(ledger: Ledger) -> None:
    table, read = SiteTable(ledger.database), make_reader("ledger", ledger.database)
    assert read() == ()
    table.add(RACK)
    moved = Site(name="rack7", url="https://rack8.example.org", benches=("lab", "ec2"))
    line = table.add(moved)
    assert (line.site, read()) == (moved, (moved,))
    assert "@" in line.added_by
    table.remove("rack7")
    assert read() == ()
    with pytest.raises(RequestError, match="there is no site 'rack7' in the ledger"):
        table.remove("rack7")


@pytest.fixture
def file_ledger(tmp_path: Path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


def test_a_file_is_a_registry(file_ledger: Ledger, tmp_path: Path) -> None:
    read = make_reader(str(tmp_path / "sites.json"), file_ledger.database)
    with pytest.raises(RegistryError, match=r"sites.json cannot be read: No such file or directory"):
        read()
    (tmp_path / "sites.json").write_bytes(LISTED)
    assert read() == (RACK,)


def test_a_url_is_a_registry(file_ledger: Ledger, registry: RegistryServer) -> None:
    read = make_reader(registry.url, file_ledger.database)
    registry.body = LISTED
    assert read() == (RACK,)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<!doctype html>", "answers with HTML"),
        (404, b"", "answers 404 Not Found"),
        (500, b"{}", "answers 500"),
        (302, LISTED, "answers 302 Found"),
        (200, b"[" + b" " * 50 * MOST_BYTES, f"has more than {MOST_BYTES} bytes"),
    ],
    ids=["HTML", "not found", "a fault", "elsewhere", "too long"],
)
def test_a_url_that_answers_anything_else_is_refused(
    file_ledger: Ledger, registry: RegistryServer, status: int, body: bytes, said: str
) -> None:
    registry.status, registry.body = status, body
    if status == 302:
        registry.headers["Location"] = "/elsewhere"
    with pytest.raises(RegistryError, match=said):
        make_reader(registry.url, file_ledger.database)()
    assert registry.requests == 1


def test_a_url_that_nobody_listens_on_is_refused(file_ledger: Ledger, registry: RegistryServer) -> None:
    read = make_reader(registry.url, file_ledger.database)
    registry.close()
    with pytest.raises(RegistryError, match="cannot be read: "):
        read()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("ftp://example.org/sites", "is of no kind that is read"),
        ("http://registry.example.org/sites", "over http://"),
        ("https://ada:secret@registry.example.org/", "has a user, a query or a fragment"),
    ],
)
def test_a_source_that_cannot_be_one_is_refused_at_once(file_ledger: Ledger, source: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as refused:
        make_reader(source, file_ledger.database)
    assert "secret" not in str(refused.value)


class Times:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def read(self) -> float:
        return self.now_s


def make_cache(folder: Path, read, times: Times, source: str = "x") -> SiteCache:
    return SiteCache(source, read, folder / "service" / "sites.json", every_s=60.0, now_s=times.read)


def test_a_list_is_fresh_then_stale_with_its_age_then_only_told(tmp_path: Path) -> None:
    times, answers = Times(), [(RACK,)]

    def read() -> tuple[Site, ...]:
        if not answers:
            raise RegistryError("the registry x cannot be read")
        return answers.pop()

    cache = make_cache(tmp_path, read, times)
    empty = cache.list_sites()
    assert (empty.sites, empty.freshness, empty.age_s) == ((), Freshness.UNAVAILABLE, None)
    assert cache.sync().freshness is Freshness.FRESH
    times.now_s += 100
    assert (cache.list_sites().freshness, cache.list_sites().age_s) == (Freshness.FRESH, 100.0)
    first_failure_s = times.now_s
    cache.sync()
    times.now_s += 100
    stale = cache.sync()
    assert (stale.sites, stale.freshness, stale.age_s) == ((RACK,), Freshness.STALE, 200.0)
    assert (stale.problem, stale.problem_since_s) == ("the registry x cannot be read", first_failure_s)
    times.now_s += COUNTS_FOR_S
    gone = cache.list_sites()
    assert (gone.sites, gone.freshness) == ((RACK,), Freshness.UNAVAILABLE)
    answers.append(())
    back = cache.sync()
    assert (back.sites, back.freshness, back.problem) == ((), Freshness.FRESH, None)
    assert (cache.counts.succeeded, cache.counts.failed) == (2, 2)


def test_the_list_outlives_the_service(tmp_path: Path) -> None:
    times = Times()
    make_cache(tmp_path, lambda: (RACK,), times).sync()
    times.now_s += 1000
    again = make_cache(tmp_path, lambda: (), times).list_sites()
    assert (again.sites, again.freshness, again.age_s) == ((RACK,), Freshness.STALE, 1000.0)
    assert make_cache(tmp_path, lambda: (), times, source="y").list_sites().sites == ()


@pytest.mark.parametrize("content", ["", "[]", '{"source": "x"}', '{"source": "x", "read_s": 1, "sites": [5]}', "\0"])
def test_a_broken_file_of_the_cache_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "sites.json").write_text(content)
    assert make_cache(tmp_path, lambda: (), Times()).list_sites().freshness is Freshness.UNAVAILABLE


def test_a_folder_that_cannot_be_written_is_no_reason_to_forget(tmp_path: Path) -> None:
    (tmp_path / "service").write_text("in the way")
    assert make_cache(tmp_path, lambda: (RACK,), Times()).sync().freshness is Freshness.FRESH


def test_the_file_of_the_cache_is_a_registry_itself(tmp_path: Path, file_ledger: Ledger) -> None:
    make_cache(tmp_path, lambda: (RACK,), Times()).sync()
    file = tmp_path / "service" / "sites.json"
    assert json.loads(file.read_text())["source"] == "x"
    assert make_reader(str(file), file_ledger.database)() == (RACK,)

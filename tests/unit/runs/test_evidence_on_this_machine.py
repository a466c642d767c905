"""Evidence as pages show it: found here or nowhere else, texts from their end upwards, the latest sample, any part."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.campaign import from_mapping
from harness.runs.host_series import HostSeriesCache, list_parts
from harness.runs.latest_sample import read_latest_sample
from harness.runs.local_evidence import find_host_folder, list_files
from harness.runs.text_pages import PART_BYTES, read_part
from harness.store.evidence_files import find_file
from harness.store.evidence_parts import make_run_folder
from harness.store.ledger import Ledger
from harness.system.settings import Settings
from tests.doubles.clock_story import GOOD, LAB, add_run, recorded_host, write_evidence

CAMPAIGN = from_mapping({"instance_types": ["lab.phc"], "measure": {"duration": "60s"}})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", cache_dir=tmp_path / "cache", assets_dir=tmp_path)


def test_evidence_is_found_of_the_last_attempt_here_or_where_it_was_fetched_to(
    ledger: Ledger, settings: Settings
) -> None:
    run = add_run(ledger, [recorded_host(GOOD)], bench="lab", runs_dir=settings.runs_dir, like={"lab.phc": GOOD})
    line, (host,) = ledger.find(run), ledger.hosts(run)
    folder = find_host_folder(line, host, settings)
    assert folder == settings.runs_dir / run / "lab.phc"
    assert find_host_folder(line, replace(host, attempt=2), settings) is None
    assert find_host_folder(line, replace(host, host="../lab.phc"), settings) is None
    fetched = settings.cache_dir / "evidence" / make_run_folder(run, line.started_ns) / "lab.phc"
    fetched.parent.mkdir(parents=True)
    folder.rename(fetched)
    assert find_host_folder(line, host, settings) == fetched
    other = add_run(ledger, [recorded_host(GOOD)], bench="lab")
    assert find_host_folder(ledger.find(other), ledger.hosts(other)[0], settings) is None


def test_files_are_listed_and_found_by_their_own_names_alone(ledger: Ledger, settings: Settings) -> None:
    write_evidence(settings.runs_dir / "abcd", recorded_host(GOOD), GOOD)
    folder = settings.runs_dir / "abcd" / "lab.phc"
    (folder / ".hidden").write_text("x")
    (folder / "link").symlink_to("/etc/passwd")
    assert "samples.jsonl" in list_files(folder)
    assert not {".hidden", "link", "SHA256SUMS"} & set(list_files(folder))
    assert find_file(folder.parent, "lab.phc/samples.jsonl") == folder / "samples.jsonl"
    for name in ("none", ".hidden", "link", "../lab.phc/samples.jsonl", "/etc/passwd", "", "a\0b"):
        assert find_file(folder.parent, f"lab.phc/{name}") is None


# -- texts


@pytest.fixture
def long_log(tmp_path: Path) -> Path:
    path = tmp_path / "configure.log"
    path.write_text("".join(f"line {number}: {'x' * 60}\n" for number in range(160_000)))
    assert path.stat().st_size > 11_000_000
    return path


def test_a_text_is_read_from_its_end_upwards(long_log: Path) -> None:
    part = read_part(long_log)
    assert part is not None
    assert part.text.endswith("line 159999: " + "x" * 60 + "\n")
    assert len(part.text) <= PART_BYTES
    numbers: list[int] = []
    while part is not None and part.begin > 0 and len(numbers) < 10_000:
        numbers = [int(line.split()[1][:-1]) for line in part.text.splitlines()] + numbers
        part = read_part(long_log, before=part.begin)
    assert numbers == list(range(numbers[0], 160_000))


def test_a_text_is_read_downwards_too(long_log: Path) -> None:
    part = read_part(long_log, after=0)
    assert part is not None
    assert part.text.startswith("line 0: ")
    following = read_part(long_log, after=part.end)
    assert following is not None
    assert following.text.startswith("line ")
    last = int(part.text.splitlines()[-1].split()[1][:-1])
    assert following.text.startswith(f"line {last + 1}: ")


@pytest.mark.parametrize(("before", "after"), [(0, None), (10**12, None), (None, 10**12), (5, None), (None, 3)])
def test_any_place_may_be_asked_for(long_log: Path, before: int | None, after: int | None) -> None:
    part = read_part(long_log, before=before, after=after)
    assert part is not None
    assert 0 <= part.begin <= part.end <= part.size


def test_a_text_without_lines_and_one_in_another_alphabet(tmp_path: Path) -> None:
    path = tmp_path / "one-line"
    path.write_text("{" + "\N{GREEK SMALL LETTER ALPHA}" * 100_000 + "}")
    part = read_part(path)
    assert part is not None
    assert part.text.endswith("\N{GREEK SMALL LETTER ALPHA}}")
    path.write_bytes(bytes(range(256)) * 100)
    assert read_part(path) is None
    path.write_bytes(b"\xff\xfe" * 50_000)
    assert read_part(path) is None
    path.write_bytes(b"")
    empty = read_part(path)
    assert empty is not None
    assert empty.text == ""


# -- the latest sample


def test_the_latest_whole_sample_of_a_file_that_grows_is_read(tmp_path: Path) -> None:
    lines = (LAB / GOOD / "samples.jsonl").read_text().splitlines()
    growing = tmp_path / ".samples.jsonl.partial"
    assert read_latest_sample(tmp_path) is None
    growing.write_text(lines[0] + "\n")
    assert read_latest_sample(tmp_path) is None
    growing.write_text("\n".join(lines[:11]) + "\n" + lines[11][:300])
    latest = read_latest_sample(tmp_path)
    assert latest is not None
    assert (latest.slot, latest.part) == (9, None)
    assert latest.offset_ns is not None
    assert latest.bound_ns is not None
    growing.write_text("\n".join(lines) + "\n")
    latest = read_latest_sample(tmp_path)
    assert latest is not None
    assert latest.slot == 59


def test_what_is_no_sample_is_passed_over(tmp_path: Path) -> None:
    lines = (LAB / GOOD / "samples.jsonl").read_text().splitlines()
    growing = tmp_path / ".samples.jsonl.partial"
    growing.write_text("\n".join([*lines[:5], "x" * 1000, json.dumps({"kind": "sample"}), "\x00", "[]"]) + "\n")
    latest = read_latest_sample(tmp_path)
    assert latest is not None
    assert latest.slot == 3
    growing.unlink()
    growing.symlink_to(LAB / GOOD / "samples.jsonl")
    assert read_latest_sample(tmp_path) is None


# -- series


def test_a_series_is_loaded_once_and_again_when_its_file_is_another(tmp_path: Path) -> None:
    host = recorded_host(GOOD)
    write_evidence(tmp_path / "abcd", host, GOOD)
    folder, cache, asked = tmp_path / "abcd" / "lab.phc", HostSeriesCache(), []

    def read_campaign() -> object:
        asked.append(1)
        return CAMPAIGN

    assert list_parts(folder) == [""]
    for _ in range(2):
        series = cache.find(host, folder, "", read_campaign)  # type: ignore[arg-type]
        assert series is not None
        assert series.slots == 60
    assert len(asked) == 1
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join(lines[:31]))
    series = cache.find(host, folder, "", read_campaign)  # type: ignore[arg-type]
    assert series is not None
    assert series.slots == 30
    assert cache.find(host, folder, "rebooted", read_campaign) is None  # type: ignore[arg-type]
    assert cache.find(host, tmp_path, "", read_campaign) is None  # type: ignore[arg-type]

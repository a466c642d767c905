"""Reading samples while they are written: only what is new, only whole lines, and only of the present attempt."""

import gzip
import os
from pathlib import Path

import pytest

from harness.model import Sample
from harness.probes.samples import read_samples
from harness.store.evidence_folder import EvidenceFolder, partial_path
from harness.store.growing_samples import GrowingSamples, SamplesFile, find_newest_file

TEXT = (Path(__file__).parents[2] / "data" / "lab" / "drifting" / "samples.jsonl").read_text()
LINES = TEXT.splitlines(keepends=True)
WHOLE, _, _ = read_samples(TEXT, where="s")


def new(samples: GrowingSamples) -> tuple[Sample, ...]:
    return tuple(samples.read_new())


def test_each_line_is_read_once_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    samples, seen = GrowingSamples(path), list[Sample]()
    assert new(samples) == ()
    with partial_path(path).open("w") as file:
        for line in LINES[:6]:
            for piece in (line[:700], line[700:-1], line[-1:]):
                file.write(piece)
                file.flush()
                before = len(seen)
                seen += new(samples)
                assert len(seen) == before or piece == line[-1:]
    assert tuple(seen) == tuple(WHOLE)[:5]
    assert samples.files == 1


def test_a_character_may_be_cut_in_two(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    line = LINES[1].replace("10.0.2.2", "10.0.2.\u00e9").encode()
    at = line.index("\u00e9".encode()) + 1
    samples = GrowingSamples(path)
    path.write_bytes(line[:at])
    assert new(samples) == ()
    with path.open("ab") as file:
        file.write(line[at:])
    (sample,) = samples.read_new()
    assert [source.name for source in sample.sources or ()] == ["PHC0", "10.0.2.\u00e9"]


def test_the_file_goes_on_under_its_final_name(tmp_path: Path) -> None:
    folder = EvidenceFolder.create(tmp_path / "lab.phc")
    samples = GrowingSamples(folder.path / "samples.jsonl")
    with folder.stream("samples.jsonl") as file:
        file.write("".join(LINES[:4]).encode())
        file.flush()
        assert new(samples) == tuple(WHOLE)[:3]
        file.write("".join(LINES[4:]).encode())
    assert new(samples) == tuple(WHOLE)[3:]
    assert (new(samples), samples.files) == ((), 1)


def test_another_attempt_begins_anew(tmp_path: Path) -> None:
    folder = EvidenceFolder.create(tmp_path / "lab.phc")
    samples = GrowingSamples(folder.path / "samples.jsonl")
    with folder.stream("samples.jsonl") as file:
        file.write(TEXT.encode())
    assert new(samples) == tuple(WHOLE)
    with folder.stream("samples.jsonl") as file:
        file.write("".join(LINES[:3]).encode())
        file.flush()
        assert (new(samples), samples.files) == (tuple(WHOLE)[:2], 2)


def test_a_file_that_was_cut_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(TEXT)
    samples = GrowingSamples(path)
    assert new(samples) == tuple(WHOLE)
    path.write_text("".join(LINES[:2]))
    assert (new(samples), samples.files) == (tuple(WHOLE)[:1], 2)


def test_lines_that_are_no_samples_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(LINES[0].encode() + b"\xff\xfe\n{}\n[1]\n\n" + LINES[1].encode() + b"{" * 5000 + b"\n")
    assert new(GrowingSamples(path)) == tuple(WHOLE)[:1]


def test_a_line_without_end_takes_no_memory_beyond_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    samples = GrowingSamples(path)
    path.write_bytes(b"x" * (9 << 20))
    assert new(samples) == ()
    with path.open("ab") as file:
        file.write(b"\n" + LINES[1].encode())
    assert new(samples) == tuple(WHOLE)[:1]


def test_more_slots_than_were_asked_for_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(TEXT)
    assert new(GrowingSamples(path, most=10)) == tuple(WHOLE)[:10]


def test_a_file_that_is_compressed_stays_read(tmp_path: Path) -> None:
    folder = EvidenceFolder.create(tmp_path / "lab.phc")
    samples = GrowingSamples(folder.path / "samples.jsonl")
    folder.write("samples.jsonl", TEXT)
    assert new(samples) == tuple(WHOLE)
    folder.compress("samples.jsonl")
    assert (new(samples), samples.files) == ((), 1)


def test_a_file_that_was_compressed_before_is_read_once(tmp_path: Path) -> None:
    folder = EvidenceFolder.create(tmp_path / "lab.phc")
    samples = GrowingSamples(folder.path / "samples.jsonl")
    folder.write("samples.jsonl", TEXT)
    folder.compress("samples.jsonl")
    assert find_newest_file(folder.path) == SamplesFile(path=samples.path, part=None)
    assert new(samples) == tuple(WHOLE)
    assert (new(samples), samples.files) == ((), 1)
    with folder.stream("samples.jsonl") as file:
        file.write("".join(LINES[:3]).encode())
        file.flush()
        assert (new(samples), samples.files) == (tuple(WHOLE)[:2], 2)


def test_of_a_damaged_file_the_lines_before_the_damage_are_read(tmp_path: Path) -> None:
    content = gzip.compress(TEXT.encode())
    (tmp_path / "samples.jsonl.gz").write_bytes(content[: len(content) // 2])
    read = new(GrowingSamples(tmp_path / "samples.jsonl"))
    assert read == tuple(WHOLE)[: len(read)]
    assert len(read) > 10


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "samples.jsonl"
    if kind == "link":
        (tmp_path / "elsewhere").write_text(TEXT)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert new(GrowingSamples(path)) == ()


def touch(path: Path, at_s: int) -> None:
    path.touch()
    os.utime(path, (at_s, at_s))


def test_the_newest_file_of_the_attempt_is_found(tmp_path: Path) -> None:
    assert find_newest_file(tmp_path) is None
    touch(tmp_path / "samples.jsonl", 50)
    touch(tmp_path / "attempt", 100)
    assert find_newest_file(tmp_path) is None, "of an earlier attempt"
    touch(tmp_path / ".samples.jsonl.partial", 100)
    assert find_newest_file(tmp_path) == SamplesFile(path=tmp_path / "samples.jsonl", part=None)
    touch(tmp_path / ".disturbed-samples.jsonl.partial", 200)
    assert find_newest_file(tmp_path) == SamplesFile(path=tmp_path / "disturbed-samples.jsonl", part="disturbed")
    touch(tmp_path / "rebooted-samples.jsonl", 300)
    assert find_newest_file(tmp_path) == SamplesFile(path=tmp_path / "rebooted-samples.jsonl", part="rebooted")

"""Columns beside the sampler's lines are used where they are of these lines, and nothing else is ever believed."""

import gzip
import hashlib
import json
import os
import shutil
import zlib
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.campaign import campaign
from harness.model import Depth, Evidence
from harness.probes import samples as samples_probe
from harness.probes.facts import read_facts
from harness.probes.samples import SampleReader, read_samples
from harness.runs import judging
from harness.store import parsed_samples
from harness.store.evidence_folder import EvidenceFolder
from harness.store.evidence_parts import list_host_files
from harness.store.parsed_samples import ParsedSamples

DATA = Path(__file__).parents[2] / "data"
RECORDED = sorted(path.parent for path in DATA.rglob("samples.jsonl"))
LAB = DATA / "lab" / "drifting"
LINES, COLUMNS = "samples.jsonl", "samples.columns"
MOST = 60

Arrays = dict[str, array]  # type: ignore[type-arg]


def write(folder: Path, text: str | None = None, *, most: int = MOST, name: str = LINES) -> SampleReader:
    """Write lines and their columns, as a run does when it has measured."""
    data = (LAB / LINES).read_bytes() if text is None else text.encode()
    (folder / name).write_bytes(data)
    reader = SampleReader(name, most=most)
    for line in data.decode(errors="replace").split("\n"):
        reader.read_line(line)
    parsed_samples.write_columns(EvidenceFolder(folder), name, reader)
    return reader


def parse(folder: Path, *, most: int = MOST) -> ParsedSamples:
    """Read the lines alone."""
    reader = SampleReader(LINES, most=most)
    for line in (folder / LINES).read_bytes().decode(errors="replace").split("\n"):
        reader.read_line(line)
    return ParsedSamples(samples=reader.samples, boots=reader.boots, slots=reader.slots, unparsed=reader.unparsed)


@pytest.fixture
def by_columns(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], ParsedSamples | None]:
    """Read the samples of a folder; None where their lines were parsed."""

    def read(folder: Path, most: int = MOST) -> ParsedSamples | None:
        parsed: list[str] = []

        class Watched(SampleReader):
            def __init__(self, where: str, *, most: int) -> None:
                parsed.append(where)
                super().__init__(where, most=most)

        monkeypatch.setattr(parsed_samples, "SampleReader", Watched)
        found = parsed_samples.read_samples(folder, LINES, most=most)
        assert found == parse(folder, most=most)
        return None if parsed else found

    return read


ByColumns = Callable[..., ParsedSamples | None]


# --- read back as they were ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", RECORDED, ids=lambda path: path.name)
def test_every_recorded_host_is_judged_the_same_by_its_columns(
    tmp_path: Path, source: Path, by_columns: ByColumns
) -> None:
    write(tmp_path, (source / LINES).read_text())
    stored = by_columns(tmp_path)
    assert stored is not None
    plain = parse(tmp_path)
    facts, _ = read_facts((source / "facts.json").read_text(), where="facts.json")
    asked = campaign.from_mapping({"instance_types": ("lab.phc",), "measure": {"duration": "60s"}})
    results = []
    for samples in (stored.samples, plain.samples, tuple(plain.samples)):
        evidence = Evidence(facts=facts, final_facts=facts, samples=samples, slots=plain.slots, unparsed=plain.unparsed)
        results.append(
            (
                [judging.judge_evidence(evidence, asked, depth=depth) for depth in Depth],
                judging.compute_figures(evidence, asked),
                judging.reduce_for_plots(evidence, asked),
            )
        )
    assert repr(results[0]) == repr(results[1]) == repr(results[2])


@pytest.mark.parametrize(
    "more",
    ["", "nonsense\n", "x\n" * 250, '{"kind": "sample"}\n', "\n\n", "[" * 20_000, "\x1b[2J\n", '{"kind": "\\ud800"}'],
    ids=range(8),
)
def test_lines_that_nobody_understands_are_read_back_too(tmp_path: Path, more: str, by_columns: ByColumns) -> None:
    write(tmp_path, (LAB / LINES).read_text() + more)
    assert by_columns(tmp_path) is not None


@pytest.mark.parametrize("text", ["", "\n", "nonsense", '{"kind": "end", "samples": 0, "slots": 7}\n'])
def test_a_file_without_any_sample_is_read_back(tmp_path: Path, text: str, by_columns: ByColumns) -> None:
    write(tmp_path, text)
    found = by_columns(tmp_path)
    assert found is not None
    assert len(found.samples) == 0


def test_samples_after_a_reboot_have_columns_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, name="rebooted-samples.jsonl")
    assert (tmp_path / "rebooted-samples.columns").exists()


def test_the_boots_are_read_back(tmp_path: Path, by_columns: ByColumns) -> None:
    """The marks of disturbances need them."""
    heads = [
        {"kind": "start", "schema": 3, "boot_id": boot, "interval_s": 1.0, "slot": slot, "mono_ns": 7, "raw_ns": 8}
        for boot, slot in (("one", 0), ("two", 30))
    ]
    lines = [json.loads(line) for line in (LAB / LINES).read_text().splitlines() if '"kind": "sample"' in line]
    written = [heads[0], *lines[:20], heads[1], *({**line, "seq": line["seq"] + 10} for line in lines[20:40])]
    write(tmp_path, "".join(json.dumps(line) + "\n" for line in written))
    found = by_columns(tmp_path)
    assert found is not None
    assert [(boot.boot_id, boot.slot) for boot in found.boots] == [("one", 0), ("two", 30)]
    assert {sample.boot for sample in found.samples} == {0, 1}


def test_samples_of_which_lines_were_lost_on_the_way_have_no_columns(tmp_path: Path) -> None:
    reader = write(tmp_path)
    reader.note_damage("samples.jsonl.gz of boot 0")
    parsed_samples.write_columns(EvidenceFolder(tmp_path), LINES, reader)
    assert not (tmp_path / COLUMNS).exists()


# --- lines that are stored compressed --------------------------------------------------------------------------------


@pytest.fixture
def compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose lines are too many to stay as they are."""
    shutil.copy(LAB / LINES, tmp_path / LINES)
    monkeypatch.setattr(parsed_samples, "MOST_PLAIN_BYTES", (LAB / LINES).stat().st_size - 1)
    parsed_samples.store_compressed(EvidenceFolder(tmp_path), LINES)
    return tmp_path


def parsed_of_lab() -> ParsedSamples:
    samples, unparsed, slots = read_samples((LAB / LINES).read_text(), where=LINES, most=MOST)
    return ParsedSamples(samples=samples, boots=(), slots=slots, unparsed=unparsed)


def test_many_lines_are_stored_compressed_and_read_back(compressed: Path) -> None:
    assert [path.name for path in compressed.iterdir()] == [f"{LINES}.gz"]
    assert gzip.decompress((compressed / f"{LINES}.gz").read_bytes()) == (LAB / LINES).read_bytes()
    assert parsed_samples.read_samples(compressed, LINES, most=MOST) == parsed_of_lab()


def test_columns_belong_to_the_compressed_lines(compressed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, reader = parsed_of_lab(), SampleReader(LINES, most=MOST)
    for line in (LAB / LINES).read_text().split("\n"):
        reader.read_line(line)
    parsed_samples.write_columns(EvidenceFolder(compressed), LINES, reader)
    monkeypatch.setattr(parsed_samples, "SampleReader", None)
    assert parsed_samples.read_samples(compressed, LINES, most=MOST) == expected


def test_few_lines_stay_as_they_are_and_replace_those_of_an_earlier_attempt(
    compressed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    (compressed / LINES).write_text('{"kind": "end", "samples": 0, "slots": 7}\n')
    parsed_samples.store_compressed(EvidenceFolder(compressed), LINES)
    assert [path.name for path in compressed.iterdir()] == [LINES]
    assert parsed_samples.read_samples(compressed, LINES, most=MOST).slots == 7


@pytest.mark.parametrize("harm", ["cut", "zeros", "flip"])
def test_of_damaged_lines_those_before_the_damage_are_read_and_the_rest_is_told(compressed: Path, harm: str) -> None:
    path = compressed / f"{LINES}.gz"
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(
        {
            "cut": data[:half],
            "zeros": data[:half] + bytes(len(data) - half),
            "flip": data[:-6] + bytes([data[-6] ^ 255]) + data[-5:],
        }[harm]
    )
    found = parsed_samples.read_samples(compressed, LINES, most=MOST)
    assert [line.expected for line in found.unparsed][-1:] == ["a whole compressed file"]
    assert len(found.samples) <= 60


def test_columns_are_a_part_of_the_evidence_that_is_sent(tmp_path: Path) -> None:
    write(tmp_path)
    assert list(list_host_files(tmp_path)) == [COLUMNS, LINES]


def test_numbers_beyond_64_bits_are_only_in_the_lines(tmp_path: Path, by_columns: ByColumns) -> None:
    write(tmp_path)
    huge = (LAB / LINES).read_text().replace(",0.000010000,", ",999999999999.000000000,", 1)
    assert huge != (LAB / LINES).read_text()
    write(tmp_path, huge)
    assert not (tmp_path / COLUMNS).exists()
    assert by_columns(tmp_path) is None


# --- lines of any length ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("length", [16_384, 16_385, 65_535, 65_536, 65_537, 65_538, 200_000])
@pytest.mark.parametrize("piece", ["a", " ", "é", "\N{GRINNING FACE}", "\udcff"])
def test_a_long_line_is_one_line(tmp_path: Path, piece: str, length: int, end: str) -> None:
    data = (piece * length).encode(errors="surrogateescape")[:length]
    (tmp_path / LINES).write_bytes(data + b"\n" + (LAB / LINES).read_bytes() + data + end.encode())
    found, plain = parsed_samples.read_samples(tmp_path, LINES, most=MOST), parse(tmp_path)
    assert (found.samples, found.slots) == (plain.samples, plain.slots)
    if piece != " ":  # a blank line of any length is skipped; beyond 64 KiB it is refused
        assert found.unparsed == plain.unparsed


# --- what does not belong to the lines -------------------------------------------------------------------------------


def change_lines(folder: Path) -> None:
    with (folder / LINES).open("a") as file:
        file.write("\n")


def write_nothing(folder: Path) -> None:
    (folder / COLUMNS).write_bytes(b"")


def write_garbage(folder: Path) -> None:
    (folder / COLUMNS).write_bytes(bytes(range(256)) * 4000)


def write_deep_header(folder: Path) -> None:
    (folder / COLUMNS).write_bytes(b"[" * 500_000 + b"\n")


def cut(folder: Path) -> None:
    (folder / COLUMNS).write_bytes((folder / COLUMNS).read_bytes()[:-1])


def lengthen(folder: Path) -> None:
    (folder / COLUMNS).write_bytes((folder / COLUMNS).read_bytes() + b"\0")


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / COLUMNS).read_bytes())
    data[-1] ^= 1
    (folder / COLUMNS).write_bytes(data)


def fill_with_zeros(folder: Path) -> None:
    with (folder / COLUMNS).open("ab") as file:
        file.truncate(1 << 31)


def link_elsewhere(folder: Path) -> None:
    (folder / COLUMNS).rename(folder / "elsewhere")
    (folder / COLUMNS).symlink_to(folder / "elsewhere")


def make_a_folder(folder: Path) -> None:
    (folder / COLUMNS).unlink()
    (folder / COLUMNS).mkdir()


def make_a_pipe(folder: Path) -> None:
    (folder / COLUMNS).unlink()
    os.mkfifo(folder / COLUMNS)


def remove(folder: Path) -> None:
    (folder / COLUMNS).unlink()


@pytest.mark.parametrize(
    "harm",
    [change_lines, write_nothing, write_garbage, write_deep_header, cut, lengthen, flip_a_bit, fill_with_zeros,
     link_elsewhere, make_a_folder, make_a_pipe, remove],
)  # fmt: skip
def test_a_damaged_file_is_not_used(tmp_path: Path, harm: Callable[[Path], None], by_columns: ByColumns) -> None:
    write(tmp_path)
    assert by_columns(tmp_path) is not None
    harm(tmp_path)
    assert by_columns(tmp_path) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 20_000), value=st.integers(0, 255), head=st.booleans())
def test_a_byte_that_differs_is_noticed(
    tmp_path: Path, by_columns: ByColumns, place: int, value: int, head: bool
) -> None:
    write(tmp_path)
    data = bytearray((tmp_path / COLUMNS).read_bytes())
    place = place % data.index(b"\n") if head else place % len(data)
    changed = data[place] != value
    data[place] = value
    (tmp_path / COLUMNS).write_bytes(data)
    assert (by_columns(tmp_path) is None) is changed


def test_columns_of_another_number_of_slots_are_not_used(tmp_path: Path, by_columns: ByColumns) -> None:
    write(tmp_path)
    assert by_columns(tmp_path, 59) is None
    assert by_columns(tmp_path, 61) is not None, "no line was refused that might be taken now"
    write(tmp_path, most=59)
    assert by_columns(tmp_path, 59) is not None
    assert by_columns(tmp_path, 60) is None


def test_columns_of_another_parser_are_not_used(
    tmp_path: Path, by_columns: ByColumns, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.setattr(parsed_samples, "SAMPLES_DEFINITION", samples_probe.SAMPLES_DEFINITION + 1)
    assert by_columns(tmp_path) is None


def rewrite(folder: Path, change: Callable[[dict[str, Any], Arrays], object]) -> None:
    """Write the file again after a change, with fitting lengths and check sum, as somebody does who means harm."""
    head, _, data = (folder / COLUMNS).read_bytes().partition(b"\n")
    header, arrays = json.loads(head), {}
    for path, typecode, length in header["columns"]:
        arrays[path] = array(typecode)
        size = length * arrays[path].itemsize
        arrays[path].frombytes(data[:size])
        data = data[size:]
    change(header, arrays)
    if isinstance(header["columns"], list):
        header["columns"] = [[path, typecode, len(arrays[path])] for path, typecode, _ in header["columns"]]
    body = json.dumps(header).encode() + b"\n" + b"".join(values.tobytes() for values in arrays.values())
    (folder / COLUMNS).write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))


def put(path: str, values: Iterable[float], place: int = 0) -> Callable[[dict[str, Any], Arrays], None]:
    def change(_header: dict[str, Any], arrays: Arrays) -> None:
        for number, value in enumerate(values, place):
            arrays[path][number] = value

    return change


def put_header(**changes: Any) -> Callable[[dict[str, Any], Arrays], None]:
    return lambda header, _arrays: header.update(changes)


def rename_column(header: dict[str, Any], arrays: Arrays) -> None:
    header["columns"][0][0] = "other"
    arrays["other"] = arrays.pop("slot")
    arrays.update({path: arrays.pop(path) for path in list(arrays) if path != "other"})


def retype_column(header: dict[str, Any], arrays: Arrays) -> None:
    header["columns"][0][1] = "d"
    arrays["slot"] = array("d", arrays["slot"].tolist())


def shorten_column(_header: dict[str, Any], arrays: Arrays) -> None:
    arrays["slot"].pop()


def drop_texts(header: dict[str, Any], _arrays: Arrays) -> None:
    header["texts"]["tracking.leap"] = []


def number_texts(header: dict[str, Any], _arrays: Arrays) -> None:
    header["texts"]["tracking.leap"] = [7]


def repeat_texts(header: dict[str, Any], _arrays: Arrays) -> None:
    header["texts"]["tracking.leap"] *= 2


NAN = float("nan")
BOOT = {"boot_id": "a", "slot": 0, "mono_ns": 1, "raw_ns": 1, "interval_ns": 10**9}
NOTE = {"where": "w", "line_number": 1, "line": "x", "expected": "y"}


@pytest.mark.parametrize(
    "change",
    [
        put_header(format="other"), put_header(definition=0), put_header(definition="1"), put_header(sha256=""),
        put_header(most=True), put_header(slots=True), put_header(slots=-1), put_header(slots=61),
        put_header(slots=1.5), put_header(slots="60"), put_header(samples=True), put_header(samples=-1),
        put_header(samples=59), put_header(samples=1 << 70), put_header(unparsed=7), put_header(unparsed=[7]),
        put_header(unparsed=[{}]), put_header(unparsed=[{}] * 101), put_header(columns=[]), put_header(columns=7),
        put_header(texts={}), put_header(texts=[]),
        put("slot", [1, 0]), put("slot", [0, 0]), put("slot", [-1]), put("slot", [60], 59), put("slot", [2**62], 59),
        put("mono_ns", [-1]), put("utc_ns", [-1]), put("read_errors", [-1]), put("counters.cnt", [-1]),
        put("reads.after_ns", [0]), put("reads?", [2]), put("reads#", [6]), put("reads#", [2**32 - 1]),
        put("tracking?", [0]), put("tracking.leap", [9]), put("tracking.skew_ppm", [NAN]),
        put("tracking.frequency_ppm", [float("inf")]), put("sources.name", [77]), put("boot", [-1]),
        put_header(boots=7), put_header(boots=[7]), put_header(boots=[{"boot_id": "b"}]), put_header(boots=[{}] * 9),
        put_header(boots=[{**BOOT, "interval_ns": 0}]), put_header(boots=[{**BOOT, "slot": -1}]),
        put_header(boots=[{**BOOT, "raw_ns": 1 << 63}]), put("boot", [1]), put_header(unparsed=[NOTE] * 101),
        rename_column, retype_column, shorten_column, drop_texts, number_texts, repeat_texts,
    ],
)  # fmt: skip
def test_a_file_that_no_parser_writes_is_not_used(
    tmp_path: Path, change: Callable[[dict[str, Any], Arrays], None], by_columns: ByColumns
) -> None:
    write(tmp_path)
    rewrite(tmp_path, lambda *_: None)
    assert by_columns(tmp_path) is not None
    rewrite(tmp_path, change)
    assert by_columns(tmp_path) is None


@pytest.mark.parametrize("length", [True, 1.0, "60", None, -1, 1 << 40, 1 << 62, 1 << 80])
def test_a_length_that_the_file_does_not_have_is_not_used(
    tmp_path: Path, length: object, by_columns: ByColumns
) -> None:
    write(tmp_path)
    head, _, data = (tmp_path / COLUMNS).read_bytes().partition(b"\n")
    header = json.loads(head)
    header["columns"][0][2] = length
    body = json.dumps(header).encode() + b"\n" + data[:-4]
    (tmp_path / COLUMNS).write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))
    assert by_columns(tmp_path) is None


def test_a_file_of_objects_is_not_used(tmp_path: Path, by_columns: ByColumns) -> None:
    import numpy as np

    write(tmp_path)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    shutil.move(tmp_path / "objects.npy", tmp_path / COLUMNS)
    assert by_columns(tmp_path) is None


# --- the version of the parser ---------------------------------------------------------------------------------------

DEFINITION, DIGEST = 1, "b0afed6269f4cf2d2a87b8ef198d20d17e94d2fd3020b24c45fdaea3b28e27bc"
"""What the recorded lines are parsed to by this version of the parser."""


def test_a_parser_that_reads_lines_otherwise_has_another_version() -> None:
    """Where this fails, raise SAMPLES_DEFINITION, so that columns of earlier parsers are not used; then both here."""
    read = [read_samples((source / LINES).read_text(), where=LINES) for source in RECORDED]
    digest = hashlib.sha256(repr([(list(samples), *others) for samples, *others in read]).encode()).hexdigest()
    assert (samples_probe.SAMPLES_DEFINITION, digest) == (DEFINITION, DIGEST)

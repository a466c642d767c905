"""Samples come home whole, byte for byte, and a host that sends without an end is stopped: with real commands."""

import io
import json
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import FloodError
from harness.host import sampling
from harness.host.playbooks import Target
from harness.model import Machine, Sample
from harness.probes.samples import SampleReader

SSH = """#!/bin/sh
# ssh as far as words go: those after the destination are one text for a shell over there, which is here.
while [ "${1#*@}" = "$1" ]; do shift; done
shift
[ "$1" = "--" ] && shift
exec sh -c "$*"
"""


@pytest.fixture
def target(silent_machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A host whose commands run here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(SSH)
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return Target(machine=silent_machine, known_hosts=tmp_path / "known_hosts", control=tmp_path / "control")


def line(seq: int, **more: object) -> bytes:
    return json.dumps({"kind": "sample", "seq": seq, "mono_ns": seq, "utc_ns": seq} | more).encode() + b"\n"


def end(count: int) -> bytes:
    return json.dumps({"kind": "end", "samples": count, "reason": "done"}).encode() + b"\n"


def compress(*parts: bytes, whole: bool = True) -> bytes:
    """A boot's file, each part of it readable as soon as it is there."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, 31)
    data = b"".join(deflate.compress(part) + deflate.flush(zlib.Z_SYNC_FLUSH) for part in parts)
    return data + deflate.flush() if whole else data


def start(slot: int, *, mono_ns: int, boot: str = "first") -> bytes:
    head = {"kind": "start", "schema": 3, "boot_id": boot, "interval_s": 1.0, "slot": slot, "mono_ns": mono_ns}
    return json.dumps({**head, "raw_ns": mono_ns}).encode() + b"\n"


def follow(
    target: Target,
    path: Path,
    *,
    most: int = 60,
    pause: Callable[[float], None] = lambda _: None,
    duration_s: float = 5,
) -> tuple[SampleReader, bytes, list[Sample]]:
    reader, file, seen = SampleReader("samples.jsonl", most=most), io.BytesIO(), list[Sample]()
    sampling.follow_samples(target, str(path), reader, file, duration_s=duration_s, on_sample=seen.append, pause=pause)
    return reader, file.getvalue(), seen


def test_a_whole_file_comes_home_as_it_is(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "there with a space.jsonl"
    path.write_bytes(compress(line(0) + line(1) + end(2)))
    reader, text, seen = follow(target, path)
    assert (len(reader.samples), reader.slots, text) == (2, 2, line(0) + line(1) + end(2))
    assert [sample.slot for sample in seen] == [1], "the latest of those that came together"


def test_a_file_that_grows_is_followed_line_by_line(target: Target, tmp_path: Path) -> None:
    data = compress(line(0), line(1), end(2))
    path, parts = tmp_path / "samples.jsonl.gz", [data[:20], data[20:100], data[100:-5], data[-5:]]
    path.write_bytes(b"")

    def write_on(_seconds: float) -> None:
        if parts:
            with path.open("ab") as file:
                file.write(parts.pop(0))

    reader, text, seen = follow(target, path, pause=write_on)
    assert (len(reader.samples), reader.slots, text) == (2, 2, line(0) + line(1) + end(2))
    assert [sample.slot for sample in seen][-1] == 1


def test_bytes_that_are_no_text_cost_their_own_line_alone(target: Target, tmp_path: Path) -> None:
    """Counted as characters, two such bytes would be six, and the next sample would be cut."""
    path, text_there = tmp_path / "samples.jsonl.gz", line(0) + b"\xff\xfe\n" + line(2) + line(3) + end(4)
    path.write_bytes(compress(text_there))
    reader, text, _ = follow(target, path)
    assert [sample.slot for sample in reader.samples] == [0, 2, 3]
    assert (reader.slots, len(reader.unparsed), text) == (4, 1, text_there)


def test_a_file_of_a_later_boot_goes_on_where_the_one_before_ends(target: Target, tmp_path: Path) -> None:
    """The second boot's CLOCK_MONOTONIC begins anew; the series goes on by its slots."""
    path, first_ns = tmp_path / "samples.jsonl.gz", 500 * 10**9
    before = start(0, mono_ns=first_ns) + line(0, mono_ns=first_ns) + line(1, mono_ns=first_ns + 10**9)
    after = start(7, mono_ns=20 * 10**9, boot="second") + line(8, mono_ns=21 * 10**9 + 3) + end(3)
    path.write_bytes(compress(before))
    later = [lambda: Path(f"{path}.1").write_bytes(compress(after))]
    reader, text, _ = follow(target, path, pause=lambda _: later and later.pop()())
    assert [(sample.slot, sample.boot, sample.mono_ns) for sample in reader.samples] == [
        (0, 0, first_ns), (1, 0, first_ns + 10**9), (8, 1, first_ns + 8 * 10**9 + 3),
    ]  # fmt: skip
    assert (reader.unparsed, text) == ((), before + after)
    assert [(boot.boot_id, boot.slot, boot.slot_of(boot.mono_ns + 10**9)) for boot in reader.boots] == [
        ("first", 0, 1), ("second", 7, 8),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", ["within a line", "damaged"])
def test_a_boot_that_ended_in_a_crash_loses_its_last_line_alone(target: Target, tmp_path: Path, cut: str) -> None:
    path = tmp_path / "samples.jsonl.gz"
    tail = compress(line(0), line(1)[:9], whole=False) if cut == "within a line" else compress(line(0), whole=False)
    path.write_bytes(tail if cut == "within a line" else tail + b"\0" * 4000)
    Path(f"{path}.1").write_bytes(compress(line(5) + end(6)))
    reader, text, _ = follow(target, path)
    assert [sample.slot for sample in reader.samples] == [0, 5]
    assert [item.expected for item in reader.unparsed] == ["a whole compressed file"]
    assert text == line(0) + line(5) + end(6)


def test_a_small_file_that_inflates_without_an_end_is_refused(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl.gz"
    path.write_bytes(compress(b"a line\n" * (1 << 20)))
    with pytest.raises(FloodError, match="more than 1069056 bytes in all"):
        follow(target, path, most=5)


def test_a_file_of_many_parts_comes_home_without_pauses_between(target: Target, tmp_path: Path) -> None:
    path, pauses = tmp_path / "samples.jsonl", list[float]()
    lines = [line(seq, padding=os.urandom(600).hex()) for seq in range(3000)]
    path.write_bytes(compress(*lines, end(3000)))
    assert path.stat().st_size > 1.5 * (1 << 20), "more than one part"
    reader, text, _ = follow(target, path, most=3000, pause=pauses.append)
    assert (len(reader.samples), reader.slots, text) == (3000, 3000, b"".join(lines) + end(3000))
    assert len(pauses) == 1


def test_a_line_without_an_end_is_not_waited_for(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(compress(line(0) + b"x" * (3 << 20)))
    with pytest.raises(FloodError, match="a line without an end"):
        follow(target, path)


def test_more_than_the_samples_that_were_asked_for_can_have_is_refused(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(compress(b"nonsense\n" * 200_000))
    with pytest.raises(FloodError, match="more than 1069056 bytes in all"):
        follow(target, path, most=5)


def test_a_host_that_ignores_how_much_was_asked_for_is_cut_off(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin" / "ssh").write_text("#!/bin/sh\nexec tr '\\000' 'x' < /dev/zero\n")
    begun = time.monotonic()
    with pytest.raises(FloodError, match="printed more than"):
        follow(target, tmp_path / "samples.jsonl")
    assert time.monotonic() - begun < 15


@pytest.mark.slow
def test_one_byte_a_second_is_given_up_at_the_deadline(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "GRACE_S", 1.0)
    monkeypatch.setattr(sampling, "POLL_DEADLINE_S", 1.0)
    (tmp_path / "bin" / "ssh").write_text("#!/bin/sh\nwhile :; do printf x; sleep 0.2; done\n")
    begun = time.monotonic()
    reader, text, _ = follow(target, tmp_path / "samples.jsonl", duration_s=1)
    assert (reader.samples, reader.slots, text) == ((), None, b"")
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("text", "closing"),
    [
        (b'{"kind": "end", "samples": 3}', True),
        (b'{"kind": "sample"}', False),
        (b'["end"]', False),
        (b"[" * 200_000, False),
        (b"[" * 499, False),
        (b"\xff", False),
        (b"", False),
    ],
)
def test_only_the_samplers_closing_line_is_the_end(text: bytes, closing: bool) -> None:
    assert sampling.is_closing_line(text) is closing

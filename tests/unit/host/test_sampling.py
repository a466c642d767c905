"""Samples come home whole, byte for byte, and a host that sends without an end is stopped: with real commands."""

import io
import json
import os
import time
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
    path.write_bytes(line(0) + line(1) + end(2))
    reader, text, seen = follow(target, path)
    assert (len(reader.samples), reader.slots, text) == (2, 2, path.read_bytes())
    assert [sample.slot for sample in seen] == [1], "the latest of those that came together"


def test_a_file_that_grows_is_followed_line_by_line(target: Target, tmp_path: Path) -> None:
    path, parts = tmp_path / "samples.jsonl", [line(0)[:20], line(0)[20:] + line(1), end(2)[:5], end(2)[5:]]
    path.write_bytes(b"")

    def write_on(_seconds: float) -> None:
        if parts:
            with path.open("ab") as file:
                file.write(parts.pop(0))

    reader, text, seen = follow(target, path, pause=write_on)
    assert (len(reader.samples), reader.slots, text) == (2, 2, path.read_bytes())
    assert [sample.slot for sample in seen] == [1]


def test_bytes_that_are_no_text_cost_their_own_line_alone(target: Target, tmp_path: Path) -> None:
    """Counted as characters, two such bytes would be six, and the next sample would be cut."""
    path, parts = tmp_path / "samples.jsonl", [line(0) + b"\xff\xfe\n", line(2), line(3) + end(4)]
    path.write_bytes(b"")

    def write_on(_seconds: float) -> None:
        if parts:
            with path.open("ab") as file:
                file.write(parts.pop(0))

    reader, text, _ = follow(target, path, pause=write_on)
    assert [sample.slot for sample in reader.samples] == [0, 2, 3]
    assert (reader.slots, len(reader.unparsed), text) == (4, 1, path.read_bytes())


def test_a_file_of_many_parts_comes_home_without_pauses_between(target: Target, tmp_path: Path) -> None:
    path, pauses = tmp_path / "samples.jsonl", list[float]()
    path.write_bytes(b"".join(line(seq, padding="x" * 1200) for seq in range(3000)) + end(3000))
    reader, text, _ = follow(target, path, most=3000, pause=pauses.append)
    assert (len(reader.samples), reader.slots, len(text)) == (3000, 3000, path.stat().st_size)
    assert len(pauses) == 1


def test_a_line_without_an_end_is_not_waited_for(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(line(0) + b"x" * (3 << 20))
    with pytest.raises(FloodError, match="a line without an end"):
        follow(target, path)


def test_more_than_the_samples_that_were_asked_for_can_have_is_refused(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"nonsense\n" * 200_000)
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

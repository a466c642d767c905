"""What a host answers is a reading of its tick, or refused in one way, whatever it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.reading_columns import ReadingRows
from harness.watch.tick_answers import SamplerStart, TickAnswer, parse_answer
from tests.servers.clock_hosts import Clock, make_answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
PARTS = ("kind", "tick", "phc", "chronyc", "error_bound", "stats", "kernel", "mono_ns")


def answer(**changes: Any) -> bytes:
    return json.dumps(json.loads(make_answer(7, Clock())) | changes).encode()


def parse(line: bytes) -> SamplerStart | TickAnswer | None:
    return parse_answer(line, fresh_s=1)


def test_a_good_answer_is_a_reading() -> None:
    parsed = parse(make_answer(7, Clock(offset_ns=-250, window_ns=3000, bound_ns=8000, errors=2)))
    assert isinstance(parsed, TickAnswer)
    reading = parsed.reading
    assert reading is not None
    assert (reading.tick, reading.offset_ns, reading.window_ns) == (7, -250, 3000)
    assert (reading.reads, reading.read_errors, reading.device_bound_ns) == (5, 2, 20_000)
    assert (reading.chrony_offset_ns, reading.chrony_bound_ns) == (-84, 8000)
    assert (reading.follows_phc, reading.opinion_ns) == (True, 40_000)


def test_what_was_not_observed_is_none() -> None:
    parsed = parse(answer(phc={"rc": 2, "err": "gone"}, chronyc={"rc": 1, "out": "506 Cannot talk"}, error_bound=None))
    assert isinstance(parsed, TickAnswer)
    reading = parsed.reading
    assert reading is not None
    assert (reading.offset_ns, reading.window_ns, reading.reads, reading.read_errors) == (None, None, 0, 1)
    assert (reading.chrony_bound_ns, reading.follows_phc, reading.opinion_ns) == (None, None, None)
    assert reading.device_bound_ns is None


def test_a_lost_selection_and_an_old_opinion_are_seen() -> None:
    lost = parse(make_answer(7, Clock(follows=False)))
    assert isinstance(lost, TickAnswer)
    assert lost.reading is not None
    assert lost.reading.follows_phc is False
    out = json.loads(make_answer(7, Clock()))["chronyc"]["out"]
    old = parse(answer(chronyc={"rc": 0, "out": out.replace("1,4,377,1,", "1,4,377,9,")}))
    assert isinstance(old, TickAnswer)
    assert old.reading is not None
    assert old.reading.opinion_ns is None


@pytest.mark.parametrize("kind", ["late", "skipped"])
def test_a_tick_that_the_sampler_did_not_take_is_answered_without_a_reading(kind: str) -> None:
    assert parse(answer(kind=kind)) == TickAnswer(tick=7, reading=None)


def test_what_a_host_says_of_itself_is_one_short_line() -> None:
    start = {"kind": "start", "kernel": "6.1\n\x1b[31m" + "x" * 500, "driver": 7, "boot_id": "b"}
    parsed = parse(json.dumps(start).encode())
    assert isinstance(parsed, SamplerStart)
    assert {*parsed.facts} == {"kernel", "boot_id"}
    assert "\x1b" not in parsed.facts["kernel"]
    assert len(parsed.facts["kernel"]) < 150


@pytest.mark.parametrize(
    ("schema", "told"), [(3, 3), (0, 0), (None, None), ("3", None), (True, None), (-1, None), (10**9, None)]
)
def test_the_form_of_its_lines_that_a_host_tells_is_a_small_number_or_unknown(schema: Any, told: int | None) -> None:
    parsed = parse(json.dumps({"kind": "start", "schema": schema}).encode())
    assert isinstance(parsed, SamplerStart)
    assert parsed.schema == told


@given(st.sampled_from(PARTS), JSON)
def test_an_answer_with_any_part_is_refused_or_a_reading_that_can_be_stored(part: str, value: Any) -> None:
    try:
        parsed = parse(answer(**{part: value}))
    except ValueError:
        return
    if isinstance(parsed, TickAnswer) and parsed.reading is not None:
        ReadingRows([parsed.reading])


@given(st.lists(st.integers(), min_size=3, max_size=3), st.integers(), st.text(alphabet="0123456789.,-+e#^*PHC\n"))
def test_numbers_of_any_size_are_refused_or_can_be_stored(read: list[int], bound: int, out: str) -> None:
    try:
        parsed = parse(
            answer(
                phc={"reads": [read], "errors": {}},
                error_bound={"rc": 0, "out": str(bound)},
                chronyc={"rc": 0, "out": out},
            )
        )
    except ValueError:
        return
    assert isinstance(parsed, TickAnswer)
    assert parsed.reading is not None
    ReadingRows([parsed.reading])


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_way(line: bytes) -> None:
    try:
        parse(line)
    except ValueError:
        return

"""A table of samples is a sequence of them, whatever they hold, and needs a tenth of their memory."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.model import Evidence, Sample
from harness.model.columns import RecordNode, make_node
from harness.model.sample_table import SampleTable
from tests.doubles import drawn_samples

MOST_BYTES_A_SAMPLE = 600


@settings(deadline=None)
@example([])
@given(st.lists(drawn_samples.samples, max_size=8))
def test_a_table_gives_back_the_samples_that_it_was_made_of(samples: list[Sample]) -> None:
    table = SampleTable(samples)
    assert list(table) == samples
    assert [table[place] for place in range(len(table))] == samples
    assert table == tuple(samples)
    assert tuple(samples) == table
    assert SampleTable(table) == table
    assert bool(table) is bool(samples)


@given(
    size=st.integers(0, 5), begin=st.none() | st.integers(-7, 7), end=st.none() | st.integers(-7, 7),
    step=st.sampled_from([None, 1, 2, -1]),
)  # fmt: skip
def test_a_slice_of_a_table_is_that_of_a_tuple(
    good: Evidence, size: int, begin: int | None, end: int | None, step: int | None
) -> None:
    samples = tuple(good.samples or ())[:size]
    assert SampleTable(samples)[begin:end:step] == samples[begin:end:step]


def test_a_table_grows_over_many_batches_and_can_be_read_in_between(good: Evidence) -> None:
    like, table = (good.samples or ())[0], SampleTable()
    for slot in range(1500):
        table.append(replace(like, slot=slot, reads=None if slot % 3 else like.reads))
        if slot in (0, 511, 700):
            assert (len(table), table[slot].slot, table[-1].slot) == (slot + 1, slot, slot)
    assert [sample.slot for sample in table] == list(range(1500))
    assert [sample.reads for sample in table][:3] == [like.reads, None, None]


def test_tables_differ_where_a_sample_differs(good: Evidence) -> None:
    samples = tuple(good.samples or ())[:3]
    changed = (*samples[:2], replace(samples[2], read_errors=7))
    assert SampleTable(samples) != SampleTable(changed)
    assert SampleTable(samples) != samples[:2]
    assert SampleTable(samples) != list(samples)
    with pytest.raises(IndexError):
        SampleTable(samples)[3]
    assert repr(SampleTable(samples)) == "<3 samples as columns>"


def test_a_day_of_samples_takes_tens_of_megabytes(good: Evidence) -> None:
    table = SampleTable(good.samples or ())
    table.settle()
    size = sum(len(bytes(column.values)) for column in table.columns.values() if len(column.values))
    assert size / len(table) < MOST_BYTES_A_SAMPLE


# --- columns of any dataclass ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    name: str
    sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    number: float
    flags: tuple[bool, ...]
    inners: tuple[Inner, ...] | None
    maybe: Inner | None
    notes: tuple[str | None, ...]


RECORDS = [
    Outer(number=1.5, flags=(True, False), inners=(Inner(name="a", sure=True),) * 2, maybe=None, notes=("x", None)),
    Outer(number=math.inf, flags=(), inners=None, maybe=Inner(name="", sure=False), notes=()),
    Outer(number=-0.0, flags=(True,), inners=(), maybe=Inner(name="a", sure=True), notes=(None,)),
]


def test_fields_of_every_kind_have_columns() -> None:
    node = RecordNode(Outer)
    node.extend(RECORDS)
    assert node.read(0, 3) == RECORDS
    assert node.read(1, 2) == RECORDS[1:2]
    assert all(type(flag) is bool for record in node.read(0, 3) for flag in record.flags)
    node.check(3)


@pytest.mark.parametrize("kind", [dict[str, int], int | str, tuple[int, int], list[int], object])
def test_a_field_that_columns_cannot_hold_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="columns cannot hold"):
        make_node(kind)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("number", [1.0]),
        ("flags#", [2, 0]),
        ("flags#", [2, 0, 9]),
        ("flags", [0, 1, 2]),
        ("inners?", [1, 0, 2]),
        ("inners.name", [0, 9]),
        ("maybe?", [1, 1, 1]),
        ("maybe.sure", [0]),
        ("notes?", [1, 1]),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(path: str, values: list[int]) -> None:
    node = RecordNode(Outer)
    node.extend(RECORDS)
    column = dict(node.walk(""))[path]
    column.values = type(column.values)(column.typecode, values)
    with pytest.raises(ValueError, match=r"unequal length|0 or 1|not there"):
        node.check(3)
    with pytest.raises(ValueError, match=r"unequal length"):
        RecordNode(Outer).check(1)


def test_a_text_that_is_there_twice_is_refused() -> None:
    node = RecordNode(Inner)
    node.extend([Inner(name="a", sure=True)])
    texts = dict(node.walk(""))["name"].texts
    assert texts == ["a"]
    texts.append("a")
    with pytest.raises(ValueError, match="twice"):
        node.check(1)

"""Windows of flags, counts and values give what a list of the last ticks gives."""

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.watch.alarm import Alarm
from harness.watch.window import LONG, SHORT, CountWindow, FlagWindow, ValueWindow

steps = st.lists(st.one_of(st.integers(0, 15), st.tuples(st.sampled_from(["skip", "fill"]), st.integers(0, 700))))


@given(steps=steps)
@settings(max_examples=100)
def test_flags_and_counts_are_those_of_a_list(steps: list[int | tuple[str, int]]) -> None:
    flags, counts, listed = FlagWindow(), CountWindow(), [0] * LONG
    filled = FlagWindow()
    for step in steps:
        if isinstance(step, int):
            flags.add(step % 2 == 1)
            filled.add(step % 2 == 1)
            counts.add(step)
            listed.append(step)
        else:
            flags.skip(step[1])
            counts.skip(step[1])
            (filled.fill if step[0] == "fill" else filled.skip)(step[1])
            listed += [0] * step[1]
    assert flags.count() == sum(each % 2 for each in listed[-LONG:])
    assert flags.count_short() == sum(each % 2 for each in listed[-SHORT:])
    assert flags.count_last(10) == sum(each % 2 for each in listed[-10:])
    assert counts.sum() == sum(listed[-LONG:])
    assert filled.count() >= flags.count()


def test_ticks_that_are_filled_have_their_flag() -> None:
    window = FlagWindow()
    window.add(False)
    window.fill(5)
    window.skip(2)
    assert (window.count(), window.count_last(4)) == (5, 2)
    window.fill(10_000)
    assert window.count() == LONG


@given(values=st.lists(st.none() | st.integers(-(2**70), 2**70), max_size=200))
def test_values_are_the_last_that_were_seen(values: list[int | None]) -> None:
    window = ValueWindow()
    for value in values:
        window.add(value)
    seen = [min(float(abs(value)), 2.0**62) for value in values[-SHORT:] if value is not None]
    assert window.sort_sizes() == sorted(seen)


def test_word_ends_when_it_was_good_for_long_enough_and_later_each_time() -> None:
    alarm, lengths = Alarm(10), []
    tick = 0
    for _ in range(6):
        alarm.step(tick, bad=True, good=False)
        began = tick
        while alarm.active:
            tick += 1
            alarm.step(tick, bad=False, good=True)
        lengths.append(tick - began)
        tick += 5
    assert lengths == [10, 20, 40, 80, 160, 160]


def test_ticks_without_evidence_neither_end_a_word_nor_keep_it() -> None:
    alarm = Alarm(3)
    alarm.step(0, bad=True, good=False)
    for tick, good in enumerate([True, None, True, None, None], start=1):
        assert not alarm.step(tick, bad=False, good=good)
    assert alarm.step(6, bad=False, good=True)
    assert not alarm.active

"""Charts of characters: exact drawings of known series, and any series in any width."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.clock_history import ClockHistory
from harness.model import PhcRead, Sample
from harness.report.terminal_chart import (
    ASCII,
    LEAST_ROWS,
    UNICODE,
    Glyphs,
    TimeAxis,
    choose_axis,
    choose_scale,
    draw_chart,
)
from harness.report.terminal_lines import format_lines
from tests.unit.conftest import a_sample, a_tracking


def a_reading(slot: int, offset_ns: int, bound_ns: int | None = 6_000, *, window_ns: int = 1_000) -> Sample:
    """A sample with one reading, and a bound."""
    at = 1_795_233_824 * 10**9 + slot * 10**9
    before_ns = at + offset_ns - window_ns // 2
    tracking = (
        None if bound_ns is None else a_tracking(system_offset_ns=0, root_delay_ns=0, root_dispersion_ns=bound_ns)
    )
    reads = (PhcRead(before_ns=before_ns, phc_ns=at, after_ns=before_ns + window_ns),)
    return replace(a_sample(slot), reads=reads, tracking=tracking)


def drawn(
    samples: Iterable[Sample], *, slots: int = 20, width: int = 29, height: int = 10, glyphs: Glyphs = ASCII
) -> list[str]:
    history = ClockHistory()
    for sample in samples:
        history.add(sample)
    axis = TimeAxis(slots=slots, interval_s=1.0)
    return format_lines(draw_chart(history, axis, width=width, height=height, glyphs=glyphs), colour=False)


SERIES: dict[str, list[Sample]] = {
    "flat": [a_reading(slot, 250) for slot in range(12)],
    "step": [a_reading(slot, *((-2_000, 5_000) if slot < 8 else (3_000, 2_500))) for slot in range(20)],
    "gap": [a_reading(slot, slot * 100 - 800) for slot in range(20) if not 6 <= slot < 11],
    "refuted": [a_reading(slot, 9_000 if slot == 7 else 100, 4_000) for slot in range(20)],
    "one": [a_reading(0, -84)],
    "none": [],
    "huge": [a_reading(slot, (-1) ** slot * 10**18, 4 * 10**18) for slot in range(20)],
    "refused": [replace(a_reading(slot, 0, None), reads=(), read_errors=5) for slot in range(5)],
}

EXPECTED = {
    "flat": """\
system clock minus PHC
+251 ns +
        |
        |............
        |
+249 ns +
chrony's bound
   6 us +############
        +--------------------
         0 s     10 s    20 s
""",
    "step": """\
system clock minus PHC
+3 us +         :''''''''''''
      |         :
 0 ns +         :
      |         :
-2 us +.........:
chrony's bound
 5 us +#########:::::::::::::
      +----------------------
       0 s      10 s     20 s
""",
    "gap": """\
system clock minus PHC
+1.5 us +                   .
        |              ...:''
   0 ns +           ''''
        |   ..:
  -1 us +''''
chrony's bound
   6 us +######     #########
        +------?????---------
         0 s     10 s    20 s
""",
    "refuted": """\
system clock minus PHC
+10 us +        ..
       |        ::
       |        ::
       |        ::
  0 ns +........::...........
chrony's bound
  4 us +#####################
       +--------!------------
        0 s     10 s     20 s
""",
    "one": """\
system clock minus PHC
-83 ns +
       |
       |..
       |
-85 ns +
chrony's bound
  6 us +##
       +---------------------
        0 s     10 s     20 s
""",
    "none": """\
system clock minus PHC: not o
|
|
|
|
|
chrony's bound: not observed
|
+----------------------------
 0 s         10 s        20 s
""",
    "huge": """\
system clock minus PHC
+1000000000 s +'::': :'::': :
              | :: : : :: : :
         0 ns + :: : : :: : :
              | :: : : :: : :
-1000000000 s + :: :.: :: :.:
chrony's bound
 4000000000 s +##############
              +--------------
               0 s       20 s
""",
    "refused": """\
system clock minus PHC: not o
|
|
|
|
|
chrony's bound: not observed
|
+???????---------------------
 0 s         10 s        20 s
""",
}

IN_BRAILLE = {
    "step": """\
system clock minus PHC
+3 us ┤         ⡏⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉
      │         ⡇
 0 ns ┤         ⡇
      │         ⡇
-2 us ┤⣀⣀⣀⣀⣀⣀⣀⣀⣀⡇
chrony's bound
 5 us ┤█████████▄▄▄▄▄▄▄▄▄▄▄▄▄
      └──────────────────────
       0 s      10 s     20 s
""",
    "gap": """\
system clock minus PHC
+1.5 us ┤                   ⣀
        │              ⣀⡤⠖⠒⠋⠁
   0 ns ┤           ⠒⠋⠉⠁
        │   ⣀⡤⠤
  -1 us ┤⠒⠒⠋⠁
chrony's bound
   6 us ┤██████     █████████
        └──────?????─────────
         0 s     10 s    20 s
""",
    "refuted": """\
system clock minus PHC
+10 us ┤       ⢠⢤
       │       ⢸⢸
       │       ⢸⢸
       │       ⢸⢸
  0 ns ┤⣀⣀⣀⣀⣀⣀⣀⣸⢸⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀
chrony's bound
  4 us ┤█████████████████████
       └───────!!────────────
        0 s     10 s     20 s
""",
}


@pytest.mark.parametrize("name", SERIES)
def test_a_known_series_in_ascii(name: str) -> None:
    assert drawn(SERIES[name]) == EXPECTED[name].splitlines()


@pytest.mark.parametrize("name", IN_BRAILLE)
def test_a_known_series_in_braille(name: str) -> None:
    assert drawn(SERIES[name], glyphs=UNICODE) == IN_BRAILLE[name].splitlines()


def test_where_labels_leave_no_room_they_are_left_out() -> None:
    assert drawn(SERIES["huge"], width=22)[1].startswith("|")
    assert drawn(SERIES["huge"], width=23)[1].startswith("+1000000000 s +")


def test_a_series_whose_greatest_offset_is_0_has_its_scale() -> None:
    lines = drawn([a_reading(0, 0), a_reading(1, -4)])
    assert (lines[1], lines[5]) == (" 0 ns +'':", "-4 ns +  :")


SAMPLES = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.one_of(st.none(), st.integers(-(2**61), 2**61), st.integers(-2_000, 2_000)),
        st.one_of(st.none(), st.integers(0, 2**62), st.integers(0, 9_000)),
    ),
    max_size=40,
)


@given(
    SAMPLES, st.integers(20, 200), st.integers(LEAST_ROWS, 40), st.sampled_from([ASCII, UNICODE]), st.integers(1, 700)
)
def test_no_line_is_wider_than_the_terminal(
    drawn_samples: list[tuple[int, int | None, int | None]], width: int, height: int, glyphs: Glyphs, expected: int
) -> None:
    samples, slot = [], -1
    for step, offset_ns, bound_ns in drawn_samples:
        slot += step
        sample = a_reading(slot, offset_ns or 0, bound_ns)
        samples.append(sample if offset_ns is not None else replace(sample, reads=None))
    lines = drawn(samples, slots=max(expected, slot + 1), width=width, height=height, glyphs=glyphs)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    assert glyphs is UNICODE or all(line.isascii() for line in lines)


@pytest.mark.parametrize("width", range(1, 20))
def test_a_very_narrow_terminal_is_no_error(width: int) -> None:
    assert max(map(len, drawn(SERIES["step"], width=width))) <= width


@given(st.integers(-(2**60), 2**60), st.integers(-(2**60), 2**60))
def test_a_scale_holds_its_values_and_three_digits_write_it(one: int, other: int) -> None:
    scale = choose_scale(min(one, other), max(one, other))
    assert scale.low <= min(one, other) <= max(one, other) <= scale.high
    assert scale.low < scale.high
    assert all(len(str(abs(end)).rstrip("0")) <= 3 for end in (scale.low, scale.high))


@pytest.mark.parametrize(
    ("slots", "expected", "interval_s", "shown"),
    [
        (0, 60, 1.0, 60),
        (61, 60, 1.0, 61),
        (0, 86_400, 1.0, 60),
        (61, 86_400, 1.0, 120),
        (3_601, 86_400, 1.0, 7_200),
        (50_000, 86_400, 1.0, 57_600),
        (70_000, 86_400, 1.0, 86_400),
        (0, 6_000, 0.1, 600),
        (0, 1, 3_600.0, 1),
    ],
)
def test_the_time_axis_grows_in_round_steps_up_to_what_is_expected(
    slots: int, expected: int, interval_s: float, shown: int
) -> None:
    assert choose_axis(slots, expected, interval_s) == TimeAxis(slots=shown, interval_s=interval_s)

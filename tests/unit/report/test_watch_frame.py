"""The frame of `show --watch`: as many charts as there is room for, the others in words."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.clock_history import ClockHistory
from harness.model import PhcRead
from harness.report.terminal_chart import ASCII, UNICODE, TimeAxis
from harness.report.terminal_lines import format_lines
from harness.report.watch_frame import WatchedHost, WatchedRun, describe_latest, draw_frame
from tests.unit.conftest import a_refclock, a_sample

HOSTILE = "\x1b]52;c;cHduZWQ=\x07\x1b[2J\x9b2J\u202e\u200b時\ud800"


def a_host(title: str = "lab.phc", slots: int = 32, source: str = "PHC0") -> WatchedHost:
    """A host with a good clock, that has been measured for so many of 60 seconds."""
    history = ClockHistory()
    for slot in range(slots):
        history.add(replace(a_sample(slot), sources=(replace(a_refclock(), name=source),)))
    return WatchedHost(title=title, expected_s=60.0, axis=TimeAxis(slots=60, interval_s=1.0), history=history)


def frame(*hosts: WatchedHost, notes: tuple[str, ...] = (), width: int = 80, height: int = 23) -> list[str]:
    run = WatchedRun(heading="run k3f9 on lab: under way", hosts=hosts, notes=notes, goes_on=True)
    return format_lines(draw_frame(run, width=width, height=height, glyphs=ASCII), colour=False)


def test_a_host_is_named_with_its_progress_its_values_and_its_chart() -> None:
    lines = frame(a_host(), height=12)
    assert lines[:4] == [
        "run k3f9 on lab: under way",
        "lab.phc  32 s of 1 min",
        "offset -50 ns +- 2 us   bound 6.32 us   source PHC0   refused 0 of 160",
        "system clock minus PHC",
    ]
    assert len(lines) == 12


def test_refuted_and_missing_seconds_are_counted_in_words() -> None:
    host = a_host()
    far = PhcRead(before_ns=10**18 + 90_000, phc_ns=10**18, after_ns=10**18 + 91_000)
    host.history.add(replace(a_sample(35), reads=(far,), read_errors=4))
    shown = " ".join(frame(host))
    for words in ("offset +90.5 us +- 500 ns", "refused 4 of 165", "! bound refuted in 1 s", "? no reading in 3 s"):
        assert words in shown


def test_what_is_not_observed_is_said() -> None:
    host = a_host(slots=0)
    assert frame(host)[1:3] == ["lab.phc  0 s of 1 min", "no sample yet"]
    host.history.add(replace(a_sample(0), reads=None, tracking=None, sources=None, read_errors=None))
    assert frame(host)[2] == "offset not read   bound not observed   no source selected   refused 0 of 0"


def test_two_hosts_share_a_terminal_of_24_rows_and_a_third_is_a_line() -> None:
    lines = frame(*[a_host(f"lab.{number}") for number in range(3)])
    assert sum(line == "system clock minus PHC" for line in lines) == 2
    assert lines[-1] == "lab.2 32 s of 1 min: offset -50 ns +- 2 us, bound 6.32 us, source PHC0, refused"


def test_many_hosts_are_counted() -> None:
    lines = frame(*[a_host(f"lab.{number}") for number in range(30)])
    assert lines[-1] == "27 more: name one to draw it"
    assert len(lines) <= 23


def test_hosts_that_are_not_drawn_are_noted() -> None:
    lines = frame(a_host(), notes=("being configured: lab.no-phc",))
    assert lines[-1] == "being configured: lab.no-phc"
    assert frame(notes=("waiting: lab.phc",)) == ["run k3f9 on lab: under way", "waiting: lab.phc"]


def test_a_terminal_without_room_for_a_chart_gets_the_values() -> None:
    assert frame(a_host(), width=40, height=3) == [
        "run k3f9 on lab: under way",
        "lab.phc 32 s of 1 min: offset -50 ns +-",
    ]


@given(
    st.integers(1, 200),
    st.integers(1, 70),
    st.integers(0, 6),
    st.lists(st.text(max_size=90), max_size=4),
    st.sampled_from([ASCII, UNICODE]),
)
def test_a_frame_fits_any_terminal(width: int, height: int, hosts: int, notes: list[str], glyphs: object) -> None:
    drawn = [HOSTS[number % len(HOSTS)] for number in range(hosts)]
    run = WatchedRun(heading="run k3f9 on lab: under way", hosts=drawn, notes=notes, goes_on=True)
    lines = format_lines(draw_frame(run, width=width, height=height, glyphs=glyphs), colour=False)  # type: ignore[arg-type]
    assert len(lines) <= height
    assert max(map(len, lines)) <= max(width, 2)
    assert all(line.isprintable() for line in lines)


HOSTS = [a_host("lab.phc", 3, HOSTILE), a_host("m7i.metal-24xl", 60), a_host(HOSTILE, 0)]


@pytest.mark.parametrize("host", HOSTS)
def test_no_text_of_a_host_steers_the_terminal(host: WatchedHost) -> None:
    for line in [*frame(host, notes=(HOSTILE,)), describe_latest(host)]:
        assert line.isascii()
        assert line.isprintable()

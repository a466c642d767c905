"""The HTML page: it says what the record says, needs nothing else, and no text of a host becomes a part of it."""

import dataclasses
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model import (
    Claim,
    Depth,
    Evidence,
    Facts,
    Finding,
    HostRecord,
    HostState,
    Outcome,
    Reason,
    Resource,
    Rung,
    RungName,
    RungStatus,
    RunRecord,
    Stage,
    Verdict,
)
from harness.model.plots import PLOTS_DEFINITION, ClockPlots, Envelope, Histogram
from harness.model.quality import (
    ClockQuality,
    Distribution,
    LimitResult,
    OffsetStep,
    Oscillator,
    ProfileResult,
    ProfileStatus,
    StabilityPoint,
)
from harness.report import text
from harness.report.formats import Format, render
from harness.report.html.markup import Markup, element, escape, join, table
from harness.report.html.page import render_page
from harness.report.html.style import STYLE
from harness.untrusted.plain_text import printable
from tests.doubles.parsed_page import HOSTILE, Page, parse_page, spoil


def distribution(scale: float) -> Distribution:
    return Distribution(
        count=3600, mean=scale / 10, std=scale, rms=scale, minimum=-3 * scale, median=scale / 10, maximum=4 * scale,
        median_abs=scale / 2, p90_abs=2 * scale, p99_abs=3 * scale, max_abs=4 * scale,
    )  # fmt: skip


def point(tau_s: float, **changes: Any) -> StabilityPoint:
    usual = StabilityPoint(
        tau_s=tau_s, adev=1e-9 / tau_s, hdev=1e-9, mdev=1e-9, tdev_ns=40.0 / tau_s, tdev_low_ns=30.0 / tau_s,
        tdev_high_ns=60.0 / tau_s, tie_rms_ns=50.0, mtie_ns=300, mtie_low_ns=0, mtie_high_ns=1300, whole_share=1.0,
        adev_terms=10, tdev_terms=10,
    )  # fmt: skip
    return replace(usual, **changes)


def profile(name: str, status: ProfileStatus, mask: tuple[tuple[float, float], ...] = ()) -> ProfileResult:
    limits = tuple(
        LimitResult(kind=kind, status=status, sentence=f"it is {status}", mask=mask) for kind in ("mtie", "tdev")
    )
    return ProfileResult(
        name=name,
        title=name.upper(),
        edition="1",
        reference="utc",
        status=status,
        limits=limits if mask else limits[:1],
    )


QUALITY = ClockQuality(
    definition=1, interval_s=1.0, slots=3600, seen=3598, gaps=1, longest_gap_s=2.0, settling_s=20.0,
    offset_ns=distribution(100.0), read_delay_ns=distribution(1400.0), bound_ns=distribution(5000.0),
    error_bound_ns=None, frequency_ppb=distribution(12_000.0), convergence_s=4.5,
    steps=(OffsetStep(after_s=90.0, size_ns=-2500),), step_count=7, outliers=3,
    oscillator=Oscillator(frequency_ppb=12_300.0, uncertainty_ppb=0.4, residual_ns=8.0),
    stability=(point(1.0), point(64.0)),
    profiles=(
        profile("g8272-prtc-a", ProfileStatus.EXCEEDED, mask=((1.0, 25.3), (64.0, 42.6))),
        profile("mifid-ii-hft", ProfileStatus.NOT_DEMONSTRABLE),
        profile("mifid-ii-other", ProfileStatus.NOT_DEMONSTRABLE),
        profile("mine", ProfileStatus.MET, mask=((1.0, 900.0), (64.0, 900.0))),
    ),
    sampler_cpu_share=0.0031,
)  # fmt: skip

PLOTS = ClockPlots(
    definition=PLOTS_DEFINITION,
    begin_utc_ns=1_795_953_600 * 10**9,
    column_s=12.0,
    offset_ns=Envelope(least=(-120, None, -90), greatest=(130, None, 2000)),
    bound_ns=Envelope(least=(5000, 5100, None), greatest=(5200, 5100, None)),
    bound_has_device=False,
    read_delay_ns=Envelope(least=(1300, None, 1200), greatest=(1500, None, 1200)),
    offsets=Histogram(low=-120, width=53.0, counts=(1, 20, 0, 3)),
    stability=(point(1.0), point(10.0), point(100.0, mtie_high_ns=None, whole_share=0.98, tdev_ns=None)),
)


def host(name: str, outcome: Outcome = Outcome.PASS, **changes: Any) -> HostRecord:
    verdict = Verdict(
        outcome=outcome,
        reason=Reason.SYNCHRONISED,
        sentence=f"what was seen of {name}",
        rungs=(
            Rung(name=RungName.OFFERED, status=RungStatus.PROVEN, evidence="it runs"),
            Rung(name=RungName.WITHIN_LIMITS, status=RungStatus.NOT_OBSERVED, evidence="too far to see"),
        ),
        findings=(
            Finding(
                quantity="phc_offset_ns", statistic="p99_abs", observed=1500.0, comparison="<=", limit=1000.0,
                unit="ns", source="default for EC2", samples=60, held=False, note="by the fastest reading",
                uncertainty=120.0,
            ),
            Finding(
                quantity="error_bound_ns", statistic="max", observed=None, comparison="<=", limit=1000.0, unit="ns",
                source="default for EC2", samples=0, held=None,
            ),
        ),
        contradictions=("the API says otherwise",),
        unobserved=("the weather",),
        remarks=("ptp4l: not applicable",),
        remedy="try another",
    )  # fmt: skip
    usual = HostRecord(
        name=name,
        instance_type="m7i.large",
        verdict=verdict,
        facts=None,
        stages={Stage.PROVISION: 1.25, Stage.MEASURE: 60.0},
        state=HostState.RELEASED,
        address="127.0.1.1",
        quality=QUALITY,
    )
    return replace(usual, **changes)


def run(*hosts: HostRecord, **changes: Any) -> RunRecord:
    usual = RunRecord(
        run="k3f9",
        bench="ec2",
        started="2026-11-21T04:00:00+00:00",
        seconds=178.4,
        interrupted=False,
        hosts=hosts,
        leftovers=(),
        version="1.2.3",
        depth=Depth.STANDARD,
        measure_duration_s=3600.0,
        measure_interval_s=1.0,
    )
    return replace(usual, **changes)


def test_a_host_with_plots_has_all_five_of_them() -> None:
    page = parse_page(render_page(run(host("a")), {"a": PLOTS}))
    names = [data for tag, data in page.texts if tag == "title"][1:]
    plots = ("Offset over time", "Distribution of the offset", "MTIE", "TDEV", "Read delay over time")
    assert names == [f"a: {name}" for name in plots]
    for told in (
        "Clocks of run k3f9 on ec2", "2026-11-21T04:00:00+00:00", "ptp-harness 1.2.3", "measured for 1 h, every 1 s",
        "1 passed", "0 without a clock", "0 inconclusive", "0 failed", "what was seen of a", "Next: try another",
        "the API says otherwise", "the weather", "ptp4l: not applicable",
        "Host: released; provision 1.2 s, measure 60.0 s",
        "1.5 us +- 120 ns", "BROKEN", "not judged", "default for EC2; by the fastest reading",
        "3598 of 3600 intervals of 1 s (99.94 %)", "1, the longest 2 s", "the first 20 s",
        "median 50 ns, 99 % within 300 ns, largest 400 ns", "7: -2.5 us after 1 min 30 s, and 6 more",
        "12.3 ppm +- 0.4 ppb, residual 8 ns", "The bound was at most 5.2 us.", "Some windows have gaps",
        "the measurement itself0.31 % of a core",
        "the floor of the readings begins at 40.4 ns", "Plots over time include the first 20 s of settling",
    ):  # fmt: skip
        assert told in page.text


def test_what_was_not_observed_is_said_and_no_zero() -> None:
    bare = replace(
        QUALITY, bound_ns=None, frequency_ppb=None, convergence_s=None, oscillator=None, steps=(), step_count=0,
        outliers=0, gaps=0, settling_s=0.0, sampler_cpu_share=None,
    )  # fmt: skip
    page = parse_page(render_page(run(host("a", quality=bare)), {"a": replace(PLOTS, bound_ns=None)})).text
    for figure in (
        "chrony's bound",
        "bound with the device's",
        "frequency correction",
        "convergence",
        "free oscillator",
        "the measurement itself",
    ):
        assert f"{figure}not observed" in page
    assert "No bound was observed." in page
    assert "offset within the bound" not in page
    assert "The plots include" not in page


def test_a_host_without_plots_has_its_figures_and_curves_and_says_why() -> None:
    page = parse_page(render_page(run(host("a")), {}))
    assert [data for tag, data in page.texts if tag == "title"][1:] == ["a: MTIE", "a: TDEV"]
    assert "were not on the machine that wrote this report" in page.text


def test_a_host_whose_clock_was_not_measured_says_so() -> None:
    page = parse_page(render_page(run(host("a", quality=None)), {}))
    assert page.count("svg") == 0
    assert "How good this clock is was not measured" in page.text
    assert "not observednot observed" in page.text


def test_plots_without_figures_are_drawn_without_a_floor() -> None:
    page = parse_page(render_page(run(host("a", quality=None)), {"a": PLOTS}))
    assert page.count("svg") == 5
    assert "Floor of the readings" not in page.text


def types_table(page: Page) -> list[list[str]]:
    """The rows of the table of types, each as the texts of its cells."""
    whole = page.source.partition('<table class="types">')[2].partition("</table>")[0]
    rows = whole.partition("<tbody>")[2].split("<tr>")[1:]
    cells = [re.split(r"<t[hd][^>]*>", row)[1:] for row in rows]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in cells]


def test_types_are_compared_by_their_worst_hosts_where_two_hosts_are_measured() -> None:
    """A good host of a type does not hide a bad one."""
    quick, bad, slow = (
        replace(QUALITY, offset_ns=distribution(scale), error_bound_ns=distribution(bound))
        for scale, bound in ((10.0, 900.0), (900.0, 9000.0), (300.0, 3000.0))
    )
    hosts = (
        host("mixed", quality=quick, instance_type="mixed"),
        host("mixed-2", Outcome.FAIL, quality=bad, instance_type="mixed"),
        host("none", Outcome.UNSUPPORTED, quality=None, instance_type="none"),
        host("even", quality=slow, instance_type="even"),
        host("mixed-3", Outcome.INCONCLUSIVE, quality=None, instance_type="mixed"),
    )
    page = parse_page(render_page(run(*hosts), {}))
    assert (
        "99 % of the offsets are within 900 ns on even, and within 2.7 us on the worst of 2 hosts of mixed. From the "
        "best to the worst host of mixed it is a factor of 90."
    ) in page.text
    unknown = ["not observed"] * 3
    assert types_table(page) == [
        ["even", "PASS", "even", "900 ns", "1.2 us", "9 us with device", *unknown],
        [
            "mixed", "1 FAIL 1 INCONCLUSIVE 1 PASS",
            "mixed-2 FAIL, 2.7 us mixed PASS, 30 ns mixed-3 INCONCLUSIVE, not observed",
            "2.7 us best host 30 ns factor 90", "3.6 us", "27 us with device", *unknown,
        ],
        ["none", "UNSUPPORTED", "none", *["not observed"] * 3, *unknown],
    ]  # fmt: skip
    labels = [data for tag, data in page.texts if tag == "text"]
    drawn = [name for name in labels if name.partition(",")[0] in ("even", "mixed", "mixed-2", "mixed-3", "none")]
    assert drawn == ["even", "mixed, 2 hosts", "mixed-2", "mixed"]


def test_one_measured_host_is_not_compared() -> None:
    assert "Types compared" not in parse_page(render_page(run(host("a"), host("b", quality=None)), {})).text


def test_kernel_and_driver_stand_beside_each_type(good: Evidence) -> None:
    facts = good.facts
    assert facts is not None
    newer = replace(facts, kernel="7.2.4", drivers=None)
    hosts = host("a", facts=facts), host("b", facts=newer), host("c", facts=newer), host("d", facts=None)
    ((_, _, _, offset, _, bound, kernel, driver, chrony),) = types_table(parse_page(render_page(run(*hosts), {})))
    assert kernel == f"{facts.kernel}, 7.2.4, not observed"
    assert driver == "ena 2.17.0g, not observed"
    assert chrony == f"{facts.chrony_version}, not observed"
    assert (offset, bound) == ("300 ns best host 300 ns factor 1", "15 us chrony")


def test_hosts_of_one_type_have_places_and_labels_of_their_own() -> None:
    names = [f"u7in-16tb.224xlarge-metal-{number}" for number in range(1, 13)]
    page = parse_page(render_page(run(*map(host, names)), {}))
    labels = [data for tag, data in page.texts if tag == "text" and "\N{HORIZONTAL ELLIPSIS}" in data]
    assert len(set(labels)) == 12
    assert [link["href"] for link in page.all("a")][:12] == [f"#host-{number}" for number in range(1, 13)]


def test_two_hundred_hosts_and_none() -> None:
    many = parse_page(render_page(run(*(host(f"m7i.{number}") for number in range(200))), {}))
    assert many.count("section") == 203
    none = parse_page(render_page(run(), {}))
    assert "No host was judged." in none.text
    assert none.count("table") == 0


def test_what_a_reader_must_know_first_is_told_first() -> None:
    left = Resource(token="k3f9/a/1", kind="qemu", name="4711", detail="")
    record = run(
        host("a"), interrupted=True, leftovers=(left,), failures=("writing x",), evidence_unsent="the store was away"
    )
    page = parse_page(render_page(record, {})).text
    first = "STILL RUNNING: qemu 4711 of k3f9/a/1", "was interrupted", "our fault: writing x", "the store was away"
    order = [page.index(told) for told in (*first, "Summary")]
    assert order == sorted(order)


def test_only_the_page_has_plots() -> None:
    record = run(host("a"))
    assert "<svg" in render(record, Format.HTML, {"a": PLOTS})
    for form in set(Format) - {Format.HTML}:
        assert render(record, form, {"a": PLOTS}) == render(record, form)


# --- no text becomes a part of the page


def test_no_text_becomes_a_part_of_the_page(good: Evidence) -> None:
    claim = Claim(phc_supported=True, source="API", date="2026-11-21")
    without_masks = replace(QUALITY, profiles=QUALITY.profiles[1:3])  # which are found by their kind and name
    one = host("a", facts=good.facts, claim=claim, zone="z", region="r", image="i", quality=without_masks)
    left = Resource(token="k3f9/a/1", kind="qemu", name="4711", detail="")
    record = run(one, host("b", quality=without_masks), leftovers=(left,), failures=("f",), evidence_unsent="e")
    clean, page = (parse_page(render_page(made, {made.hosts[0].name: PLOTS})) for made in (record, spoil(record)))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in clean.elements]
    assert page.text.count("<script src=//x>") > 40
    shown = " ".join(printable(HOSTILE).split())
    for told in ("what was seen of a", "it runs", "try another", "the weather", "default for EC2", "API"):
        assert f"{told}{shown}" in page.text


@given(st.text())
def test_any_text_is_shown_as_it_is(words: str) -> None:
    page = parse_page(render_page(run(host("a", instance_type=words)), {}))
    assert " ".join(printable(words).split()) in page.text


@given(st.text(), st.text())
def test_only_markup_is_not_escaped(words: str, more: str) -> None:
    shown = Page(element("p", words, element("b", more), title=words))
    assert shown.errors == []
    assert [tag for tag, _ in shown.elements] == ["p", "b"]
    assert shown.elements[0][1]["title"] == printable(words)
    assert escape(Markup("<b>")) == "<b>"
    assert escape(Markup("<b>") + "<i>") == "&lt;b&gt;&lt;i&gt;"
    assert join(["<b>", Markup("<i>")]) == "&lt;b&gt;<i>"


def test_a_table_has_headers_and_a_box_that_scrolls_by_keys() -> None:
    page = Page(table("a & b", ("x", "y"), [("<1>", "2")], numeric=(1,), class_="wide"))
    assert page.errors == []
    assert page.elements[0] == ("div", {"class": "scroll", "role": "group", "tabindex": "0", "aria-label": "a & b"})
    assert page.all("th") == [{"scope": "col"}, {"scope": "col", "class": "n"}, {"scope": "row"}]
    assert [data.strip() for tag, data in page.texts if tag in ("th", "td")] == ["x", "y", "<1>", "2"]


@pytest.mark.parametrize("word", ["<script", "href=http", " src=", "@import"])
def test_the_rules_of_a_page_fail_where_they_must(word: str) -> None:
    good = render_page(run(host("a")), {"a": PLOTS})
    wrong = {
        "<script": "<script></script></main>",
        "href=http": '<a href="http://x.example">x</a></main>',
        " src=": '<p src="x"></p></main>',
        "@import": "<style>@import x</style></main>",
    }
    with pytest.raises(AssertionError):
        parse_page(good.replace("</main>", wrong[word]))


def test_the_page_is_complete_about_a_host() -> None:
    one = host("a", Outcome.FAIL)
    verdict, page = one.verdict, parse_page(render_page(run(one), {})).text
    told = [one.name, one.instance_type, one.state, verdict.outcome, verdict.reason, verdict.sentence, verdict.remedy]
    told += [words for rung in verdict.rungs for words in (rung.name, rung.evidence)]
    told += [words for finding in verdict.findings for words in (finding.quantity, finding.statistic, finding.source)]
    told += [*verdict.contradictions, *verdict.unobserved, *verdict.remarks, *map(str, one.stages)]
    assert [words for words in told if str(words) not in page] == []
    assert text.host_title("a", "m7i.large") in page


def test_facts_of_a_host_are_told_and_missing_ones_too(good: Evidence) -> None:
    facts = good.facts
    assert isinstance(facts, Facts)
    page = parse_page(render_page(run(host("a", facts=facts)), {})).text
    assert f"kernel{facts.kernel}" in page.replace(" ", "") or str(facts.kernel) in page
    unknown = replace(facts, kernel=None, drivers=None, clocks=None, chrony_version=None)
    page = parse_page(render_page(run(host("a", facts=unknown)), {})).text
    assert "kernelnot observed drivernot observed clocksnot observed chronynot observed" in page
    assert "clocksnone" in parse_page(render_page(run(host("a", facts=replace(facts, clocks=()))), {})).text


def test_a_report_is_written_without_numpy() -> None:
    program = "import sys, harness.cli.report, harness.report.formats; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- odd numbers

odd_float = st.floats() | st.sampled_from([0.0, -0.0, 1e300, 5e-324, 1e18])
odd_int = st.integers(-3, 3) | st.integers() | st.sampled_from([0, 2**63, -(10**400), 10**400])


def odd_numbers(kind: type) -> st.SearchStrategy[Any]:
    """Draw data of a class with any numbers in it."""
    strategies = {
        "float": odd_float, "int": odd_int, "float | None": st.none() | odd_float, "int | None": st.none() | odd_int,
    }  # fmt: skip
    drawn: dict[str, st.SearchStrategy[Any]] = {}
    for field in dataclasses.fields(kind):
        name = getattr(field.type, "__name__", str(field.type)) if isinstance(field.type, type) else str(field.type)
        if name in strategies:
            drawn[field.name] = strategies[name]
    return st.builds(kind, **drawn, **{name: made for name, made in COMPOUND.items() if name in kind.__annotations__})


columns = st.lists(st.none() | odd_int, max_size=6).map(tuple)
COMPOUND: dict[str, st.SearchStrategy[Any]] = {}
points = st.lists(odd_numbers(StabilityPoint), max_size=4).map(tuple)
envelopes = st.builds(Envelope, least=columns, greatest=columns)
distributions = odd_numbers(Distribution)
COMPOUND |= {
    "offset_ns": distributions, "read_delay_ns": distributions, "bound_ns": st.none() | distributions,
    "error_bound_ns": st.none() | distributions, "frequency_ppb": st.none() | distributions,
    "steps": st.lists(odd_numbers(OffsetStep), max_size=3).map(tuple),
    "oscillator": st.none() | odd_numbers(Oscillator),
    "stability": points,
    "profiles": st.lists(
        st.builds(
            ProfileResult,
            name=st.sampled_from(["g8272-prtc-a", "<mine>"]),
            title=st.text(max_size=5),
            edition=st.text(max_size=5),
            reference=st.just("utc"),
            status=st.just(ProfileStatus.EXCEEDED),
            limits=st.builds(
                LimitResult,
                kind=st.sampled_from(["mtie", "tdev", "bound"]),
                status=st.just(ProfileStatus.EXCEEDED),
                sentence=st.text(max_size=10),
                mask=st.lists(st.tuples(odd_float, odd_float), max_size=3).map(tuple),
            ).map(lambda limit: (limit,)),
        ),
        max_size=2,
    ).map(tuple),
}  # fmt: skip
qualities = odd_numbers(ClockQuality)
all_plots = st.builds(
    ClockPlots,
    definition=st.just(1),
    begin_utc_ns=odd_int,
    column_s=odd_float,
    offset_ns=envelopes,
    bound_ns=st.none() | envelopes,
    bound_has_device=st.booleans(),
    read_delay_ns=envelopes,
    offsets=st.builds(Histogram, low=odd_int, width=odd_float, counts=st.lists(odd_int, max_size=4).map(tuple)),
    stability=points,
)


@settings(deadline=None)
@given(st.none() | qualities, st.none() | all_plots, qualities, odd_float, odd_float)
def test_whatever_the_numbers_are_the_page_is_whole(
    quality: ClockQuality | None, plots: ClockPlots | None, other: ClockQuality, observed: float, uncertainty: float
) -> None:
    one = host("a", quality=quality)
    finding = replace(one.verdict.findings[0], observed=observed, uncertainty=uncertainty, limit=observed)
    one = replace(one, verdict=replace(one.verdict, findings=(finding,)))
    parse_page(render_page(run(one, host("b", quality=other)), {} if plots is None else {"a": plots}))


# --- profiles ---------------------------------------------------------------------------------------------------------


def test_profiles_stand_with_their_answers_those_of_one_reason_together() -> None:
    page = render_page(run(host("lab.phc", quality=QUALITY)), {"lab.phc": PLOTS})
    assert "Of 4 profiles of standards, regulations and vendors: 1 met, 1 exceeded, 0 not refuted, 2 not shown." in page
    assert "<td>mifid-ii-hft, mifid-ii-other<td>it is not_demonstrable" in page
    assert "Answers about profiles of standards" in page


def test_masks_are_drawn_with_a_legend_and_told_in_the_finding() -> None:
    page = render_page(run(host("lab.phc", quality=QUALITY)), {"lab.phc": PLOTS})
    assert page.count("mask of PRTC-A") == page.count("mask of mine") == 2
    assert page.count("Masks: PRTC-A exceeded, mine met.") == 4


def test_a_host_without_profiles_has_no_such_section() -> None:
    page = render_page(run(host("lab.phc", quality=replace(QUALITY, profiles=()))), {})
    assert "Held against standards" not in page


# --- colours ----------------------------------------------------------------------------------------------------------

TEXTS = ("ink", "soft", "pass", "fail", "warn", "none", "link")
LINES = ("blue", "orange", "violet", "teal")


def palettes() -> dict[str, dict[str, str]]:
    """The colours of the style by the place where they hold; a colour that a place does not change is the light one."""
    light = STYLE.partition("@media(prefers-color-scheme:dark)")[0]
    dark = STYLE.partition("@media(prefers-color-scheme:dark)")[2].partition("*{")[0]
    paper = STYLE.partition("@media print")[2].partition("@page")[0]
    found = [dict(re.findall(r"--(\w+):(#[0-9a-f]+)", part)) for part in (light, dark, paper)]
    return {name: found[0] | colours for name, colours in zip(("light", "dark", "paper"), found, strict=True)}


def luminance(colour: str) -> float:
    """The relative luminance of a colour, as WCAG 2.2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_of_known_colours_is_what_wcag_says() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("place", ["light", "dark", "paper"])
def test_texts_and_lines_stand_out_from_the_page(place: str) -> None:
    """WCAG 2.2 level AA: 4.5 for texts (1.4.3), 3 for lines and marks of plots (1.4.11)."""
    colours = palettes()[place]
    low = {name: contrast(colours[name], colours["page"]) for name in TEXTS + LINES}
    assert {name: ratio for name, ratio in low.items() if ratio < (4.5 if name in TEXTS else 3)} == {}

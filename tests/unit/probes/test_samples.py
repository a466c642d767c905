"""The sampler's JSON lines to samples: whole values, gaps, and an end that is missing."""

import json
from collections.abc import Callable

import pytest

from harness.ladder import quantities
from harness.model import Evidence, PhcCounters, PhcRead, Sample, Unparsed
from harness.probes import chronyc, samples

Said = Callable[[str], str]

START = json.dumps({"kind": "start", "schema": 1, "device": "/dev/ptp_ena", "interval_s": 1.0, "duration_s": 2.0})
STATS = "phc_cnt: 20\nphc_exp: 1\nphc_skp: 0\nphc_err_dv: 0\nphc_err_ts: 2\nphc_err_eb: 0"


def end(count: int) -> str:
    return json.dumps({"kind": "end", "samples": count, "reason": "done"})


@pytest.fixture(scope="module")
def line(said: Said) -> Callable[..., str]:
    def made(seq: int, **changes: object) -> str:
        sample: dict[str, object] = {
            "kind": "sample",
            "seq": seq,
            "mono_ns": 10**9 * seq,
            "utc_ns": 1795233824 * 10**9 + 10**9 * seq,
            "chronyc": {"rc": 0, "out": said("chronyc/reference-ahead/all.csv")},
            "phc": {"device": "ptp0", "reads": [[100, 205, 110]], "errors": {"EBUSY": 1}},
            "error_bound": {"rc": 0, "out": "20000"},
            "stats": {"rc": 0, "out": STATS},
        }
        return json.dumps({**sample, **changes})

    return made


@pytest.fixture(scope="module")
def sample(said: Said) -> Sample:
    chrony = chronyc.parse(said("chronyc/reference-ahead/all.csv"), "")
    return Sample(
        slot=0,
        mono_ns=0,
        utc_ns=1795233824 * 10**9,
        tracking=chrony.tracking,
        sources=chrony.sources,
        reads=(PhcRead(before_ns=100, phc_ns=205, after_ns=110),),
        read_errors=1,
        error_bound_ns=20_000,
        counters=PhcCounters(cnt=20, exp=1, skp=0, err_dv=0, err_ts=2, err_eb=0),
    )


Line = Callable[..., str]


def test_a_whole_file(line: Line, sample: Sample) -> None:
    found, unparsed, slots = samples.read_samples(
        "\n".join([START, line(0), line(1), end(2), ""]), where="samples.jsonl"
    )
    assert (found[0], [one.slot for one in found], unparsed, slots) == (sample, [0, 1], (), 2)


@pytest.mark.parametrize(
    ("changes", "part", "value"),
    [
        ({"chronyc": {"rc": 1, "out": "506 Cannot talk to daemon\n"}}, ("tracking", "sources"), None),
        ({"chronyc": {"rc": None, "out": "", "err": "did not end within 5 s"}}, ("tracking", "sources"), None),
        ({"phc": None}, ("reads", "read_errors"), None),
        ({"phc": {"rc": 19, "err": "No such device"}}, ("reads",), ()),
        ({"phc": {"rc": 19, "err": "No such device"}}, ("read_errors",), 1),
        ({"error_bound": None}, ("error_bound_ns",), None),
        ({"error_bound": {"rc": 16, "out": "", "err": "busy"}}, ("error_bound_ns",), None),
        ({"stats": None}, ("counters",), None),
    ],
)
def test_a_part_that_was_not_seen_is_none_in_its_sample(
    line: Line, changes: dict[str, object], part: tuple[str, ...], value: object
) -> None:
    found, unparsed, _ = samples.read_samples(line(0, **changes), where="s")
    assert ([getattr(found[0], name) for name in part], unparsed) == ([value] * len(part), ())


def test_a_part_that_was_not_understood_is_none_and_noted(line: Line) -> None:
    text = "\n".join([line(0), line(1, chronyc={"rc": 0, "out": "what\n"}, error_bound={"rc": 0, "out": "much"})])
    found, unparsed, _ = samples.read_samples(text, where="samples.jsonl")
    assert (found[1].tracking, found[1].sources, found[1].error_bound_ns) == (None, None, None)
    assert unparsed == (
        Unparsed(
            where="samples.jsonl:2:chronyc",
            line_number=1,
            line="what",
            expected="a line of chronyc -c tracking, sources, sourcestats or ntpdata",
        ),
        Unparsed(
            where="samples.jsonl:2:error_bound",
            line_number=1,
            line="much",
            expected="an error bound in nanoseconds",
        ),
    )


def test_a_line_that_was_not_understood_leaves_a_gap(line: Line) -> None:
    text = "\n".join([START, line(0), line(1)[:40], line(2), end(3)])
    found, unparsed, slots = samples.read_samples(text, where="samples.jsonl")
    assert ([one.slot for one in found], slots) == ([0, 2], 3)
    assert [(one.where, one.line_number, one.expected) for one in unparsed] == [
        ("samples.jsonl", 3, "a JSON line of sample.py")
    ]


def test_slots_without_a_sample_are_counted_in_the_middle_and_at_the_end(line: Line) -> None:
    def slot(number: int, kind: str = "sample") -> str:
        record = json.loads(line(0))
        del record["seq"]
        return json.dumps(record | {"kind": kind, "slot": number})

    closing = '{"kind": "end", "samples": 2, "slots": 8, "reason": "done"}'
    lines = [slot(0), slot(4), slot(5, "late"), closing]
    found, unparsed, slots = samples.read_samples("\n".join(lines), where="s", most=8)
    assert ([sample.slot for sample in found], unparsed, slots) == ([0, 4], (), 8)
    evidence = Evidence(samples=found, slots=slots)
    assert (quantities.count_slots(evidence), quantities.count_lost(evidence)) == (8, 6)


@pytest.mark.parametrize("slots", [6, 8])
def test_a_closing_line_may_have_every_slot_that_passed_and_every_slot_that_was_asked_for(
    line: Line, slots: int
) -> None:
    closing = json.dumps({"kind": "end", "samples": 1, "slots": slots, "reason": "done"})
    _, unparsed, counted = samples.read_samples("\n".join([line(5), closing]), where="s", most=8)
    assert (unparsed, counted) == ((), slots)


@pytest.mark.parametrize("slots", [5, 9, -1, "6", True])
def test_a_closing_line_with_too_few_or_too_many_slots_is_refused(line: Line, slots: object) -> None:
    closing = json.dumps({"kind": "end", "samples": 1, "slots": slots, "reason": "done"})
    _, unparsed, counted = samples.read_samples("\n".join([line(5), closing]), where="s", most=8)
    assert (len(unparsed), counted) == (1, None)


@pytest.mark.parametrize("closing", [(), (end(3),), ('{"kind": "end"}',)])
def test_without_a_fitting_end_it_is_not_complete(line: Line, closing: tuple[str, ...]) -> None:
    assert samples.read_samples("\n".join([START, line(0), line(1), *closing]), where="s")[2] is None


@pytest.mark.parametrize(
    "broken",
    ["[]", '{"kind": "dream"}', '{"kind": "sample"}', '{"kind": "sample", "seq": -1, "mono_ns": 1, "utc_ns": 1}',
     '{"kind": "sample", "seq": 0, "mono_ns": 1, "utc_ns": 1, "phc": {"reads": [[1, 2]]}}',
     '{"kind": "sample", "seq": 0, "mono_ns": 1, "utc_ns": 1, "phc": {"reads": [[3, 2, 1]]}}',
     '{"kind": "sample", "seq": 0, "mono_ns": 1, "utc_ns": 1, "phc": {"rc": 0}}',
     '{"kind": "sample", "seq": 0, "mono_ns": 1, "utc_ns": 1, "chronyc": 7}'],
)  # fmt: skip
def test_lines_of_another_shape_are_refused(broken: str) -> None:
    found, unparsed, slots = samples.read_samples(broken, where="s")
    assert (found, [one.line for one in unparsed], slots) == ((), [broken], None)


def test_numbers_must_grow(line: Line) -> None:
    found, unparsed, _ = samples.read_samples("\n".join([line(1), line(1)]), where="s")
    assert (len(found), len(unparsed)) == (1, 1)


def test_in_short(line: Line) -> None:
    def told(text: str) -> str:
        return samples.describe_sample(samples.read_samples(text, where="s")[0][0])

    assert told(line(0)) == "PHC0 selected, offset +0 ns, 1 readings refused"
    assert told(line(0, chronyc=None, phc=None)) == "nothing selected"


# --- what a hostile host writes ---------------------------------------------------------------------------------------


def test_no_sample_has_a_number_beyond_those_that_were_asked_for(line: Line) -> None:
    found, unparsed, slots = samples.read_samples("\n".join([line(0), line(59), line(60), end(61)]), where="s", most=60)
    assert ([one.slot for one in found], len(unparsed), slots) == ([0, 59], 1, None)


@pytest.mark.parametrize("length", [samples.LONGEST_SAMPLE + 1, 1 << 20])
def test_a_line_that_is_longer_than_a_sample_is_not_even_read(line: Line, length: int) -> None:
    found, unparsed, _ = samples.read_samples(line(0)[:-1] + " " * length + "}", where="s")
    assert found == ()
    assert len(unparsed[0].line) < 600


def test_of_many_lines_that_nobody_understands_the_first_are_kept_and_the_rest_is_counted() -> None:
    _, unparsed, _ = samples.read_samples("x\n" * 250, where="s")
    assert len(unparsed) == 100
    assert [one.more for one in unparsed if one.more] == [150]
    assert unparsed[-1].more == 150


def test_more_readings_or_sources_than_are_asked_for_are_no_sample(line: Line, said: Said) -> None:
    reads = {"device": "ptp0", "reads": [[1, 2, 3]] * 101, "errors": {}}
    source = said("chronyc/reference-ahead/sources.csv").splitlines()[0]
    many = {"rc": 0, "out": said("chronyc/reference-ahead/tracking.csv") + f"{source}\n" * 65}
    found, unparsed, _ = samples.read_samples("\n".join([line(0, phc=reads), line(1, chronyc=many)]), where="s")
    assert (found, len(unparsed)) == ((), 2)


def test_as_many_readings_and_sources_as_can_be_kept_are_a_sample(line: Line, said: Said) -> None:
    reads = {"device": "ptp0", "reads": [[1, 2, 3]] * 100, "errors": {}}
    source = said("chronyc/reference-ahead/sources.csv").splitlines()[0]
    most = {"rc": 0, "out": said("chronyc/reference-ahead/tracking.csv") + f"{source}\n" * 64}
    (sample,), unparsed, _ = samples.read_samples(line(0, phc=reads, chronyc=most), where="s")
    assert (len(sample.reads or ()), len(sample.sources or ()), unparsed) == (100, 64, ())


def test_lone_surrogates_in_a_sample_go_no_further(line: Line) -> None:
    text = line(0).replace("PHC0", "PH\\ud800")
    (one,), _, _ = samples.read_samples(text, where="s")
    assert one.sources is not None
    "".join(source.name for source in one.sources).encode()


@pytest.mark.parametrize("interval_s", [0, -1.0, 1e-10, 1e12, float("nan")])
def test_a_boot_whose_slots_have_no_length_is_refused(interval_s: float) -> None:
    """Slots of no length would divide by zero where the marks of disturbances are put into them."""
    start = {
        "kind": "start",
        "schema": 3,
        "boot_id": "a",
        "slot": 0,
        "mono_ns": 1,
        "raw_ns": 1,
        "interval_s": interval_s,
    }
    reader = samples.SampleReader("s")
    reader.read_line(json.dumps(start))
    assert (reader.boots, len(reader.unparsed)) == ((), 1)

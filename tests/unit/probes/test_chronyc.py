"""chronyc's CSV, in real output of chrony 4.3: every field, and every sign."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.errors import ParseError
from harness.model import ChronySource, Tracking
from harness.probes import chronyc

Said = Callable[[str], str]

SILENT = ChronySource(
    mode="^",
    state="?",
    name="127.0.0.77",
    stratum=0,
    poll=0,
    reach=0,
    last_rx_s=None,
    offset_ns=0,
    measured_offset_ns=0,
    error_ns=0,
)


def test_everything_at_once(said: Said) -> None:
    assert chronyc.parse(said("chronyc/reference-ahead/all.csv"), "all.csv") == chronyc.Chronyc(
        tracking=Tracking(
            reference="PHC0",
            stratum=1,
            reference_time_s=1795233824.489823009,
            system_offset_ns=-1_500_000,
            last_offset_ns=0,
            rms_offset_ns=0,
            frequency_ppm=0.0,
            residual_frequency_ppm=0.0,
            skew_ppm=0.0,
            root_delay_ns=10_000,
            root_dispersion_ns=1_827,
            update_interval_s=1.0,
            leap="Normal",
        ),
        sources=(
            ChronySource(
                mode="#",
                state="*",
                name="PHC0",
                stratum=0,
                poll=0,
                reach=0o377,
                last_rx_s=1,
                offset_ns=0,
                measured_offset_ns=0,
                error_ns=5_020,
            ),
            ChronySource(
                mode="^",
                state="?",
                name="127.0.0.9",
                stratum=1,
                poll=0,
                reach=0o377,
                last_rx_s=1,
                offset_ns=1_501_544,
                measured_offset_ns=1_501_544,
                error_ns=2_784,
            ),
            SILENT,
        ),
        statistics=(
            chronyc.SourceStatistics(
                name="PHC0",
                points=8,
                runs=3,
                span_s=7,
                frequency_ppm=0.0,
                skew_ppm=0.0,
                offset_ns=0,
                deviation_ns=1,
            ),
            chronyc.SourceStatistics(
                name="127.0.0.9",
                points=20,
                runs=11,
                span_s=9,
                frequency_ppm=-0.019,
                skew_ppm=0.056,
                offset_ns=1_501_496,
                deviation_ns=175,
            ),
            chronyc.SourceStatistics(
                name="127.0.0.77",
                points=0,
                runs=0,
                span_s=0,
                frequency_ppm=0.0,
                skew_ppm=2000.0,
                offset_ns=0,
                deviation_ns=4_000_000_000,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("state", "words", "system_offset_ns"),
    [
        ("reference-ahead", "0.001500000 seconds slow of NTP time", -1_500_000),
        ("reference-behind", "0.001500000 seconds fast of NTP time", 1_500_000),
    ],
)
def test_system_time_is_positive_when_fast(said: Said, state: str, words: str, system_offset_ns: int) -> None:
    assert words in said(f"chronyc/{state}/tracking.txt")
    tracking = chronyc.parse(said(f"chronyc/{state}/tracking.csv"), state).tracking
    assert tracking is not None
    assert tracking.system_offset_ns == system_offset_ns


def test_sources_and_ntpdata_agree_on_the_sign(said: Said) -> None:
    """chronyd's clock is 1.5 ms ahead of this server: sources says +1502us, ntpdata says Offset -0.001501544."""
    (_phc, server, _silent) = chronyc.parse(said("chronyc/reference-ahead/sources.csv"), "s").sources
    (data, silent) = chronyc.parse(said("chronyc/reference-ahead/ntpdata.csv"), "n").ntpdata
    assert (server.offset_ns, data) == (
        1_501_544,
        chronyc.NtpData(
            address="127.0.0.9",
            port=11123,
            stratum=1,
            root_delay_ns=0,
            root_dispersion_ns=0,
            offset_ns=1_501_544,
            delay_ns=5_498,
            received=20,
            received_good=20,
        ),
    )
    assert (silent.address, silent.received, silent.received_good) == ("127.0.0.77", 0, 0)


def test_before_anything_is_known(said: Said) -> None:
    found = chronyc.parse(said("chronyc/before/all.csv"), "all.csv")
    assert found.tracking == Tracking(
        reference="00000000",
        stratum=0,
        reference_time_s=0.0,
        system_offset_ns=0,
        last_offset_ns=0,
        rms_offset_ns=0,
        frequency_ppm=0.0,
        residual_frequency_ppm=0.0,
        skew_ppm=0.0,
        root_delay_ns=1_000_000_000,
        root_dispersion_ns=1_000_000_000,
        update_interval_s=0.0,
        leap="Not synchronised",
    )
    assert [(source.name, source.state, source.reach, source.last_rx_s, source.poll) for source in found.sources] == [
        ("PHC0", "?", 0, None, 0),
        ("127.0.0.9", "?", 0o17, 0, -1),
        ("127.0.0.77", "?", 0, None, 0),
    ]


def test_a_silent_refclock_keeps_its_leap_status_but_not_its_state(said: Said) -> None:
    found = chronyc.parse(said("chronyc/refclock-silent/all.csv"), "all.csv")
    assert found.tracking is not None
    assert found.tracking.leap == "Normal"
    assert (found.sources[0].state, found.sources[0].reach, found.sources[0].last_rx_s) == ("?", 0, 26)


@pytest.mark.parametrize("state", ["before", "reference-ahead", "reference-behind", "refclock-silent"])
@pytest.mark.parametrize("report", ["tracking", "sources", "sourcestats", "ntpdata"])
def test_each_report_alone(said: Said, state: str, report: str) -> None:
    found = chronyc.parse(said(f"chronyc/{state}/{report}.csv"), report)
    counts = {
        "tracking": int(found.tracking is not None),
        "sources": len(found.sources),
        "sourcestats": len(found.statistics),
        "ntpdata": len(found.ntpdata),
    }
    wanted = {"tracking": 1, "sources": 3, "sourcestats": 3, "ntpdata": 2}
    assert counts == {name: wanted[name] if name == report else 0 for name in wanted}


def test_nothing_is_nothing() -> None:
    assert chronyc.parse("\n\n", "empty") == chronyc.Chronyc()


GOOD = "#,*,PHC0,0,0,377,1,0.000000000,0.000000000,0.000005020"


@pytest.mark.parametrize(
    "line",
    [
        "506 Cannot talk to daemon",
        GOOD + ",1",
        GOOD.replace("#", "@"),
        GOOD.replace("*", "!"),
        GOOD.replace("377", "378"),
        GOOD.replace("0.000005020", "nan"),
        GOOD.replace("PHC0", ""),
        GOOD.replace("PHC0,0,0", "PHC0,٣,0"),
        "50484330,PHC0,1,1.0,0.1,0.1,0.1,0.0,0.0,0.0,0.1,0.1,1.0,Happy",
        "5048433,PHC0,1,1.0,0.1,0.1,0.1,0.0,0.0,0.0,0.1,0.1,1.0,Normal",
        "50484330,PHC0,1,1.0,0.1,1e-3,0.1,0.0,0.0,0.0,0.1,0.1,1.0,Normal",
        "PHC0,8,3,7,x,0.000,-0.000000000,0.000000001",
    ],
)
def test_a_line_that_is_not_chronyc_s_is_refused_with_its_place(line: str) -> None:
    with pytest.raises(ParseError) as refused:
        chronyc.parse(f"{GOOD}\n{line}\n", "samples.jsonl:3:chronyc")
    error = refused.value
    assert (error.where, error.line_number, error.line) == ("samples.jsonl:3:chronyc", 2, line)


def test_statistics_that_are_not_kept_are_checked_all_the_same(said: Said) -> None:
    text = said("chronyc/reference-ahead/all.csv")
    kept, without = chronyc.parse(text, "w"), chronyc.parse(text, "w", statistics_kept=False)
    assert kept.statistics
    assert without == replace(kept, statistics=())
    with pytest.raises(ParseError):
        chronyc.parse("PHC0,8,3,7,0.000,0.000,0.000000000,x\n", "w", statistics_kept=False)

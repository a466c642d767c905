"""The driver's own counters: out of tree by ethtool -S, in tree by debugfs."""

from collections.abc import Callable

import pytest

from harness.errors import ParseError
from harness.model import PhcCounters
from harness.probes import phc_stats

Said = Callable[[str], str]


def counters(cnt: int, exp: int = 0, err_dv: int = 0, err_ts: int = 0, err_eb: int | None = 0) -> PhcCounters:
    return PhcCounters(cnt=cnt, exp=exp, skp=0, err_dv=err_dv, err_ts=err_ts, err_eb=err_eb)


def test_every_captured_state(said: Said, states: tuple[str, ...]) -> None:
    found = {state: phc_stats.parse(said(f"ena/{state}/ethtool-S.txt"), state) for state in states}
    assert found == {
        "in-tree-6.12": None,
        "in-tree-7.2-phc-off": None,
        "in-tree-7.2-phc-on": None,
        "mode-err_both": counters(2),
        "mode-err_eb": counters(2),
        "mode-err_ts": counters(2),
        "mode-silent": counters(2),
        "no-phc-feature": None,
        "phc-off": None,
        "phc-on-debug": counters(0),
        "spin": counters(6150, exp=3),
    }


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("silent", counters(6, err_dv=307)),
        ("err_ts", counters(6, err_ts=307)),
        ("err_eb", counters(6, err_eb=307)),
        ("err_both", counters(6, err_ts=307, err_eb=307)),
    ],
)
def test_what_each_kind_of_refusal_counts_as(said: Said, mode: str, wanted: PhcCounters) -> None:
    """`err_both` is the reason why one refusal may count twice."""
    lines = [line for line in said(f"ena/mode-{mode}/after-recovery.txt").splitlines() if "phc_" in line]
    counted = "\n".join(line for line in lines if not line.startswith("phc_ctl"))
    assert phc_stats.parse(counted, mode) == wanted


def test_the_in_tree_form_has_no_error_bound_count(said: Said) -> None:
    text = said("ena/in-tree-7.2-enable.txt").partition("/phc_stats\nphc_cnt")[2]
    block = "phc_cnt" + text.split("reads ")[0]
    assert phc_stats.parse(block, "debugfs") == counters(2, err_eb=None)


def test_releases_before_2_15_have_one_count_of_refusals() -> None:
    text = "NIC statistics:\n     phc_cnt: 90\n     phc_exp: 1\n     phc_skp: 0\n     phc_err: 7\n"
    assert phc_stats.parse(text, "2.14.1g") == counters(90, exp=1, err_ts=7, err_eb=None)


@pytest.mark.parametrize(
    "text",
    [
        "phc_cnt: 2\n",
        "phc_cnt: x\n",
        "no stats available\n",
        "phc_cnt: -1\nphc_exp: 0\nphc_skp: 0\nphc_err_dv: 0\nphc_err_ts: 0",
    ],
)
def test_half_a_set_and_other_words_are_refused(text: str) -> None:
    with pytest.raises(ParseError):
        phc_stats.parse(text, "ethtool-S/eth1")


@pytest.mark.parametrize("error_bound", ["", "\nphc_err_eb: 6"])
@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("number", ["0", "7", "1234567890123456789"])
def test_the_usual_text_is_read_at_once_and_line_by_line_alike(number: str, end: str, error_bound: str) -> None:
    usual = f"phc_cnt: {number}\nphc_exp: 2\nphc_skp: 3\nphc_err_dv: 4\nphc_err_ts: 5{error_bound}{end}"
    counters = phc_stats.parse(usual, "w")
    assert counters is not None
    assert counters == phc_stats.parse(f"NIC statistics:\n{usual}", "w")
    assert (counters.cnt, counters.err_ts, counters.err_eb) == (int(number), 5, 6 if error_bound else None)

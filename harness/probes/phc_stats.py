"""Parse how many readings of the PHC the driver served and refused, from `ethtool -S` or debugfs `phc_stats`."""

import re

from harness.errors import ParseError
from harness.model import PhcCounters
from harness.probes.numbers import parse_integer

_NAMES = ("phc_cnt", "phc_exp", "phc_skp", "phc_err_dv", "phc_err_ts")

_USUAL = re.compile("\n".join(f"{name}: ([0-9]{{1,19}})" for name in _NAMES) + r"(?:\nphc_err_eb: ([0-9]{1,19}))?\n?")
"""Output of debugfs as the drivers write it, which each sample has: taken at once instead of line by line."""


def parse(text: str, where: str) -> PhcCounters | None:
    """Read the phc_* lines; None when there are none at all, as for a driver without a clock.

    Ignored: the heading `NIC statistics:` and every other `name: number`. The in-tree driver has no phc_err_eb (kernel
    7.2), Amazon's has (2.17.0g); its releases before 2.15 count every refusal by the device in phc_err, which is taken
    as err_ts (ena_ethtool.c of 2.8.0 to 2.15.0). Raises ParseError on any other line, and on an incomplete set.
    """
    if usual := _USUAL.fullmatch(text):
        cnt, exp, skp, err_dv, err_ts, err_eb = usual.groups()
        return PhcCounters(
            cnt=int(cnt),
            exp=int(exp),
            skp=int(skp),
            err_dv=int(err_dv),
            err_ts=int(err_ts),
            err_eb=None if err_eb is None else int(err_eb),
        )
    counters: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.strip() == "NIC statistics:":
            continue
        name, _, digits = line.rpartition(":")
        value = parse_integer(digits.strip())
        if not name.strip() or value is None:
            raise ParseError(where, number, line, "a `name: number` line of driver statistics")
        if name.strip().startswith("phc_"):
            counters[name.strip()] = value
    if not counters:
        return None
    if "phc_err" in counters:
        counters = {"phc_err_dv": 0, "phc_err_ts": counters["phc_err"], **counters}
    missing = [name for name in _NAMES if name not in counters]
    if missing or min(counters.values()) < 0:
        raise ParseError(
            where, text.count("\n") + 1, str(counters), f"statistics with {' '.join(_NAMES)}, none negative"
        )
    return PhcCounters(
        cnt=counters["phc_cnt"],
        exp=counters["phc_exp"],
        skp=counters["phc_skp"],
        err_dv=counters["phc_err_dv"],
        err_ts=counters["phc_err_ts"],
        err_eb=counters.get("phc_err_eb"),
    )

"""A lab host's clock is disturbed from outside for as long as asked, and is as before afterwards."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.benches.bench import BenchError
from harness.benches.lab.bench import LabBench
from harness.model import Token
from harness.model.disturbances import Disturbance

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.xdist_group("guests")]

TOKEN = Token(run="test", host="one")
PAUSE_S = 4.0


def monotonic_s(host: Any) -> float:
    return float(host.run("cut -d' ' -f1 /proc/uptime"))


def reads(host: Any) -> bool:
    return "done" in host.run("timeout 5 phc_ctl /dev/ptp0 get > /dev/null 2>&1 && echo done || echo failed")


def test_a_paused_guest_loses_the_time_of_the_pause(provision: Callable[[str, str], Any], bench: LabBench) -> None:
    host = provision("one", "lab.phc")
    before_s, begun = monotonic_s(host), time.monotonic()
    bench.disturb(TOKEN, Disturbance.GUEST_PAUSED, PAUSE_S, time.sleep)
    lost_s = (time.monotonic() - begun) - (monotonic_s(host) - before_s)
    assert PAUSE_S - 1 < lost_s < PAUSE_S + 3


def test_a_withdrawn_clock_answers_nobody_until_it_is_back(
    provision: Callable[[str, str], Any], bench: LabBench
) -> None:
    host, during = provision("one", "lab.phc"), list[bool]()
    assert reads(host)
    bench.disturb(TOKEN, Disturbance.PHC_WITHDRAWN, 1.0, lambda _seconds: during.append(reads(host)))
    assert (during, reads(host)) == ([False], True)


def test_an_interrupted_pause_leaves_a_guest_that_runs(provision: Callable[[str, str], Any], bench: LabBench) -> None:
    host = provision("one", "lab.phc")

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    for disturbance in (Disturbance.GUEST_PAUSED, Disturbance.PHC_WITHDRAWN):
        with pytest.raises(KeyboardInterrupt):
            bench.disturb(TOKEN, disturbance, PAUSE_S, interrupt)
    assert reads(host)


def test_what_is_done_inside_of_the_host_is_none_of_the_benchs(
    provision: Callable[[str, str], Any], bench: LabBench
) -> None:
    with pytest.raises(BenchError, match="does not run"):
        bench.disturb(TOKEN, Disturbance.GUEST_PAUSED, PAUSE_S, time.sleep)
    provision("one", "lab.phc")
    with pytest.raises(BenchError, match="cpu-load can be caused in the lab only"):
        bench.disturb(TOKEN, Disturbance.CPU_LOAD, PAUSE_S, time.sleep)

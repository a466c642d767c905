"""The clocks as Prometheus gets them: one verdict of four is 1, and what is not known has no point."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from harness.model import Outcome
from harness.service.clock_metrics import write_clocks
from harness.store.newest_clocks import NewestClock


class Written(Collector):
    def __init__(self, *clocks: NewestClock) -> None:
        self._clocks = clocks

    def collect(self) -> list[Metric]:
        return [*write_clocks(self._clocks, 2.0)]


def clock(**changes: object) -> NewestClock:
    values = {"bench": "ec2", "instance_type": "m7i.large", "region": "eu-north-1", "outcome": Outcome.PASS}
    return NewestClock(**{**values, "offset_p99_ns": 80.0, "bound_p99_ns": 900.0, "age_s": 10.0, **changes})  # type: ignore[arg-type]


def lines(*clocks: NewestClock) -> list[str]:
    registry = CollectorRegistry()
    registry.register(Written(*clocks))
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_a_clock_has_its_verdict_age_offset_and_bound() -> None:
    labels = 'bench="ec2",instance_type="m7i.large",region="eu-north-1"'
    name = "ptp_harness_service_clock"
    assert lines(clock()) == [
        f'{name}_outcome{{bench="ec2",instance_type="m7i.large",outcome="{outcome}",region="eu-north-1"}} '
        f"{float(outcome is Outcome.PASS)}"
        for outcome in Outcome
    ] + [
        f"{name}_age_seconds{{{labels}}} 12.0",
        f"{name}_offset_p99_seconds{{{labels}}} 8e-08",
        f"{name}_bound_p99_seconds{{{labels}}} 9e-07",
    ]


def test_what_is_not_known_has_no_point() -> None:
    written = lines(clock(offset_p99_ns=None, bound_p99_ns=None, region=None, outcome=Outcome.INCONCLUSIVE))
    assert [line for line in written if "seconds" in line and "age" not in line] == []
    assert sum(line.endswith(" 1.0") for line in written) == 1
    assert lines() == []

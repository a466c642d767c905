"""What is each lab type like, and which verdict does that demand? One table, for the bench, the tests and the docs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.model import Outcome, Reason


class Kernel(StrEnum):
    """The kernels of the guest image. STABLE's ENA driver knows no clock; BACKPORTS's has one, switched by devlink."""

    STABLE = "stable"
    BACKPORTS = "backports"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The verdict that the truth demands."""

    outcome: Outcome
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A lab type. `bends` are options of the emulated device; `read_only` is demanded where nothing may be changed."""

    name: str
    summary: str
    kernel: Kernel = Kernel.BACKPORTS
    memory_mib: int = 512
    bends: Mapping[str, int | bool | str] = field(default_factory=dict)
    clock_on: bool = True
    ssh: bool = True
    demand: Demand
    read_only: Demand | None = None

    @property
    def phc_supported(self) -> bool:
        """Whether the device has the feature, which is what an API would claim."""
        return not self.bends.get("no_phc", False)


_PASS = Demand(outcome=Outcome.PASS, reason=Reason.SYNCHRONISED)
_NOBODY_FOLLOWS = Demand(outcome=Outcome.INCONCLUSIVE, reason=Reason.NOT_OBSERVED)
"""Of a host on which nobody has set chronyd up, and nothing may be changed."""

TRUTHS: Mapping[str, Truth] = {
    truth.name: truth
    for truth in (
        Truth(
            name="lab.phc",
            summary="a good clock, switched on when the host starts",
            demand=_PASS,
            read_only=_NOBODY_FOLLOWS,
        ),
        Truth(
            name="lab.driver-off",
            summary="a good clock that the driver knows and nobody has switched on",
            clock_on=False,
            demand=_PASS,
            read_only=Demand(outcome=Outcome.FAIL, reason=Reason.DRIVER_OFF),
        ),
        Truth(
            name="lab.no-phc",
            summary="an able driver on a device without the clock",
            bends={"no_phc": True},
            clock_on=False,
            demand=Demand(outcome=Outcome.UNSUPPORTED, reason=Reason.NO_PHC),
            read_only=Demand(outcome=Outcome.FAIL, reason=Reason.DRIVER_OFF),
        ),
        Truth(
            name="lab.old-driver",
            summary="a device with a clock under a kernel whose driver knows none",
            kernel=Kernel.STABLE,
            clock_on=False,
            demand=Demand(outcome=Outcome.FAIL, reason=Reason.DRIVER_NOT_CAPABLE),
        ),
        Truth(
            name="lab.drifting",
            summary="a clock that runs 100 ppm fast against UTC",
            bends={"freq_ppb": 100_000},
            demand=Demand(outcome=Outcome.FAIL, reason=Reason.OUT_OF_LIMITS),
            read_only=_NOBODY_FOLLOWS,
        ),
        Truth(
            name="lab.flaky-reads",
            summary="a clock that refuses one reading in fifty",
            bends={"refuse_every": 50},
            demand=Demand(outcome=Outcome.FAIL, reason=Reason.PHC_UNREADABLE),
        ),
        Truth(
            name="lab.unreachable",
            summary="a host whose SSH server never answers",
            ssh=False,
            demand=Demand(outcome=Outcome.INCONCLUSIVE, reason=Reason.UNREACHABLE),
        ),
        Truth(
            name="lab.no-capacity",
            summary="a type that needs more memory than any machine has",
            memory_mib=2**20,
            demand=Demand(outcome=Outcome.INCONCLUSIVE, reason=Reason.CAPACITY),
        ),
    )
}


def as_markdown() -> str:
    """The table that docs/lab-truths.md holds."""
    rows = [
        f"| `{truth.name}` | {truth.summary} | {_kernel(truth)} | {_bends(truth)} | {_words(truth.demand)} | "
        f"{_words(truth.read_only) if truth.read_only else 'the same'} |"
        for truth in TRUTHS.values()
    ]
    head = "| type | what it is like | kernel | device | demanded verdict | with `--read-only` |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows]) + "\n"


def _kernel(truth: Truth) -> str:
    return "Debian 13's own" if truth.kernel is Kernel.STABLE else "Debian 13 backports"


def _bends(truth: Truth) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in truth.bends.items()) or "as it comes"


def _words(demand: Demand) -> str:
    return f"{demand.outcome} `{demand.reason}`"


def differences(report: str, *, read_only: bool = False) -> list[str]:
    """Where a run's JSON report says otherwise than the truth demands, one sentence each; none for a true report."""
    hosts = json.loads(report)["hosts"]
    wrong = [words for host in hosts if (words := _difference(host, read_only=read_only))]
    return wrong or ([] if hosts else ["the report has no hosts"])


def _difference(host: Mapping[str, str], *, read_only: bool) -> str | None:
    truth = TRUTHS[host["instance_type"]]
    demand = truth.read_only if read_only and truth.read_only else truth.demand
    seen = f"{host['outcome']} {host['reason']}"
    demanded = f"{demand.outcome} {demand.reason}"
    return None if seen == demanded else f"{host['name']}: {seen}, but its truth demands {demanded}"

"""From settings to working parts: the only place that names concrete benches."""

from collections.abc import Callable, Sequence

from harness.bench import Bench, Check
from harness.benches.lab.bench import LabBench
from harness.errors import RequestError
from harness.ledger import Ledger
from harness.settings import Settings


def lab_bench(settings: Settings) -> LabBench:
    """Local virtual machines."""
    return LabBench(settings)


_BENCHES: dict[str, Callable[[Settings], Bench]] = {"lab": lab_bench}


def bench(name: str, settings: Settings) -> Bench:
    """The bench of that name. Raises RequestError with the names that there are."""
    if name not in _BENCHES:
        raise RequestError(f"there is no bench {name!r}", next_step=f"benches: {', '.join(_BENCHES)}")
    return _BENCHES[name](settings)


def checks(name: str, settings: Settings) -> Sequence[Check]:
    """What that bench needs of this machine."""
    return bench(name, settings).checks()


def ledger(settings: Settings) -> Ledger:
    """The books."""
    return Ledger(settings.ledger_url)

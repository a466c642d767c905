"""Look from inside a pod at what pods of a run need: ledger, evidence store, the node's clock, the lab's parts."""

import time
from collections.abc import Callable

from harness import __version__
from harness.benches.bench import Check
from harness.benches.lab.bench import LabBench
from harness.benches.lab.truths.truths import TRUTHS
from harness.errors import HarnessError
from harness.store.ledger import Ledger
from harness.store.object_store import open_store
from harness.system.settings import Settings

_MOST_CLOCK_ERROR_S = 2.0
_ANY_OBJECT = "smoke"


def look(settings: Settings, lab: LabBench) -> list[Check]:
    """Check each of them; a check says what was seen, and what to do where it is not as it has to be."""
    checks = [
        Check(name="version", ok=True, observed=__version__),
        _check("ledger", "correct the key ledger-url of the secret ptp-harness", lambda: _look_at_ledger(settings)),
        _check(
            "evidence store",
            "correct the key evidence-url of the secret ptp-harness, or the credentials in ptp-harness-environment",
            lambda: _look_at_store(settings),
        ),
        _check("clock of the node", "synchronise the clocks of the nodes", lambda: _look_at_clock(settings)),
    ]
    if settings.lab_cache is not None:
        remedy = "`ptp-harness lab build` fills the claim, for the processor of this node: docs/cluster.md"
        checks.append(_check("lab", remedy, lambda: _look_at_lab(lab)))
    return checks


def _check(name: str, remedy: str, look_at: Callable[[], tuple[bool, str]]) -> Check:
    try:
        ok, observed = look_at()
    except HarnessError as error:
        ok, observed = False, error.message
    return Check(name=name, ok=ok, observed=observed, remedy="" if ok else remedy)


def _look_at_ledger(settings: Settings) -> tuple[bool, str]:
    if settings.ledger is None:
        return False, "no URL of a ledger is set: each pod would have one of its own"
    ledger = Ledger(settings.ledger_url)
    try:
        server = ledger.database.file is None
        return server, ledger.url if server else f"{ledger.url} is a file of the pod alone"
    finally:
        ledger.close()


def _look_at_store(settings: Settings) -> tuple[bool, str]:
    if settings.evidence is None:
        return False, "no URL of an evidence store is set: evidence would go with the pods"
    open_store(settings.evidence).read(_ANY_OBJECT, most=1)
    return True, settings.evidence


def _look_at_lab(lab: LabBench) -> tuple[bool, str]:
    ready = [name for name in lab.list_ready_types() if not TRUTHS[name].image.by_cloud_init]
    return bool(ready), f"parts for {len(ready)} types: {', '.join(ready)}" if ready else "parts for no type"


def _look_at_clock(settings: Settings) -> tuple[bool, str]:
    if settings.ledger is None:
        return False, "not known: there is no ledger to compare it with"
    ledger = Ledger(settings.ledger_url)
    try:
        before_s = time.time()
        ledger_s = ledger.now_ns() / 1e9
        error_s = (before_s + time.time()) / 2 - ledger_s
    finally:
        ledger.close()
    return abs(error_s) <= _MOST_CLOCK_ERROR_S, f"{error_s:+.3f} s from that of the ledger's server"

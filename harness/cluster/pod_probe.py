"""Look from inside a pod at what pods of a run need: secret, ledger, evidence store, rights, clock, the lab's parts."""

import time
from collections.abc import Callable
from pathlib import Path

from harness import __version__
from harness.benches.bench import Check
from harness.benches.lab.bench import LabBench
from harness.benches.lab.truths.truths import TRUTHS
from harness.cluster.api_version import check_version
from harness.cluster.connection import Connection
from harness.cluster.jobs import ENVIRONMENT_SECRET, EVIDENCE_KEY, LEDGER_KEY, SECRET, SECRET_FOLDER, SIGNING_KEY
from harness.cluster.rights import (
    COORDINATOR,
    COORDINATOR_REMEDY,
    DESTRUCTIVE,
    DESTRUCTIVE_REMEDY,
    check_rights,
)
from harness.errors import HarnessError
from harness.store.ledger import Ledger
from harness.store.object_store import open_store
from harness.system.settings import Settings

_MOST_CLOCK_ERROR_S = 2.0
_ANY_OBJECT = "smoke"
_LEDGER_REMEDY = f"correct the key {LEDGER_KEY} of the secret {SECRET}"


def look_as_suite(settings: Settings, lab: LabBench, secret: Path = Path(SECRET_FOLDER)) -> list[Check]:
    """Check what pods of suites need; a check says what was seen, and what to do where it is not as it has to be."""
    checks = [
        Check(name="version", ok=True, observed=__version__),
        look_at_secret(secret),
        _check("ledger", _LEDGER_REMEDY, lambda: _look_at_ledger(settings)),
        _check(
            "evidence store",
            f"correct the key {EVIDENCE_KEY} of the secret {SECRET}, or the credentials in {ENVIRONMENT_SECRET}",
            lambda: _look_at_store(settings),
        ),
    ]
    if settings.lab_cache is not None:
        remedy = "`ptp-harness lab build` fills the claim, for the processor of this node: docs/cluster.md"
        checks.append(_check("lab", remedy, lambda: _look_at_lab(lab)))
    return checks


def look_as_coordinator(connection: Connection, *, include_destructive: bool) -> list[Check]:
    """Check what coordinators need: the API server from a pod, and each right."""
    checks = [Check(name="version", ok=True, observed=__version__), check_version(connection)]
    if checks[-1].ok:
        checks += check_rights(connection, COORDINATOR, remedy=COORDINATOR_REMEDY)
    if checks[-1].ok and include_destructive:
        checks += check_rights(connection, DESTRUCTIVE, remedy=DESTRUCTIVE_REMEDY, everywhere=True)
    return checks


def look_at_clock(settings: Settings) -> list[Check]:
    """Check the clock of this pod's node."""
    return [_check("clock", "synchronise the clock of this node", lambda: _look_at_clock(settings))]


def look_at_secret(folder: Path) -> Check:
    """Check which keys the secret has whose files are in `folder`: their names alone."""
    keys = sorted(path.name for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    missing = [key for key in (LEDGER_KEY, EVIDENCE_KEY) if key not in keys]
    if not keys:
        observed = f"the secret {SECRET} is not there, or has no key"
    elif missing:
        observed = f"the secret {SECRET} has no key {' and no key '.join(missing)}"
    else:
        signs = "" if SIGNING_KEY in keys else f"; campaigns on EC2 need {SIGNING_KEY}, too"
        return Check(name="secret", ok=True, observed=f"{SECRET} has {', '.join(keys)}{signs}")
    literals = " ".join(f"--from-literal={key}=..." for key in (LEDGER_KEY, EVIDENCE_KEY))
    return Check(
        name="secret", ok=False, observed=observed, remedy=f"`kubectl create secret generic {SECRET} {literals}`"
    )


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

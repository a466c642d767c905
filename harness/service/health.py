"""Say whether the service lives, whether it can do its work, and what runs here."""

import time
from collections.abc import Callable
from http import HTTPStatus

from fastapi import APIRouter, Response

from harness import __version__
from harness.errors import HarnessError
from harness.report import document
from harness.service.authentication import Context, Reader
from harness.service.context import MOST_BODY_BYTES, ServiceContext
from harness.service.documents import Alive, Readiness, ReadinessReport, ServiceInfo
from harness.store.object_store import open_store
from harness.store.schema import NEWEST

router = APIRouter()


@router.get("/healthz", tags=["health"])
def healthz() -> Alive:
    """Say that the process answers."""
    return Alive()


@router.get("/readyz", tags=["health"], responses={503: {"model": ReadinessReport}})
def readyz(context: Context, response: Response) -> ReadinessReport:
    """Say whether the service can do its work: each thing that it needs, with the reason where it is not ready."""
    report = look(context)
    if not report.ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return report


@router.get("/v1/info", tags=["health"])
def info(context: Context, _caller: Reader) -> ServiceInfo:
    """Say which version runs here, with its benches, limits and versions of documents."""
    limits = context.options.limits
    return ServiceInfo(
        version=__version__,
        benches=list(context.options.benches),
        tasks_at_once=limits.tasks,
        tasks_per_bench=dict(limits.per_bench),
        tasks_per_submitter=limits.per_submitter,
        most_waiting=context.options.most_waiting,
        most_body_bytes=MOST_BODY_BYTES,
        schemas={"report": document.SCHEMA},
        ledger_revision=NEWEST,
    )


def look(context: ServiceContext) -> ReadinessReport:
    """Look at each thing that the service needs."""
    parts = [_look(name, check) for name, check in _checks(context).items()]
    return ReadinessReport(ready=all(part.ready for part in parts), parts=parts)


def _checks(context: ServiceContext) -> dict[str, Callable[[], str | None]]:
    """List what the service needs; each check returns why it is not ready."""
    return {
        "service": lambda: "it is being stopped" if context.draining.is_set() else None,
        "ledger": lambda: _catch(context.ledger.now_ns),
        "queue": lambda: _catch(lambda: context.queue.count_claimable(context.options.limits)),
        "evidence store": lambda: _look_at_store(context),
        **context.checks,
    }


def _look(name: str, check: Callable[[], str | None]) -> Readiness:
    begun = time.monotonic()
    reason = check()
    return Readiness(name=name, ready=reason is None, reason=reason, age_s=round(time.monotonic() - begun, 3))


def _look_at_store(context: ServiceContext) -> str | None:
    url = context.settings.evidence
    return None if url is None else _catch(lambda: open_store(url))


def _catch(action: Callable[[], object]) -> str | None:
    try:
        action()
    except HarnessError as error:
        return error.message
    return None

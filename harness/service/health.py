"""Say whether the service lives, whether it can do its work, and what runs here."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from harness import __version__
from harness.report import document
from harness.service.authentication import Context, Reader
from harness.service.context import MOST_BODY_BYTES
from harness.service.documents import Alive, ReadinessReport, ServiceInfo
from harness.service.readiness import ReadinessLooks
from harness.service.sites.assignment import list_offered_benches
from harness.service.sites.contacts import SITE_SCHEMA
from harness.store.schema import NEWEST

router = APIRouter()


@router.get("/healthz", tags=["health"])
async def healthz() -> Alive:
    """Say that the process answers."""
    return Alive()


@router.get("/readyz", tags=["health"], responses={503: {"model": ReadinessReport}})
async def readyz(request: Request, response: Response) -> ReadinessReport:
    """Say whether the service can do its work: each thing that it needs, with the reason where it is not ready.

    The answer comes within about a second, whatever hangs. Parts that are not `required` leave the service ready.
    """
    looks: ReadinessLooks = request.app.state.readiness
    report = await looks.read()
    if not report.ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return report


@router.get("/v1/info", tags=["health"])
def info(context: Context, _caller: Reader) -> ServiceInfo:
    """Say which version runs here, with its benches, limits and versions of documents."""
    limits = context.options.limits
    return ServiceInfo(
        version=__version__,
        benches=list(list_offered_benches(context)),
        tasks_at_once=limits.tasks,
        tasks_per_bench=dict(limits.per_bench),
        tasks_per_submitter=limits.per_submitter,
        most_waiting=context.options.most_waiting,
        most_body_bytes=MOST_BODY_BYTES,
        schemas={"report": document.SCHEMA, "site": SITE_SCHEMA},
        ledger_revision=NEWEST,
    )

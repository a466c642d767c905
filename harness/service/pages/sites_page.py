"""Show where campaigns are carried out: this service with what it needs, and sites."""

from fastapi import APIRouter, Request, Response

from harness.service.authentication import Context
from harness.service.documents import ReadinessReport
from harness.service.pages.rendering import render
from harness.service.pages.viewer import PageViewer
from harness.service.readiness import ReadinessLooks

router = APIRouter(include_in_schema=False)


@router.get("/sites")
async def show_sites(request: Request, viewer: PageViewer, context: Context) -> Response:
    """Show this service and its sites."""
    looks: ReadinessLooks = request.app.state.readiness
    parts = await looks.read()
    report = ReadinessReport(ready=all(part.ready for part in parts if part.required), parts=parts)
    return render(
        request,
        viewer,
        "sites.html",
        page="sites",
        report=report,
        benches=context.options.benches,
        limits=context.options.limits,
        sites=[],
    )

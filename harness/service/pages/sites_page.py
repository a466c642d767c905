"""Show where campaigns are carried out: this service with what it needs, and sites."""

from fastapi import APIRouter, Request, Response

from harness.service.authentication import Context
from harness.service.health import look
from harness.service.pages.rendering import render
from harness.service.pages.viewer import PageViewer

router = APIRouter(include_in_schema=False)


@router.get("/sites")
def show_sites(request: Request, viewer: PageViewer, context: Context) -> Response:
    """Show this service and its sites."""
    return render(
        request,
        viewer,
        "sites.html",
        page="sites",
        report=look(context),
        benches=context.options.benches,
        limits=context.options.limits,
        sites=[],
    )

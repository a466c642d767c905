"""Show where campaigns are carried out: this service with what it needs, and its sites."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from harness.model.tasks import Scope
from harness.service.authentication import Context
from harness.service.pages.rendering import render
from harness.service.pages.viewer import CheckedForm, PageViewer, require_scope
from harness.service.readiness import ReadinessLooks
from harness.service.sites import site_routes
from harness.service.sites.site_documents import site_list_document

router = APIRouter(include_in_schema=False)


@router.get("/sites")
async def show_sites(request: Request, viewer: PageViewer, context: Context) -> Response:
    """Show this service and its sites."""
    looks: ReadinessLooks = request.app.state.readiness
    hub = context.hub
    return render(
        request,
        viewer,
        "sites.html",
        page="sites",
        report=await looks.read(),
        benches=context.options.benches,
        limits=context.options.limits,
        listed=None if hub is None else await run_in_threadpool(site_list_document, hub),
    )


@router.post("/sites/sync")
def sync(viewer: PageViewer, context: Context, _form: CheckedForm) -> Response:
    """Read the registry now."""
    require_scope(viewer, Scope.OPERATE)
    site_routes.sync(context, viewer.caller)
    return RedirectResponse("/sites", status_code=303)

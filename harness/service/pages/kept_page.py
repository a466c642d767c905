"""Show hosts that stayed after their runs: until when, for whom, how to enter them; keep them longer, release them."""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from harness.model.tasks import Scope
from harness.service import kept_host_routes
from harness.service.authentication import Context
from harness.service.pages.rendering import render
from harness.service.pages.viewer import CheckedForm, PageViewer, require_scope
from harness.service.run_documents import KeepRequest
from harness.store.kept_lines import list_kept

router = APIRouter(include_in_schema=False)

_MOST_SHOWN = 200


@router.get("/kept")
def show_kept(request: Request, viewer: PageViewer, context: Context) -> Response:
    """List kept hosts, the first whose lease ends first."""
    kept = list_kept(context.ledger.database, most=_MOST_SHOWN + 1)
    return render(request, viewer, "kept.html", page="kept", kept=kept[:_MOST_SHOWN], has_more=len(kept) > _MOST_SHOWN)


@router.get("/kept/{run}/{host}")
def show_kept_host(run: str, host: str, request: Request, viewer: PageViewer, context: Context) -> Response:
    """Show how to log in to a kept host. Its bench is asked whether it runs."""
    detail = kept_host_routes.show_host(run, host, context, viewer.caller)
    return render(request, viewer, "kept_host.html", page="kept", kept=detail)


@router.post("/kept/{run}/{host}/keep")
async def keep(run: str, host: str, viewer: PageViewer, context: Context, form: CheckedForm) -> Response:
    """Let the lease of a host end so long from now as the form says."""
    require_scope(viewer, Scope.OPERATE)
    lease = form.get("lease", "").strip()[:32] or None
    await kept_host_routes.keep(run, host, KeepRequest(lease=lease), context, viewer.caller)
    return RedirectResponse(f"/kept#{quote(f'{run}/{host}')}", status_code=303)


@router.post("/kept/{run}/{host}/release")
async def release(run: str, host: str, viewer: PageViewer, context: Context, _form: CheckedForm) -> Response:
    """Remove a host that was kept."""
    require_scope(viewer, Scope.OPERATE)
    await kept_host_routes.release(run, host, context, viewer.caller)
    return RedirectResponse("/kept", status_code=303)

"""Show a run that goes on at a site, as the site tells of it: it is in the ledger here once it has ended."""

from fastapi import Request, Response

from harness.client.refusals import RefusedError
from harness.errors import HarnessError
from harness.service.context import ServiceContext
from harness.service.pages.rendering import render
from harness.service.pages.viewer import Viewer
from harness.store.site_tasks import SiteTasks


def show_remote_run(run: str, request: Request, viewer: Viewer, context: ServiceContext) -> Response | None:
    """Show the run of a task that a site carries out; None where no site has a run of this name."""
    hub = context.hub
    site = None if hub is None else SiteTasks(context.ledger).find_site(run)
    if hub is None or site is None:
        return None
    detail, problem = None, ""
    try:
        with hub.connect(site) as client:
            detail = client.run(run)
    except RefusedError as error:
        problem = error.message
    except HarnessError as error:
        problem = f"site {site} does not answer: {error.message}"
    return render(request, viewer, "remote_run.html", page="runs", run=run, site=site, detail=detail, problem=problem)

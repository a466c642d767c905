"""List the sites of a hub, and read its registry now."""

from http import HTTPStatus

from fastapi import APIRouter

from harness.service.auditing import write_audit
from harness.service.authentication import Context, Operator, Reader
from harness.service.problems import NotFoundError
from harness.service.sites.hub import Hub
from harness.service.sites.site_documents import SiteDocument, SiteListDocument, site_list_document

router = APIRouter(prefix="/v1", tags=["sites"])


@router.get("/sites")
def list_sites(context: Context, _caller: Reader) -> SiteListDocument:
    """List the sites: how old the list is, and how the service gets on with each of them."""
    return site_list_document(_require_hub(context.hub))


@router.post("/registry/sync")
def sync(context: Context, caller: Operator) -> SiteListDocument:
    """Read the registry now. Where that fails, the last known list stays, and the answer says why."""
    hub = _require_hub(context.hub)
    hub.sync()
    write_audit(context, caller, "site.sync", hub.cache.source, HTTPStatus.OK)
    return site_list_document(hub)


@router.get("/sites/{name}")
def show_site(name: str, context: Context, _caller: Reader) -> SiteDocument:
    """Show a site."""
    document = site_list_document(_require_hub(context.hub))
    site = next((site for site in document.sites if site.name == name), None)
    if site is None:
        raise NotFoundError(f"there is no site {name[:64]!r} in the registry", next_step="GET /v1/sites lists them")
    return site


def _require_hub(hub: Hub | None) -> Hub:
    if hub is None:
        raise NotFoundError(
            "this service has no sites", next_step="whoever runs it starts it with --registry URL|FILE|ledger"
        )
    return hub

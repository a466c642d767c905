"""Keep and release hosts of runs that a site carried out: the site does it, and the ledger of the hub notes it."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus

from harness.client.client import Client
from harness.client.refusals import RefusedError
from harness.client.run_views import Document
from harness.service.context import ServiceContext
from harness.service.problems import ServiceError
from harness.service.sites.kept_refresh import refresh_run
from harness.store.site_tasks import SiteTasks


def find_site(context: ServiceContext, run: str) -> str | None:
    """Find the site that carried out a run; None for a run of this machine."""
    return None if context.hub is None else SiteTasks(context.ledger).find_site(run)


def keep_at_site(context: ServiceContext, site: str, run: str, host: str, *, lease: str | None, by: str) -> None:
    """Keep a host at a site. Raises HarnessError."""
    _act(context, site, run, lambda client: client.keep(run, host, lease=lease), host=host, by=by)


def release_at_site(context: ServiceContext, site: str, run: str, host: str) -> None:
    """Release a host at a site. Raises HarnessError."""
    _act(context, site, run, lambda client: client.release(run, host))


def show_at_site(context: ServiceContext, site: str, run: str, host: str) -> Document:
    """Look at a kept host at a site. Raises HarnessError."""
    with closing(_connect(context, site)) as client, _telling_refusals(site):
        return client.kept_host(run, host)


def _act(
    context: ServiceContext,
    site: str,
    run: str,
    action: Callable[[Client], object],
    *,
    host: str | None = None,
    by: str | None = None,
) -> None:
    with closing(_connect(context, site)) as client, _telling_refusals(site):
        try:
            action(client)
        finally:
            refresh_run(client, context.ledger.database, run, host=host, by=by)


def _connect(context: ServiceContext, site: str) -> Client:
    if context.hub is None:
        raise TypeError("this service is no hub")
    return context.hub.connect(site)


@contextmanager
def _telling_refusals(site: str) -> Iterator[None]:
    """Answer what the site refuses as it does; that it refuses the hub itself is no fault of the request."""
    try:
        yield
    except RefusedError as error:
        refused = error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        status = HTTPStatus.BAD_GATEWAY if refused else HTTPStatus(error.status)
        raise ServiceError(status, f"site {site}: {error.message}", next_step=error.next_step) from error

"""Make the hub of a service from its options."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.client.retries import RetryPolicy
from harness.client.service_connection import ConnectionOptions
from harness.service.sites.contacts import SiteToken
from harness.service.sites.hub import Hub
from harness.service.sites.kept_refresh import refresh_all
from harness.service.sites.registry import make_reader
from harness.service.sites.run_import import make_importer
from harness.service.sites.site_cache import SiteCache
from harness.service.sites.site_worker import DispatchContext
from harness.store.ledger import Ledger
from harness.store.site_tasks import SiteTasks
from harness.store.task_queue import TaskQueue
from harness.system.settings import Settings

CACHE = "sites.json"

RETRIES = RetryPolicy(deadline_s=5.0, answer_s=5.0)
"""A call of a site is tried so long; then the site counts as away, and is looked at again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """The registry of a hub, how often it is read, and the tokens for sites, by their names."""

    registry: str
    every_s: float = 60.0
    tokens: Mapping[str, SiteToken]
    allow_plain_http: bool = False


def make_hub(options: HubOptions, ledger: Ledger, settings: Settings) -> Hub:
    """Make a hub over an open ledger. Raises RequestError."""
    read = make_reader(options.registry, ledger.database, allow_plain_http=options.allow_plain_http)
    cache = SiteCache(options.registry, read, settings.state_dir / "service" / CACHE, every_s=options.every_s)
    context = DispatchContext(
        tasks=SiteTasks(ledger),
        find_site=lambda name: cache.list_sites().find(name),
        tokens=options.tokens,
        read_document=TaskQueue(ledger).document,
        import_run=make_importer(ledger, settings.runs_dir),
        refresh_kept=lambda site, client: refresh_all(site, client, ledger.database),
        options=ConnectionOptions(retries=RETRIES, allow_plain_http=options.allow_plain_http),
    )
    return Hub(cache, context)

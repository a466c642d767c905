"""Note what a site tells of the hosts that stayed there after runs of the hub."""

from harness.client.client import Client
from harness.client.refusals import RefusedError
from harness.model import HostState
from harness.store.database import Database
from harness.store.site_hosts import HostNews, list_runs_with_kept, record_news


def refresh_all(site: str, client: Client, database: Database) -> None:
    """Note what became of all hosts that stayed at a site, by this ledger. Raises HarnessError."""
    for run in list_runs_with_kept(database, site):
        try:
            refresh_run(client, database, run)
        except RefusedError:  # the site does not know the run any more: what the ledger has is all that is known
            continue


def refresh_run(
    client: Client, database: Database, run: str, *, host: str | None = None, by: str | None = None
) -> None:
    """Note what the site tells of the hosts of a run; `by`: who keeps the host of this name."""
    news = {
        each.host: HostNews(
            state=HostState(each.state),
            kept_until_ns=None if each.kept_until is None else round(each.kept_until.timestamp()) * 10**9,
            kept_by=by if each.host == host else None,
        )
        for each in client.run(run).hosts
        if each.state is not None and each.state in [*HostState]
    }
    record_news(database, run, news)

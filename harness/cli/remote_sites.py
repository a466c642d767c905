"""`site list` and `site sync` with a service."""

import datetime
from dataclasses import asdict
from typing import Any

from harness.cli import output
from harness.cli.server_options import NamedServer, connect
from harness.client.site_views import SiteListing
from harness.report.table import align_rows


def list_sites(server: NamedServer, *, json: bool) -> None:
    """List the sites of a service."""
    with connect(server) as client:
        _print_listing(client.sites(), json=json)


def sync(server: NamedServer) -> None:
    """Let a service read its registry, and list its sites then."""
    with connect(server) as client:
        _print_listing(client.sync_sites(), json=False)


def _print_listing(listing: SiteListing, *, json: bool) -> None:
    if json:
        output.emit(_write_moments(asdict(listing)))
        return
    head = ("NAME", "STATE", "SINCE", "WAITING", "RUNNING", "BENCHES", "URL")
    rows = [
        (
            site.name,
            site.state,
            f"{site.since:%Y-%m-%d %H:%M}" if site.since else "-",
            str(site.waiting),
            str(site.running),
            ", ".join(site.benches),
            site.url,
        )
        for site in listing.sites
    ]
    if rows:
        output.show("\n".join(align_rows([head, *rows])))
    age = "" if listing.age_s is None else f", read {listing.age_s:.0f} s ago"
    output.say(f"the list is {listing.freshness}{age}: registry {listing.registry}")
    if listing.problem:
        output.say(f"warning: it cannot be read now: {listing.problem}")
    for site in listing.sites:
        if site.problem:
            output.say(f"warning: site {site.name}: {site.problem}")


def _write_moments(data: Any) -> Any:
    """Write the times in plain data as RFC 3339 has them."""
    if isinstance(data, datetime.datetime):
        return data.isoformat()
    if isinstance(data, dict):
        return {key: _write_moments(value) for key, value in data.items()}
    return [_write_moments(value) for value in data] if isinstance(data, list | tuple) else data

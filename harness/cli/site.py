"""`site`: the sites to which a hub gives campaigns."""

from typing import Annotated

import typer

from harness import units, wiring
from harness.cli import output
from harness.errors import RequestError
from harness.model.sites import Site
from harness.report.table import align_rows
from harness.system import settings

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a site: rack7, aws-eu.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


def add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="The URL of its service.")],
    benches: Annotated[list[str], typer.Argument(metavar="BENCH", help="A bench that it has: lab, ec2.")],
) -> None:
    """Add a site to the ledger, or change its URL and benches.

    A service that is started with `serve --registry ledger` gives campaigns to these sites. The token for a site comes
    with `serve --site-token NAME=FILE`, and never into the ledger.

    Examples:
        ptp-harness site add rack7 https://rack7.example.org lab
        ptp-harness site add aws-eu https://ptp-eu.example.org lab ec2
    """
    from harness.service.sites.site_list import check_site
    from harness.store.site_table import SiteTable

    site = check_site(Site(name=name, url=url, benches=tuple(benches)))
    SiteTable(wiring.ledger(settings.load()).database).add(site)
    output.say(f"site {site.name} is at {site.url}, with {', '.join(site.benches)}")


def list_sites(json: Json = False) -> None:
    """List the sites of the ledger, or those that a service has.

    With --server also how old the list of the service is, whether each site answers, since when it does or does not and
    why, and how many campaigns wait for it.

    Examples:
        ptp-harness site list
        ptp-harness --server https://hub site list
        ptp-harness site list --json
    """
    from harness.store.site_table import SiteTable

    lines = SiteTable(wiring.ledger(settings.load()).database).list_lines()
    if json:
        output.emit(
            [
                {
                    "name": line.site.name,
                    "url": line.site.url,
                    "benches": list(line.site.benches),
                    "added": f"{units.utc_moment(line.added_ns):%Y-%m-%dT%H:%M:%SZ}",
                    "added_by": line.added_by,
                }
                for line in lines
            ]
        )
    elif lines:
        rows = [
            (
                line.site.name,
                line.site.url,
                ", ".join(line.site.benches),
                f"{units.utc_moment(line.added_ns):%Y-%m-%d %H:%M}",
                line.added_by,
            )
            for line in lines
        ]
        output.show("\n".join(align_rows([("NAME", "URL", "BENCHES", "ADDED", "BY"), *rows])))
    else:
        output.say("no sites in the ledger; `ptp-harness site add NAME URL BENCH` adds one")


def remove(name: Name) -> None:
    """Remove a site from the ledger.

    Campaigns that it carries out go on there. Tasks that wait for the site wait on, until it is there again or they are
    cancelled.

    Examples:
        ptp-harness site remove rack7
    """
    from harness.store.site_table import SiteTable

    SiteTable(wiring.ledger(settings.load()).database).remove(name)
    output.say(f"site {name} is removed from the ledger")


def sync() -> None:
    """Let a service read its registry of sites now.

    It reads it by itself as often as `serve --registry-every` says.

    Examples:
        ptp-harness --server https://hub site sync
    """
    raise RequestError(
        "`site sync` asks a service to read its registry, and none is named",
        next_step="ptp-harness --server URL site sync",
    )

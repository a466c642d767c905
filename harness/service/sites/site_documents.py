"""Define the documents of sites."""

import datetime

from pydantic import BaseModel

from harness.model.sites import Freshness, Site
from harness.service.sites.contacts import SiteContact, SiteState
from harness.service.sites.hub import Hub
from harness.service.sites.site_cache import SiteList


class SiteDocument(BaseModel):
    """A site. `state`: whether it carries out campaigns, `since` when it does or does not, and `problem` why not.

    `waiting`, `running`: numbers of tasks that the hub has for it.
    """

    name: str
    url: str
    benches: list[str]
    state: SiteState
    since: str | None
    problem: str | None
    version: str | None
    answered: str | None
    waiting: int
    running: int


class SiteListDocument(BaseModel):
    """The sites by the registry. `age_s`: since it was read; null: never. `problem`: why it cannot be read now."""

    registry: str
    freshness: Freshness
    age_s: float | None
    problem: str | None
    problem_since: str | None
    sites: list[SiteDocument]


def site_list_document(hub: Hub) -> SiteListDocument:
    """Write the sites of a hub."""
    sites: SiteList = hub.cache.list_sites()
    contacts, counts = hub.contacts(), hub.count_open()
    return SiteListDocument(
        registry=hub.cache.source,
        freshness=sites.freshness,
        age_s=None if sites.age_s is None else round(sites.age_s, 1),
        problem=sites.problem,
        problem_since=_moment(sites.problem_since_s),
        sites=[_document(site, contacts.get(site.name), counts.get(site.name, (0, 0))) for site in sites.sites],
    )


def _document(site: Site, contact: SiteContact | None, counts: tuple[int, int]) -> SiteDocument:
    return SiteDocument(
        name=site.name,
        url=site.url,
        benches=list(site.benches),
        state=SiteState.UNKNOWN if contact is None else contact.state,
        since=None if contact is None else _moment(contact.since_s),
        problem=None if contact is None else contact.problem,
        version=None if contact is None else contact.version,
        answered=None if contact is None else _moment(contact.answered_s),
        waiting=counts[0],
        running=counts[1],
    )


def _moment(time_s: float | None) -> str | None:
    if time_s is None:
        return None
    return f"{datetime.datetime.fromtimestamp(time_s, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"

"""Keep the list of sites up to date, and let each site carry out its tasks: what makes a service a hub."""

import logging
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus

from harness.client.client import Client
from harness.errors import HarnessError, RequestError
from harness.model.sites import Freshness, Site
from harness.service.problems import ServiceError
from harness.service.sites.contacts import SiteContact, SiteState, connect, read_secret
from harness.service.sites.site_cache import SiteCache, SiteList
from harness.service.sites.site_worker import DispatchContext, SiteWorker
from harness.store.site_tasks import list_sites_of

LOOK_EVERY_S = 1.0
_ENDS_WITHIN_S = 10.0
_log = logging.getLogger(__name__)


class Hub:
    """The sites of a service. `cache`: their list, with its age."""

    def __init__(self, cache: SiteCache, context: DispatchContext) -> None:
        self.cache, self._context = cache, context
        self._workers: dict[str, SiteWorker] = {}
        self._lock, self._ending = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hub", daemon=True)

    def start(self) -> None:
        """Begin to read the registry, and to follow the sites."""
        self._thread.start()

    def wake(self, site: str | None = None) -> None:
        """Look at a site now, or at all: a task was submitted or cancelled."""
        for name, worker in self._list_workers().items():
            if site in (None, name):
                worker.wake()

    def stop(self) -> None:
        """End. Tasks that run at sites go on there, and are followed again by the next hub."""
        self._ending.set()
        workers = self._list_workers().values()
        for worker in workers:
            worker.stop()
        give_up_at = time.monotonic() + _ENDS_WITHIN_S
        if self._thread.is_alive():
            self._thread.join(_ENDS_WITHIN_S)
        for worker in workers:
            worker.join(max(0.0, give_up_at - time.monotonic()))

    def sync(self) -> SiteList:
        """Read the registry now, and follow the sites that it names."""
        sites = self.cache.sync()
        self._follow_sites()
        self.wake()
        return sites

    def contacts(self) -> Mapping[str, SiteContact]:
        """Tell how the hub gets on with each site that it follows."""
        return {name: worker.contact for name, worker in self._list_workers().items()}

    def count_open(self) -> Mapping[str, tuple[int, int]]:
        """Count the tasks that wait and those that run, by site."""
        return self._context.tasks.count_open()

    def why_not_ready(self) -> str | None:
        """Say why new campaigns are not given to sites, if so."""
        sites = self.cache.list_sites()
        if sites.freshness is not Freshness.UNAVAILABLE:
            return None
        return f"there is no list of sites that counts: {sites.problem or 'the registry was not read yet'}"

    def choose_site(self, name: str | None, bench: str) -> str:
        """Choose the site that carries out a campaign: the named one, or one that has the bench.

        Of several, one that answers and has the fewest tasks. Raises ServiceError.
        """
        sites = self.cache.list_sites()
        if sites.freshness is Freshness.UNAVAILABLE:
            raise ServiceError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"no campaign is given to a site now: {self.why_not_ready()}",
                next_step="try again once GET /v1/sites says that the list is fresh or stale",
            )
        if name is not None:
            return _find_site(name, bench, sites).name
        able = [site for site in sites.sites if bench in site.benches]
        if not able:
            listed = "; ".join(f"{site.name}: {', '.join(site.benches)}" for site in sites.sites[:20])
            raise ServiceError(
                HTTPStatus.BAD_REQUEST,
                f"no site has the bench {bench}, and this service has it neither",
                next_step=f"benches of sites: {listed or 'none, since there is no site'}",
            )
        contacts, counts = self.contacts(), self.count_open()

        def rank(site: Site) -> tuple[bool, int, str]:
            return _is_away(contacts.get(site.name)), sum(counts.get(site.name, ())), site.name

        return min(able, key=rank).name

    def connect(self, name: str) -> Client:
        """Connect to a site by the last known list. Raises RequestError."""
        return connect(self._require(name), self._context.tokens.get(name), self._context.options)

    def find_address(self, name: str) -> tuple[str, str | None]:
        """Return the URL of a site, and the token for it. Raises RequestError."""
        site = self._require(name)
        return site.url, read_secret(site, self._context.tokens.get(name))

    def _require(self, name: str) -> Site:
        site = self.cache.list_sites().find(name)
        if site is None:
            raise RequestError(
                f"the registry has no site {name} any more",
                next_step="its runs that were imported are here; add it to the registry for the others",
            )
        return site

    def list_benches(self) -> list[str]:
        """List the benches of all sites, each once."""
        return list(dict.fromkeys(bench for site in self.cache.list_sites().sites for bench in site.benches))

    def _list_workers(self) -> dict[str, SiteWorker]:
        with self._lock:
            return dict(self._workers)

    def _watch(self) -> None:
        due_at = time.monotonic()
        while not self._ending.is_set():
            try:
                if time.monotonic() >= due_at:
                    due_at = time.monotonic() + self.cache.every_s
                    self.cache.sync()
                self._follow_sites()
            except HarnessError as error:
                _log.warning("the tasks of sites were not looked at: %s", error)
            except Exception:
                _log.exception("our fault: the sites were not looked at")
            self._ending.wait(LOOK_EVERY_S)

    def _follow_sites(self) -> None:
        """Start a worker for each site of the list, and for each that has open tasks; end those of neither."""
        listed = {site.name for site in self.cache.list_sites().sites}
        busy = set(list_sites_of(self._context.tasks.list_open()))
        with self._lock:
            if self._ending.is_set():
                return
            for name in sorted((listed | busy) - self._workers.keys()):
                self._workers[name] = SiteWorker(name, self._context)
                self._workers[name].start()
            for name in self._workers.keys() - listed - busy:
                self._workers.pop(name).stop()


def _find_site(name: str, bench: str, sites: SiteList) -> Site:
    site = sites.find(name)
    if site is None:
        near = ", ".join(each.name for each in sites.sites[:20]) or "none"
        raise ServiceError(
            HTTPStatus.BAD_REQUEST, f"there is no site {name!r} in the registry", next_step=f"sites: {near}"
        )
    if bench not in site.benches:
        raise ServiceError(
            HTTPStatus.BAD_REQUEST,
            f"site {name} has no bench {bench}",
            next_step=f"it has {', '.join(site.benches)}; without a site the campaign goes to one that has the bench",
        )
    return site


def _is_away(contact: SiteContact | None) -> bool:
    return contact is not None and contact.state in (SiteState.AWAY, SiteState.UNFIT)

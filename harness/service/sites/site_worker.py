"""Follow the tasks of one site in a thread of its own, so that a site that is away delays no other one."""

import datetime
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from harness.client.client import Client
from harness.client.failures import UnavailableError
from harness.client.service_connection import ConnectionOptions
from harness.errors import HarnessError
from harness.model.sites import Site
from harness.service.sites.contacts import SiteContact, SiteState, SiteToken, check_version, connect
from harness.service.sites.remote_task import ImportRun, carry_on
from harness.store.owners import OwnershipLostError
from harness.store.site_tasks import SiteTasks
from harness.store.task_lines import TaskLine

LOOK_EVERY_S = 1.0
"""How often the tasks of a site are looked at."""

IDLE_EVERY_S = 30.0
"""How often a site without tasks is asked whether it is there."""

KEPT_EVERY_S = 60.0
"""How often a site is asked what became of hosts that stayed there."""

LONGEST_PAUSE_S = 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchContext:
    """Shared by the workers of all sites. `find_site`: looks a site up in the last known list.

    `refresh_kept`: notes what a site tells of the hosts that stayed there.
    """

    tasks: SiteTasks
    find_site: Callable[[str], Site | None]
    tokens: Mapping[str, SiteToken]
    read_document: Callable[[str], str]
    import_run: ImportRun
    refresh_kept: Callable[[str, Client], None]
    options: ConnectionOptions


class SiteWorker:
    """Follows the tasks of the site `name`, whether it is in the list of sites or not."""

    def __init__(self, name: str, context: DispatchContext) -> None:
        self.name, self.contact = name, SiteContact(since_s=time.time())
        self._context = context
        self._ours: dict[str, int] = {}
        self._client: Client | None = None
        self._site: Site | None = None
        self._refreshed_at = 0.0
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"site {name}", daemon=True)

    def start(self) -> None:
        """Begin to follow the site."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the site now: a task was submitted or cancelled."""
        self._wake.set()

    def stop(self) -> None:
        """End; tasks that run at the site go on there."""
        self._ending.set()
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Wait for the end."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _watch(self) -> None:
        failures, idle_since_s = 0, 0.0
        while not self._ending.is_set():
            lines: list[TaskLine] = []
            try:
                lines = self._context.tasks.list_open(self.name)
                if lines or time.monotonic() - idle_since_s >= IDLE_EVERY_S or self._wake.is_set():
                    idle_since_s = time.monotonic()
                    self._wake.clear()
                    self.look(lines)
                failures = 0
            except UnavailableError as error:
                failures += 1
                self._suffer(SiteState.AWAY, str(error), lines)
            except HarnessError as error:
                failures += 1
                self._suffer(SiteState.UNFIT, str(error), lines)
            except Exception:
                failures += 1
                _log.exception("our fault: the tasks of site %s were not looked at", self.name)
            pause_s = min(LOOK_EVERY_S * 2 ** min(failures, 10), LONGEST_PAUSE_S) if failures else LOOK_EVERY_S
            self._wake.wait(pause_s)
        self._close()

    def look(self, lines: list[TaskLine]) -> None:
        """Look at the site once, and bring its tasks forward. Raises HarnessError for one that is away or unfit."""
        client, site = self._reach()
        version = client.version()
        check_version(site, version)
        self.contact = self.contact.change(SiteState.REACHABLE, version=version.version)
        for line in lines:
            if self._ending.is_set():
                return
            self._carry_on(line, client)
        if time.monotonic() - self._refreshed_at >= KEPT_EVERY_S:
            self._refreshed_at = time.monotonic()
            self._context.refresh_kept(self.name, client)

    def _carry_on(self, line: TaskLine, client: Client) -> None:
        tasks = self._context.tasks
        if self._ours.get(line.task) != line.attempt:
            claimed = tasks.claim(line.task)
            if claimed is None:
                return
            line = claimed
            self._ours[line.task] = line.attempt
        try:
            carry_on(line, client, tasks, self._context.read_document, self._context.import_run)
        except UnavailableError:
            raise
        except OwnershipLostError as error:
            self._ours.pop(line.task, None)
            _log.warning("%s", error)
        except HarnessError as error:
            self._note(line, f"site {self.name}: {error}")

    def _reach(self) -> tuple[Client, Site]:
        """Return a client of the site by the last known list. Raises RequestError where it has no such site."""
        site = self._context.find_site(self.name)
        if site is None:
            self._close()
            raise HarnessError(
                f"the registry has no site {self.name}", next_step="add it to the registry, or cancel its tasks"
            )
        if self._client is None or site != self._site:
            self._close()
            self._client, self._site = connect(site, self._context.tokens.get(self.name), self._context.options), site
        return self._client, site

    def _suffer(self, state: SiteState, problem: str, lines: list[TaskLine]) -> None:
        """Note that the site does not answer as it should, also at its tasks, which wait for it."""
        if state is not self.contact.state:
            _log.warning("site %s: %s", self.name, problem)
        self.contact = self.contact.change(state, problem=problem)
        self._close()  # the next look reads its token again
        since = datetime.datetime.fromtimestamp(self.contact.since_s, datetime.UTC)
        title = "is away" if state is SiteState.AWAY else "carries out nothing"
        for line in lines:
            self._note(line, f"site {self.name} {title} since {since:%Y-%m-%d %H:%M:%S} UTC: {problem}")

    def _note(self, line: TaskLine, problem: str) -> None:
        """Note at a task why it waits, where that is new."""
        if line.problem == problem:
            return
        with suppress(HarnessError):
            claimed = self._context.tasks.claim(line.task)
            if claimed is not None and claimed.problem != problem:
                self._ours[line.task] = claimed.attempt
                self._context.tasks.note_waiting(claimed, problem)

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

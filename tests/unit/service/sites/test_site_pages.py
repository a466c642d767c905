"""Pages of a hub: its sites, a campaign that is given to one, and its run while it goes on there."""

import html
import re

from harness.model.tasks import Scope, TaskState
from harness.store.task_lines import QueueLimits
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.servers.service import RunningService
from tests.unit.service.sites.conftest import wait_for
from tests.unit.service.test_pages import logged_in, post

LIMITS = QueueLimits(tasks=100, per_bench={})


def shown(page: str) -> str:
    """The text of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_sites_of_a_hub_are_listed(hub: RunningService, site: RunningService) -> None:
    with logged_in(hub, Scope.OPERATE) as client:
        wait_for(lambda: "reachable" in shown(client.get("/sites").text))
        text = shown(client.get("/sites").text)
        assert "It has no bench itself." in text
        assert re.search(r"rack7 http://127\.0\.0\.1:\d+ reachable since .* lab 0 0", text)
        assert post(client, "/sites/sync", "/sites").headers["location"] == "/sites"
    with logged_in(hub, Scope.READ) as client:
        assert "/sites/sync" not in client.get("/sites").text
        assert post(client, "/sites/sync", "/sites").status_code == 403


def test_a_site_that_is_gone_says_so_and_since_when(hub: RunningService, site: RunningService) -> None:
    with logged_in(hub, Scope.READ) as client:
        wait_for(lambda: "reachable" in shown(client.get("/sites").text))
        site.stop()
        wait_for(lambda: "away since" in shown(client.get("/sites").text))


def test_a_service_without_sites_says_so(file_service: RunningService) -> None:
    with logged_in(file_service, Scope.READ) as client:
        assert "There is none: each campaign is carried out here." in shown(client.get("/sites").text)


def test_a_run_at_a_site_is_seen_from_the_hub(hub: RunningService, site: RunningService) -> None:
    fields = {"form": "yaml", "document": "bench: lab\ninstance_types: [lab.phc]\n", "site": "rack7"}
    with logged_in(hub, Scope.SUBMIT) as client:
        assert "<option>rack7</option>" in client.get("/submit").text
        wrong = post(client, "/submit", "/submit", **{**fields, "site": "none"})
        assert (wrong.status_code, "there is no site" in wrong.text) == (400, True)
        task = post(client, "/submit", "/submit", **fields).headers["location"]
        assert "It waits for the site" in client.get(task).text
        line = wait_for(lambda: site.context.queue.claim(LIMITS))
        run = add_run(site.ledger, {"lab.phc": MadeUpHost(outcome=None)}, task=line.task, ended=False)
        wait_for(lambda: client.get(task).status_code == 303)
        assert client.get(task).headers["location"] == f"/runs/{run}"
        page = client.get(f"/runs/{run}")
        assert "It goes on at the site rack7" in shown(page.text)
        assert "lab.phc none yet waiting" in shown(page.text)
        assert f'data-follow="/v1/runs/{run}/events"' in page.text
        assert client.get("/runs/none").status_code == 404
    site.context.queue.finish(line, TaskState.CANCELLED)

"""A registry on a port of this machine, a site that a test leads, and hubs of it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.client.retries import RetryPolicy
from harness.model.tasks import Scope
from harness.service.context import ServiceContext
from harness.service.sites.contacts import SiteToken
from harness.service.sites.hub_metrics import HubCollector
from harness.service.sites.make_hub import HubOptions, make_hub
from tests.servers.service import RunningService, running_service


class RegistryServer:
    """Answers each GET with `status`, `headers` and `body`."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, b'{"sites": []}', {"Content-Type": "application/json"}
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # who asked has had enough
                    self.wfile.write(outer.body)

            def log_message(self, *_words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/sites.json"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    server = RegistryServer()
    yield server
    server.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RunningService]:
    """A site that carries nothing out by itself: a test does, in its ledger."""
    with running_service(f"sqlite:///{tmp_path / 'site.sqlite'}", tmp_path / "site") as running:
        yield running


@pytest.fixture
def registry_file(tmp_path: Path, site: RunningService) -> Path:
    """A registry that has the site as rack7, with the bench lab."""
    file = tmp_path / "sites.json"
    write_registry(file, rack7=(site.url, ["lab"]))
    return file


@pytest.fixture
def token_file(tmp_path: Path, site: RunningService) -> Path:
    """The token of the hub for the site."""
    file = tmp_path / "rack7.token"
    file.write_text(site.tokens[Scope.OPERATE] + "\n")
    return file


@pytest.fixture
def make_hub_service(
    tmp_path: Path, registry_file: Path, token_file: Path, quick_hub: None
) -> Callable[..., AbstractContextManager[RunningService]]:
    """Makes services that are hubs, on one ledger."""

    def make(**options: Any) -> AbstractContextManager[RunningService]:
        tokens = {"rack7": SiteToken(site="rack7", file=token_file)}
        chosen = HubOptions(**{"registry": str(registry_file), "tokens": tokens, "every_s": 0.2, **options})

        def add_hub(context: ServiceContext) -> ServiceContext:
            hub = make_hub(chosen, context.ledger, context.settings)
            context.metrics.registry.register(HubCollector(hub))
            return replace(context, hub=hub, optional_checks={"registry": hub.why_not_ready})

        return running_service(f"sqlite:///{tmp_path / 'hub.sqlite'}", tmp_path / "hub", change=add_hub, benches=())

    return make


@pytest.fixture
def hub(make_hub_service: Callable[..., AbstractContextManager[RunningService]]) -> Iterator[RunningService]:
    """A service that is a hub of the site, and has no bench itself."""
    with make_hub_service() as running:
        wait_for(lambda: running.get("/v1/sites").json()["freshness"] == "fresh")
        yield running


@pytest.fixture
def quick_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that looks often, and does not wait long."""
    monkeypatch.setattr("harness.service.sites.hub.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("harness.service.sites.site_worker.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("harness.service.sites.site_worker.LONGEST_PAUSE_S", 0.2)
    monkeypatch.setattr("harness.service.sites.site_worker.KEPT_EVERY_S", 0.1)
    monkeypatch.setattr("harness.service.sites.site_worker.IDLE_EVERY_S", 0.2)
    quick = RetryPolicy(deadline_s=1.0, answer_s=5.0, first_pause_s=0.02, longest_pause_s=0.1)
    monkeypatch.setattr("harness.service.sites.make_hub.RETRIES", quick)


def write_registry(file: Path, **sites: tuple[str, list[str]]) -> None:
    """Write a registry with these sites: URL and benches by name."""
    listed = [{"name": name, "url": url, "benches": benches} for name, (url, benches) in sites.items()]
    file.write_text(json.dumps({"sites": listed}))


def wait_for(condition: Callable[[], Any], *, seconds: float = 30.0) -> Any:
    """Wait until a condition holds; return what it gave."""
    give_up_at = time.monotonic() + seconds
    while not (got := condition()):
        assert time.monotonic() < give_up_at, "it did not come to pass"
        time.sleep(0.05)
    return got

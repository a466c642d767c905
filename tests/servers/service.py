"""Serve the API on this machine by the service's own server, in a thread of the tests, on a port of its own."""

import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from harness import wiring
from harness.model.tasks import Scope
from harness.service.context import ServiceContext, ServiceOptions
from harness.service.executor import Executor
from harness.service.server import Address, Certificate, listen, make_server
from harness.store.access_tokens import AccessTokens
from harness.store.ledger import Ledger
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from harness.system.settings import Settings, assets_dir

_STARTS_WITHIN_S = 30.0
_ENDS_WITHIN_S = 30.0

MakeExecutor = Callable[[TaskQueue, QueueLimits, Settings], Executor]
"""`cli.service_options.make_executor`, or what a test makes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """A service that answers at `url`. `tokens`: the secret of a token of each scope; `names`: the tokens' names."""

    url: str
    context: ServiceContext
    tokens: Mapping[Scope, str]
    names: Mapping[Scope, str]
    server: uvicorn.Server
    thread: threading.Thread

    @property
    def ledger(self) -> Ledger:
        """The ledger of the service itself."""
        return self.context.ledger

    def headers(self, scope: Scope | None = Scope.READ) -> dict[str, str]:
        """The header of a token of this scope; none without one."""
        return {} if scope is None else {"Authorization": f"Bearer {self.tokens[scope]}"}

    def client(self, scope: Scope | None = Scope.READ, **more: Any) -> httpx2.Client:
        """A client with a token of this scope. Close it, or use it in a `with` block."""
        headers = {**self.headers(scope), **more.pop("headers", {})}
        return httpx2.Client(base_url=self.url, headers=headers, **{"timeout": 60.0, "verify": False} | more)

    def get(self, path: str, scope: Scope | None = Scope.READ, **more: Any) -> httpx2.Response:
        """One GET by a client of its own."""
        with self.client(scope) as client:
            return client.get(path, **more)

    def post(self, path: str, scope: Scope | None = Scope.SUBMIT, **more: Any) -> httpx2.Response:
        """One POST by a client of its own."""
        with self.client(scope) as client:
            return client.post(path, **more)

    def begin_to_stop(self) -> None:
        """Do what a signal does to the service."""
        self.server.handle_exit(signal.SIGTERM, None)

    def stop(self) -> None:
        """Stop the service, and wait until it has ended."""
        self.begin_to_stop()
        self.thread.join(_ENDS_WITHIN_S)
        assert not self.thread.is_alive(), "the service did not end"


@contextmanager
def running_service(
    ledger_url: str,
    state_dir: Path,
    *,
    make_executor: MakeExecutor | None = None,
    change: Callable[[ServiceContext], ServiceContext] = lambda context: context,
    settings: Mapping[str, Any] | None = None,
    certificate: Certificate | None = None,
    proxies: tuple[str, ...] = (),
    **options: Any,
) -> Iterator[RunningService]:
    """Serve a ledger until the block ends. Several services may serve one ledger.

    `make_executor`: makes what carries out tasks; without it nothing does. `change`: replaces parts of the context,
    such as `make_bench` and `benches`. `settings` and `options`: fields of Settings and ServiceOptions.
    """
    folders = {"state_dir": state_dir, "cache_dir": state_dir / "cache", "assets_dir": assets_dir()}
    configuration = Settings(**{**folders, "ledger": ledger_url, **(settings or {})})
    ledger = Ledger(ledger_url)
    try:
        limits = options.pop("limits", QueueLimits(tasks=2, per_bench={"lab": 1}))
        executor = make_executor(TaskQueue(ledger), limits, configuration) if make_executor else None
        chosen = ServiceOptions(**{"limits": limits, "benches": ("lab", "ec2"), **options})
        context = change(wiring.service_context(configuration, chosen, ledger, executor))
        created = {scope: _create_token(AccessTokens(ledger.database), scope) for scope in Scope}
        with listen(Address(host="127.0.0.1", port=0)) as listening:
            server = make_server(context, executor=executor, certificate=certificate, proxies=proxies)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="service", daemon=True)
            service = RunningService(
                url=f"{'https' if certificate else 'http'}://{Address.of_socket(listening)}",
                context=context,
                tokens={scope: secret for scope, (_, secret) in created.items()},
                names={scope: name for scope, (name, _) in created.items()},
                server=server,
                thread=thread,
            )
            thread.start()
            try:
                _wait_for_start(server, thread)
                yield service
            finally:
                service.stop()
    finally:
        ledger.close()


def _create_token(tokens: AccessTokens, scope: Scope) -> tuple[str, str]:
    line, secret = tokens.create(f"{scope}-{secrets.token_hex(4)}", scope)
    return line.name, secret


def _wait_for_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    give_up_at = time.monotonic() + _STARTS_WITHIN_S
    while not server.started:
        assert thread.is_alive(), "the service ended at its start"
        assert time.monotonic() < give_up_at, "the service did not start"
        time.sleep(0.01)

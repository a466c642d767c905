"""Measure requests: how many, with which answer, and how long they took, by method and route.

A route is named by its template, such as `/v1/tasks/{task}`, never by the path of a request: so the number of labels is
that of the routes. Percentiles are of a window of the latest requests.
"""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.analysis.durations import DurationFigures, summarise_durations
from harness.service.methods import METHODS

WINDOW_S = 600.0
MOST_KEPT = 1000
"""Durations that are kept of each route, the latest."""

NO_ROUTE = "none"
_MOST_ROUTES = 500
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFigures:
    """The requests of one route since the service began, and the durations of the latest ones, s."""

    requests: int
    failures: int
    durations_s: DurationFigures


class RequestMetrics:
    """The figures of all requests. Threads share it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "ptp_harness_service_request"
        labels = ("method", "route")
        self._count = Counter(
            f"{prefix}s", "Requests, by the status of the answer.", (*labels, "status"), registry=registry
        )
        self._duration = Histogram(
            f"{prefix}_duration_seconds", "Time until the answer began.", labels, buckets=_BUCKETS_S, registry=registry
        )
        self.open = Gauge(f"{prefix}s_open", "Requests that are being answered, streams too.", registry=registry)
        self._lock = Lock()
        self._routes: dict[tuple[str, str], _Route] = {}

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request with its answer."""
        method = method if method in METHODS else "other"
        with self._lock:
            if (method, route) not in self._routes and len(self._routes) >= _MOST_ROUTES:
                route = NO_ROUTE
            kept = self._routes.setdefault((method, route), _Route())
            kept.requests += 1
            kept.failures += status >= 500
            kept.latest.append((time.monotonic(), seconds))
        self._count.labels(method, route, str(status)).inc()
        self._duration.labels(method, route).observe(seconds)

    def read(self) -> Mapping[tuple[str, str], RouteFigures]:
        """Return the figures of each method and route."""
        oldest = time.monotonic() - WINDOW_S
        with self._lock:
            kept = [(key, each.requests, each.failures, [*each.latest]) for key, each in sorted(self._routes.items())]
        return {
            key: RouteFigures(
                requests=requests,
                failures=failures,
                durations_s=summarise_durations([seconds for at, seconds in latest if at >= oldest]),
            )
            for key, requests, failures, latest in kept
        }


class _Route:
    """The requests of one route."""

    def __init__(self) -> None:
        self.requests = self.failures = 0
        self.latest: deque[tuple[float, float]] = deque(maxlen=MOST_KEPT)


class MeasureRequests:
    """Measures each request that passes."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it once its answer begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 0

        async def send_measured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start" and not status:
                status = message["status"]
                self._metrics.add(scope["method"], find_route(scope), status, time.perf_counter() - begun)
            await send(message)

        self._metrics.open.inc()
        try:
            await self._app(scope, receive, send_measured)
        finally:
            self._metrics.open.dec()
            if not status:  # it failed, or the client went away
                self._metrics.add(scope["method"], find_route(scope), 500, time.perf_counter() - begun)


def find_route(scope: Scope) -> str:
    """Find the template of the route that took a request; `none` where no route did."""
    route = scope.get("route")
    return str(getattr(route, "path", None) or NO_ROUTE)

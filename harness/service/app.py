"""Make the application: routes, errors as problems, a limit of bodies."""

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from harness import __version__
from harness.campaign.campaign_file import json_schema
from harness.service import (
    archive_routes,
    audit_routes,
    baseline_routes,
    event_routes,
    evidence_routes,
    health,
    kept_host_routes,
    metric_routes,
    problems,
    queue_routes,
    report_routes,
    run_routes,
    schedule_routes,
    task_routes,
    token_routes,
    type_routes,
    watch_routes,
)
from harness.service.answer_headers import AnswerHeaders
from harness.service.audit_trail import AuditChanges
from harness.service.authentication import Reader, TokenCache
from harness.service.context import ServiceContext
from harness.service.event_feed import EventFeed
from harness.service.open_access import SameMachine
from harness.service.openapi import describe_problems
from harness.service.pages.assembly import add_pages
from harness.service.problems import Problem, answer
from harness.service.readiness import make_looks
from harness.service.request_limits import AnswerDeadline, BodyLimit
from harness.service.request_metrics import MeasureRequests
from harness.service.sites import run_proxy, site_routes

DESCRIPTION = (
    "Which machines give a precision clock that can be trusted, how good is it, and if not, why? "
    "Every error is application/problem+json with a next step."
)

_ROUTES = (  # each request is matched with them in this order: the most frequent come first
    health,
    run_routes,
    task_routes,
    queue_routes,
    schedule_routes,
    event_routes,
    report_routes,
    evidence_routes,
    baseline_routes,
    kept_host_routes,
    type_routes,
    metric_routes,
    token_routes,
    audit_routes,
    archive_routes,
    site_routes,
    watch_routes,
)


def make_app(context: ServiceContext) -> FastAPI:
    """Make the application of a service."""
    app = FastAPI(
        title="PTP Harness",
        version=__version__,
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": Problem, "description": "A problem of the request"}, "5XX": {"model": Problem}},
    )
    app.state.context = context
    app.state.token_cache = TokenCache(context.tokens)
    app.state.event_feed = EventFeed(context.ledger, context.draining)
    app.state.readiness = make_looks(context)
    problems.add_handlers(app)
    run_proxy.add_handler(app)
    for module in _ROUTES:
        app.include_router(module.router)

    @app.get("/v1/campaign-schema", tags=["tasks"])
    def campaign_schema(_caller: Reader) -> dict[str, Any]:
        """Return the JSON schema of campaign files."""
        return json_schema()

    describe_problems(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(AnswerHeaders)
    app.add_middleware(NoNul)
    if context.options.is_open:
        app.add_middleware(SameMachine)
    app.add_middleware(AuditChanges, trail=context.trail)
    app.add_middleware(AnswerDeadline)
    app.add_middleware(MeasureRequests, metrics=context.metrics.requests)
    add_pages(app, context)
    return app


class NoNul:
    """Refuses addresses with a NUL, which no name has and no text of PostgreSQL may hold."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400."""
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            problem = Problem(title="Bad Request", status=400, detail="there is no address with a NUL in it")
            await answer(problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

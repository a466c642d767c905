"""Answer an error as a page where a browser asks for a page; programs get the problem as they always do."""

import inspect
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from harness.service.pages.rendering import render
from harness.service.pages.viewer import LoginNeededError

_FOR_PROGRAMS = ("/v1/", "/healthz", "/readyz", "/metrics", "/static/")

Handler = Callable[[Request, Any], Response | Awaitable[Response]]


def add_error_pages(app: FastAPI) -> None:
    """Let the handlers of an app's errors answer browsers with pages."""
    for kind, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(kind, _make_handler(handler))


def _make_handler(for_programs: Handler) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        made = for_programs(request, error)
        response = await made if inspect.isawaitable(made) else made
        return _make_page(request, error, response) if wants_page(request) else response

    return answer


def wants_page(request: Request) -> bool:
    """Whether a browser asks for a page."""
    return not request.url.path.startswith(_FOR_PROGRAMS) and "text/html" in request.headers.get("accept", "")


def _make_page(request: Request, error: Exception, response: Response) -> Response:
    if isinstance(error, LoginNeededError) and request.method in ("GET", "HEAD"):
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(path, safe='')}", status_code=HTTPStatus.SEE_OTHER)
    try:
        problem = json.loads(bytes(response.body))
    except ValueError:
        return response
    viewer = getattr(request.state, "viewer", None)  # nothing is looked up: the ledger may be what failed
    page = render(request, viewer, "error.html", status=response.status_code, problem=problem)
    for name in ("retry-after", "allow"):
        if name in response.headers:
            page.headers[name] = response.headers[name]
    return page

"""Keep browsers from being used against the service: by pages of others, and by content that would run.

A request that changes something is refused where the browser says that a page of another origin sends it. No answer may
run scripts of others, be shown within their pages, or be taken for another kind of content than it says.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.service.methods import CHANGES_NOTHING
from harness.service.problems import Problem, answer

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""The policy of pages of ours."""

_DATA_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
"""The policy of all other answers: a report of a run is styled, and what a host sent does nothing."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class BrowserGuards:
    """Refuses requests that pages of others send, and adds what browsers are to heed to each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif is_of_other_page(scope["method"], Headers(scope=scope)):
            next_step = "send it from a page of this service, or by a program with a token"
            detail = "a page of another site sent this request"
            problem = Problem(title="Forbidden", status=403, detail=detail, next_step=next_step)
            await answer(problem)(scope, receive, _guarded(send))
        else:
            await self._app(scope, receive, _guarded(send))


def is_of_other_page(method: str, headers: Headers) -> bool:
    """Whether a page of another origin sends a request that changes something. Old browsers tell the origin alone."""
    if method in CHANGES_NOTHING:
        return False
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _guarded(send: Send) -> Send:
    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Content-Security-Policy", _DATA_POLICY)
        await send(message)

    return send_guarded

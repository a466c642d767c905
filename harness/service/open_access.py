"""Guard a service that asks for no token against web pages that a browser on the same machine shows.

A page of another site can have the browser send requests to loopback, also under a name of its own (DNS rebinding).
"""

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from harness.service.problems import Problem, answer

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class SameMachine:
    """Refuses requests that name another host than loopback, and those that a page of another site sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] == "http":
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            if why := why_refused(headers.get(b"host", ""), headers.get(b"origin"), headers.get(b"sec-fetch-site")):
                next_step = "use http://127.0.0.1 or http://localhost, or start the service without --open"
                await answer(Problem(title="Forbidden", status=403, detail=why, next_step=next_step))(
                    scope, receive, send
                )
                return
        await self._app(scope, receive, send)


def why_refused(host: str, origin: str | None, fetch_site: str | None) -> str | None:
    """Say why a request is not of this machine's user, by its headers Host, Origin and Sec-Fetch-Site."""
    if not _is_loopback(f"//{host}"):
        return "this service serves this machine alone, and the request names another host"
    if origin is not None and urlsplit(origin).netloc != host:
        return "a page of another site sent this request"
    if fetch_site in ("cross-site", "same-site"):
        return "a page of another site sent this request"
    return None


def _is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in _LOOPBACK
    except ValueError:
        return False

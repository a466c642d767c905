"""Pass requests about a run that goes on at a site to the site: its hosts, events and evidence so far.

Only what reads is passed on, after the caller was found to have the scope for it; the site gets the token of the hub. A
site is trusted with its verdicts, and not with pages: whatever it answers runs no script in a browser.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from typing import Any

import httpx2
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from harness.errors import HarnessError
from harness.service.context import ServiceContext
from harness.service.problems import ServiceError, answer, make_problem
from harness.store.ledger_reader import UnknownRunError
from harness.store.site_tasks import SiteTasks
from harness.untrusted import names

_PATH = re.compile(rf"/v1/runs/({names.RUN})(/[\x21-\x7e]*)?")
_PASSED_ON = ("accept", "last-event-id", "range", "if-none-match")
_PASSED_BACK = (
    "content-type",
    "content-length",
    "content-range",
    "accept-ranges",
    "cache-control",
    "etag",
    "retry-after",
)
_INERT = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)  # a stream of events says each 15 s that it lives
_LOOKS_EVERY_S = 0.5


def add_handler(app: FastAPI) -> None:
    """Let an app answer requests about runs of sites, which its own ledger does not know yet."""
    app.exception_handler(UnknownRunError)(_answer_unknown_run)


async def _answer_unknown_run(request: Request, error: UnknownRunError) -> Response:
    context: ServiceContext = request.app.state.context
    match = _PATH.fullmatch(request.url.path)
    if context.hub is None or match is None or request.method != "GET":
        return answer(make_problem(error))
    try:
        site = await run_in_threadpool(SiteTasks(context.ledger).find_site, match[1])
        if site is None:
            return answer(make_problem(error))
        url, secret = await run_in_threadpool(context.hub.find_address, site)
        return await _pass_on(request, context, site, url, secret)
    except HarnessError as failure:
        return answer(make_problem(failure))


async def _pass_on(
    request: Request, context: ServiceContext, site: str, url: str, secret: str | None
) -> StreamingResponse:
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    headers["Accept-Encoding"] = "identity"
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    client = httpx2.AsyncClient(verify=_make_tls(), timeout=_TIMEOUT)
    try:
        target = client.build_request("GET", url + request.url.path, params=request.query_params, headers=headers)
        response = await client.send(target, stream=True)
    except httpx2.HTTPError as error:
        await client.aclose()
        raise ServiceError(
            HTTPStatus.BAD_GATEWAY,
            f"site {site}, where this run goes on, does not answer: {error or type(error).__name__}",
            next_step="try again; GET /v1/sites says since when it is away",
        ) from error
    if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        await response.aclose()
        await client.aclose()
        raise ServiceError(
            HTTPStatus.BAD_GATEWAY,
            f"site {site}, where this run goes on, refuses the token of this service",
            next_step="whoever runs the service renews the token for the site (--site-token)",
        )
    passed = {name: response.headers[name] for name in _PASSED_BACK if name in response.headers}
    content = _read(response, client, context)
    return StreamingResponse(content, status_code=response.status_code, headers={**passed, **_INERT})


async def _read(response: httpx2.Response, client: httpx2.AsyncClient, context: ServiceContext) -> AsyncIterator[bytes]:
    """Yield what the site answers, until its end, or until this service is to end."""
    chunks = response.aiter_raw()
    following: asyncio.Task[Any] | None = None
    try:
        while not context.draining.is_set():
            following = following or asyncio.ensure_future(anext(chunks, None))
            done, _ = await asyncio.wait([following], timeout=_LOOKS_EVERY_S)
            if not done:
                continue
            chunk, following = following.result(), None
            if chunk is None:
                return
            yield chunk
    except httpx2.HTTPError:
        return  # who reads this sees that it is cut
    finally:
        if following is not None:
            following.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await following
        await response.aclose()
        await client.aclose()


@cache
def _make_tls() -> ssl.SSLContext:
    return ssl.create_default_context()

"""Find who sends a request, by the token that it carries, and refuse what the token's scope does not include.

Each request asks for this. It is asynchronous, and leaves the event loop only for a token that is not remembered: a
dependency that is a plain function costs a change of threads.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from threading import Lock
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from harness.model.tasks import Scope
from harness.service.context import ServiceContext
from harness.service.problems import ServiceError
from harness.service.sessions import Session, Sessions
from harness.store.access_tokens import AccessTokens, TokenLine, digest_secret

ANYBODY = "anybody"
"""The name of whoever uses a service that asks for no token."""

_CHECKED_AGAIN_S = 2.0
_MOST_KNOWN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The sender of a request: the name of the token, its scope, and the client's address."""

    name: str
    scope: Scope
    address: str

    def may(self, scope: Scope) -> bool:
        """Whether the caller has this scope."""
        return self.scope.includes(scope)


class TokenCache:
    """Remembers the tokens of requests for two seconds: so long a revoked one is still served. Threads share it."""

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[float, TokenLine]] = OrderedDict()

    async def find(self, secret: str) -> TokenLine | None:
        """Find the token of a secret. One that is not known is looked up each time."""
        return await self._find(digest_secret(secret), lambda: self._tokens.find(secret))

    async def find_listed(self, token: str) -> TokenLine | None:
        """Find a token by its public name, as sessions have it."""
        return await self._find(token, lambda: self._tokens.find_listed(token))

    async def _find(self, key: str, look_up: Callable[[], TokenLine | None]) -> TokenLine | None:
        now = time.monotonic()
        with self._lock:
            known = self._known.get(key)
        if known is not None and now - known[0] < _CHECKED_AGAIN_S:
            return known[1]
        return await run_in_threadpool(self._look_up, key, look_up, now)

    def _look_up(self, key: str, look_up: Callable[[], TokenLine | None], now: float) -> TokenLine | None:
        line = look_up()
        if line is None:
            return None
        self._tokens.note_use(line)
        with self._lock:
            self._known[key] = (now, line)
            self._known.move_to_end(key)
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return line


def read_context(request: Request) -> ServiceContext:
    """Return what all requests share."""
    context: ServiceContext = request.app.state.context
    return context


async def _depend_on_context(request: Request) -> ServiceContext:
    return read_context(request)


Context = Annotated[ServiceContext, Depends(_depend_on_context)]


def client_address(request: Request) -> str:
    """Return the address of the client, without its port. uvicorn has applied what trusted proxies said."""
    return request.client.host if request.client else "unix"


async def _find_caller(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Caller:
    """Find who sends a request. Raises ServiceError (401) without a valid token.

    Whoever is logged in to the pages may read with that session. It changes nothing here: other pages cannot send a
    token, but a browser adds its cookies to whatever they send.
    """
    if credentials is not None:
        return make_caller(request, await identify(request, credentials.credentials))
    if read_context(request).options.is_open:
        return Caller(name=ANYBODY, scope=Scope.ADMIN, address=client_address(request))
    session = find_session(request) if request.method in ("GET", "HEAD") else None
    if session is not None:
        return make_caller(request, await identify_session(request, session))
    raise _unauthorised("no token was sent", "send the header Authorization: Bearer TOKEN")


async def identify(request: Request, secret: str) -> TokenLine:
    """Find the token of a secret. Raises ServiceError (401) unless it is valid."""
    cache: TokenCache = request.app.state.token_cache
    return _require_valid(await cache.find(secret))


async def identify_session(request: Request, session: Session) -> TokenLine:
    """Find the token of who is logged in. Raises ServiceError (401) unless it is valid."""
    cache: TokenCache = request.app.state.token_cache
    return _require_valid(await cache.find_listed(session.token))


def make_caller(request: Request, line: TokenLine) -> Caller:
    """Make the sender of a request that carries a token."""
    return Caller(name=line.name, scope=line.scope, address=client_address(request))


def came_by_https(request: Request) -> bool:
    """Whether the client's own request came by HTTPS: to the service, or to a trusted proxy, as uvicorn applied."""
    return request.url.scheme == "https"


def name_cookie(request: Request, kind: str = "session") -> str:
    """Name the cookie of a request's session, or one of another kind."""
    sessions: Sessions = request.app.state.sessions
    return sessions.cookie_name(secure=came_by_https(request), kind=kind)


def find_session(request: Request) -> Session | None:
    """Find the session that a request carries; None without a valid one."""
    sessions: Sessions = request.app.state.sessions
    value = request.cookies.get(name_cookie(request))
    return None if value is None else sessions.read(value)


def _require_valid(line: TokenLine | None) -> TokenLine:
    if line is None:
        raise _unauthorised("the token is not known", "ask an admin for one: ptp-harness token create NAME")
    if line.state != "valid":
        raise _unauthorised(f"the token {line.name!r} is {line.state}", "ask an admin for a new one")
    return line


class RequiredScope(HTTPBearer):
    """The dependency of routes that need a scope: finds the caller.

    It is the security scheme of the API's description too: a dependency of a dependency would take each request longer.
    Raises ServiceError: 401 without a token, else 403.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            auto_error=False, scheme_name=HTTPBearer.__name__, description="A token of `ptp-harness token create`."
        )
        self._scope = scope

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]  # FastAPI passes what it returns on
        """Find the caller of a request."""
        caller = await _find_caller(request, await super().__call__(request))
        request.state.caller = caller.name
        if not caller.may(self._scope):
            raise ServiceError(
                HTTPStatus.FORBIDDEN,
                f"the token {caller.name!r} has the scope {caller.scope}, and this needs {self._scope}",
                next_step=f"ask an admin for a token of scope {self._scope}",
            )
        return caller


Reader = Annotated[Caller, Depends(RequiredScope(Scope.READ))]
Submitter = Annotated[Caller, Depends(RequiredScope(Scope.SUBMIT))]
Operator = Annotated[Caller, Depends(RequiredScope(Scope.OPERATE))]
Admin = Annotated[Caller, Depends(RequiredScope(Scope.ADMIN))]


def _unauthorised(message: str, next_step: str) -> ServiceError:
    return ServiceError(HTTPStatus.UNAUTHORIZED, message, next_step=next_step, headers={"WWW-Authenticate": "Bearer"})

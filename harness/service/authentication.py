"""Find who sends a request, by the token that it carries, and refuse what the token's scope does not include."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from threading import Lock
from typing import Annotated

from fastapi import Depends, Request
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
_bearer = HTTPBearer(auto_error=False, description="A token of `ptp-harness token create`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request: the name of the token, its scope, and the client's address."""

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

    def find(self, secret: str) -> TokenLine | None:
        """Find the token of a secret. One that is not known is looked up each time."""
        return self._find(digest_secret(secret), lambda: self._tokens.find(secret))

    def find_listed(self, token: str) -> TokenLine | None:
        """Find a token by its public name, as sessions have it."""
        return self._find(token, lambda: self._tokens.find_listed(token))

    def _find(self, key: str, look_up: Callable[[], TokenLine | None]) -> TokenLine | None:
        now = time.monotonic()
        with self._lock:
            known = self._known.get(key)
        if known is not None and now - known[0] < _CHECKED_AGAIN_S:
            return known[1]
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


Context = Annotated[ServiceContext, Depends(read_context)]


def client_address(request: Request) -> str:
    """Return the address of the client, without its port. uvicorn has applied what trusted proxies said."""
    return request.client.host if request.client else "unix"


def read_caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> Caller:
    """Find who sends a request. Raises ServiceError (401) without a valid token.

    Whoever is logged in to the pages may read with that session. It changes nothing here: other pages cannot send a
    token, but a browser adds its cookies to whatever they send.
    """
    context, address = read_context(request), client_address(request)
    if credentials is not None:
        return identify(request, credentials.credentials)
    if context.options.is_open:
        return Caller(name=ANYBODY, scope=Scope.ADMIN, address=address)
    session = find_session(request) if request.method in ("GET", "HEAD") else None
    if session is not None:
        return identify_session(request, session)
    raise _unauthorised("no token was sent", "send the header Authorization: Bearer TOKEN")


def identify(request: Request, secret: str) -> Caller:
    """Find the bearer of a secret. Raises ServiceError (401) unless its token is valid."""
    cache: TokenCache = request.app.state.token_cache
    return _identify(request, cache.find(secret))


def identify_session(request: Request, session: Session) -> Caller:
    """Find who is logged in. Raises ServiceError (401) unless the token of the session is valid."""
    cache: TokenCache = request.app.state.token_cache
    return _identify(request, cache.find_listed(session.token))


def came_by_https(request: Request) -> bool:
    """Whether the client's own request came by HTTPS: to the service, or to a trusted proxy, as uvicorn applied."""
    return request.url.scheme == "https"


def find_session(request: Request) -> Session | None:
    """Find the session that a request carries; None without a valid one."""
    sessions: Sessions = request.app.state.sessions
    value = request.cookies.get(sessions.cookie_name(secure=came_by_https(request)))
    return None if value is None else sessions.read(value)


def _identify(request: Request, line: TokenLine | None) -> Caller:
    if line is None:
        raise _unauthorised("the token is not known", "ask an admin for one: ptp-harness token create NAME")
    if line.state != "valid":
        raise _unauthorised(f"the token {line.name!r} is {line.state}", "ask an admin for a new one")
    return Caller(name=line.name, scope=line.scope, address=client_address(request))


def require(scope: Scope) -> Callable[..., Caller]:
    """Make the dependency of routes that need a scope. It raises ServiceError: 401 without a token, else 403."""

    def check(request: Request, caller: Annotated[Caller, Depends(read_caller)]) -> Caller:
        request.state.caller = caller.name
        if not caller.may(scope):
            raise ServiceError(
                HTTPStatus.FORBIDDEN,
                f"the token {caller.name!r} has the scope {caller.scope}, and this needs {scope}",
                next_step=f"ask an admin for a token of scope {scope}",
            )
        return caller

    return check


Reader = Annotated[Caller, Depends(require(Scope.READ))]
Submitter = Annotated[Caller, Depends(require(Scope.SUBMIT))]
Operator = Annotated[Caller, Depends(require(Scope.OPERATE))]
Admin = Annotated[Caller, Depends(require(Scope.ADMIN))]


def _unauthorised(message: str, next_step: str) -> ServiceError:
    return ServiceError(HTTPStatus.UNAUTHORIZED, message, next_step=next_step, headers={"WWW-Authenticate": "Bearer"})

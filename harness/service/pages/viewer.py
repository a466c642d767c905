"""Find who looks at a page, and check that a form comes from one of our pages."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request

from harness.model.tasks import Scope
from harness.service.authentication import (
    ANYBODY,
    Caller,
    client_address,
    find_session,
    identify_session,
    make_caller,
    name_cookie,
    read_context,
)
from harness.service.problems import ServiceError
from harness.service.sessions import Session, Sessions

FORM_TOKEN = "form_token"
"""The name of the hidden field that each form has."""

_VISITOR = "visitor"
_NONCE_BYTES = 16
_MOST_FIELDS = 400
_MOST_FIELD_BYTES = 600_000


class LoginNeededError(ServiceError):
    """A page that needs a login."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED, "this page needs a login", next_step="log in with a token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Viewer of a page. `binding`: what the tokens of forms are bound to; `visitor`: a new cookie that holds it."""

    caller: Caller
    session: Session | None
    binding: str
    visitor: str | None

    def may(self, scope: str) -> bool:
        """Whether the viewer has this scope."""
        return self.caller.may(Scope(scope))


async def find_viewer(request: Request) -> Viewer | None:
    """Find who looks at a page; None without a session where one is needed."""
    session = find_session(request)
    if session is not None:
        try:
            caller = make_caller(request, await identify_session(request, session))
        except ServiceError:  # its token was revoked, or has expired
            return None
        return Viewer(caller=caller, session=session, binding=session.nonce, visitor=None)
    if not read_context(request).options.is_open:
        return None
    caller = Caller(name=ANYBODY, scope=Scope.ADMIN, address=client_address(request))
    return find_visitor(request, caller)


def find_visitor(request: Request, caller: Caller) -> Viewer:
    """Make the viewer of a page without a session: a cookie of its own binds its forms."""
    known = request.cookies.get(visitor_cookie(request))
    binding = known or secrets.token_hex(_NONCE_BYTES)
    return Viewer(caller=caller, session=None, binding=binding, visitor=None if known else binding)


def visitor_cookie(request: Request) -> str:
    """Name the cookie of viewers without a session."""
    return name_cookie(request, _VISITOR)


def get_sessions(request: Request) -> Sessions:
    """Return what signs sessions."""
    sessions: Sessions = request.app.state.sessions
    return sessions


async def read_viewer(request: Request) -> Viewer:
    """Find who looks at a page. Raises LoginNeededError without a session where one is needed."""
    viewer = await find_viewer(request)
    if viewer is None:
        raise LoginNeededError
    request.state.viewer = viewer
    return viewer


PageViewer = Annotated[Viewer, Depends(read_viewer)]
Form = Mapping[str, str]


async def read_form(request: Request) -> Form:
    """Read the fields of a form, the last of each name. Raises ServiceError (400) for one that is no form."""
    async with request.form(max_files=0, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES) as fields:
        return {name: value for name, value in fields.multi_items() if isinstance(value, str)}


def check_form(request: Request, viewer: Viewer, form: Form) -> None:
    """Check that a form comes from a page that this viewer got. Raises ServiceError (403)."""
    if not get_sessions(request).is_form_token(viewer.binding, form.get(FORM_TOKEN, "")):
        raise ServiceError(
            HTTPStatus.FORBIDDEN,
            "the form is not of a page that you got from here",
            next_step="go back, load the page again, and send it once more; cookies must be allowed",
        )


async def read_checked_form(request: Request, viewer: PageViewer, form: Annotated[Form, Depends(read_form)]) -> Form:
    """Read a form that comes from a page of ours."""
    check_form(request, viewer, form)
    return form


CheckedForm = Annotated[Form, Depends(read_checked_form)]


def require_scope(viewer: Viewer, scope: Scope) -> None:
    """Refuse what a viewer's scope does not include. Raises ServiceError (403)."""
    if not viewer.caller.may(scope):
        raise ServiceError(
            HTTPStatus.FORBIDDEN,
            f"the token {viewer.caller.name!r} has the scope {viewer.caller.scope}, and this needs {scope}",
            next_step=f"log in with a token of scope {scope}",
        )

"""Log in to the pages with a token, and log out."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from harness.model.tasks import Scope
from harness.service.auditing import write_audit
from harness.service.authentication import (
    ANYBODY,
    Caller,
    Context,
    came_by_https,
    client_address,
    identify,
    make_caller,
    name_cookie,
)
from harness.service.pages.rendering import render, set_cookie
from harness.service.pages.viewer import (
    CheckedForm,
    Form,
    PageViewer,
    check_form,
    find_visitor,
    get_sessions,
    read_form,
)
from harness.service.problems import ServiceError
from harness.service.sessions import LASTS_S
from harness.store.access_tokens import PREFIX

router = APIRouter(include_in_schema=False)

_MOST_CHARACTERS = 200


def _visitor(request: Request) -> Caller:
    return Caller(name=ANYBODY, scope=Scope.READ, address=client_address(request))


@router.get("/login")
def show_login(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """Show the form that asks for a token."""
    viewer = find_visitor(request, _visitor(request))
    return render(request, viewer, "login.html", next=own_path(next), mistake="", prefix=PREFIX)


@router.post("/login")
async def log_in(request: Request, context: Context, form: Annotated[Form, Depends(read_form)]) -> Response:
    """Begin a session of the bearer of a token."""
    viewer, target = find_visitor(request, _visitor(request)), own_path(form.get("next", "/"))
    check_form(request, viewer, form)
    try:
        line = await identify(request, form.get("token", "").strip()[:_MOST_CHARACTERS])
    except ServiceError as error:
        mistake = f"{error.message}; {error.next_step}"
        return render(request, viewer, "login.html", status=error.status, next=target, mistake=mistake, prefix=PREFIX)
    caller = make_caller(request, line)
    await run_in_threadpool(write_audit, context, caller, "session.begin", line.token, HTTPStatus.SEE_OTHER)
    response = RedirectResponse(target, status_code=HTTPStatus.SEE_OTHER)
    set_cookie(request, response, name_cookie(request), get_sessions(request).begin(line.token), lasts_s=LASTS_S)
    return response


@router.post("/logout")
def log_out(request: Request, context: Context, viewer: PageViewer, _form: CheckedForm) -> Response:
    """End a session."""
    if viewer.session is not None:
        get_sessions(request).end(viewer.session)
        write_audit(context, viewer.caller, "session.end", viewer.session.token, HTTPStatus.SEE_OTHER)
    response = RedirectResponse("/login", status_code=HTTPStatus.SEE_OTHER)
    secure = came_by_https(request)
    response.delete_cookie(name_cookie(request), path="/", secure=secure, httponly=True, samesite="lax")
    return response


def own_path(target: str) -> str:
    """Return the path if it is one of this service; else that of the first page. Browsers read `\\` as `/`."""
    is_own = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_own and "\\" not in target else "/"

"""Make the answer of a page from its template. Whatever a template writes is escaped, also what is invisible in it."""

import gzip
import time
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import jinja2
from fastapi import Request, Response
from markupsafe import Markup

from harness import __version__, units
from harness.report.html import markup, values
from harness.service.authentication import came_by_https
from harness.service.browser_guards import PAGE_POLICY
from harness.service.pages import page_values
from harness.service.pages.static_files import accepts_gzip, load_files
from harness.service.pages.viewer import FORM_TOKEN, Viewer, get_sessions, visitor_cookie
from harness.untrusted.plain_text import printable

_FOLDER = Path(__file__).parents[1] / "templates"
_LEAST_COMPRESSED = 1000
_VISITOR_LASTS_S = 30 * 86_400

PAGES: Mapping[str, tuple[str, str]] = {
    "overview": ("/", "Overview"),
    "runs": ("/runs", "Runs"),
    "compare": ("/compare", "Compare"),
    "kept": ("/kept", "Kept hosts"),
    "watch": ("/watch", "Watch"),
    "queue": ("/queue", "Queue"),
    "sites": ("/sites", "Sites"),
    "submit": ("/submit", "Submit"),
}
"""The pages that the head of each page leads to: address and title by name."""


def render(
    request: Request, viewer: Viewer | None, template: str, *, status: int = HTTPStatus.OK, page: str = "", **more: Any
) -> Response:
    """Make a page. `page`: its name in `PAGES`, where it has one; `more`: what its template needs."""
    text = render_text(request, viewer, template, page=page, **more)
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": PAGE_POLICY,
        "Vary": "Accept-Encoding, Cookie",
    }
    content = text.encode()
    if len(content) >= _LEAST_COMPRESSED and accepts_gzip(request):
        content = gzip.compress(content, 5, mtime=0)
        headers["Content-Encoding"] = "gzip"
    response = Response(content, status_code=status, media_type="text/html; charset=utf-8", headers=headers)
    if viewer is not None and viewer.visitor is not None:
        set_cookie(request, response, visitor_cookie(request), viewer.visitor, lasts_s=_VISITOR_LASTS_S, strict=True)
    return response


def render_text(request: Request, viewer: Viewer | None, template: str, **values_of_page: Any) -> str:
    """Render a template."""
    now_ns = time.time_ns()

    def hidden_token() -> Markup:
        """Write the hidden field by which a form proves that it is of this page."""
        token = "" if viewer is None else get_sessions(request).make_form_token(viewer.binding)
        return Markup('<input type="hidden" name="{}" value="{}">').format(FORM_TOKEN, token)

    return (
        _environment()
        .get_template(template)
        .render(
            viewer=viewer,
            hidden_token=hidden_token,
            now_ns=now_ns,
            age=lambda time_ns: page_values.age(time_ns, now_ns),
            **values_of_page,
        )
    )


def set_cookie(
    request: Request, response: Response, name: str, value: str, *, lasts_s: int, strict: bool = False
) -> None:
    """Set a cookie that scripts cannot read, and that pages of others cannot send with what they submit."""
    secure = came_by_https(request)
    site: Literal["strict", "lax"] = "strict" if strict else "lax"  # lax: links from elsewhere find one logged in
    response.set_cookie(name, value, max_age=lasts_s, path="/", secure=secure, httponly=True, samesite=site)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_make_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    addresses, _ = load_files()
    environment.globals |= {
        "static": addresses.__getitem__,
        "pages": PAGES,
        "version": __version__,
        "figure": page_values.figure,
        "moment": page_values.moment,
        "day": page_values.day,
        "clock": page_values.clock,
        "span": page_values.span,
        "duration": units.duration,
        "usd": units.usd,
        "ns": values.ns,
    }
    return environment


def _make_visible(value: object) -> object:
    """Escape what is invisible in a text. Pieces of the HTML report are markup already."""
    if isinstance(value, markup.Markup):
        return Markup(str(value))
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return printable(value)
    return value

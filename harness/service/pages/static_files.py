"""Serve the style and the scripts of the pages by names that change with their content: browsers keep them for good."""

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from harness.report.html.style import STYLE
from harness.service.problems import NotFoundError

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "static"
_UPLOT = ("vendor/uPlot.min.css", "vendor/uPlot.iife.min.js")
_BUNDLES: Mapping[str, Sequence[str]] = {
    "pages.css": (_UPLOT[0], "pages.css"),
    "pages.js": ("pages.js",),
    "plots.js": (_UPLOT[1], "pages.js", "plots.js"),
}
"""What each file that pages name is made of. The style begins with that of the HTML report."""

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_KEPT = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """A file as it is served: plain and compressed."""

    media_type: str
    content: bytes
    compressed: bytes


@cache
def load_files() -> tuple[Mapping[str, str], Mapping[str, StaticFile]]:
    """Load all files, once: the address of each by the name that templates use, and the files by what ends it."""
    addresses, files = {}, {}
    for name, parts in _BUNDLES.items():
        texts = [(FOLDER / part).read_text() for part in parts]
        content = "\n".join([*([STYLE] if name.endswith(".css") else []), *texts]).encode()
        stem, suffix = Path(name).stem, Path(name).suffix
        served = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
        addresses[name] = f"/static/{served}"
        files[served] = StaticFile(
            media_type=_TYPES[suffix], content=content, compressed=gzip.compress(content, 9, mtime=0)
        )
    return addresses, files


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
def send_file(name: str, request: Request) -> Response:
    """Send a file of the pages."""
    _, files = load_files()
    file = files.get(name)
    if file is None:
        raise NotFoundError("there is no such file of the pages", next_step="load the page again")
    headers = {"Cache-Control": _KEPT, "Vary": "Accept-Encoding"}
    if accepts_gzip(request):
        return Response(file.compressed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.media_type, headers=headers)


def accepts_gzip(request: Request) -> bool:
    """Whether the client takes answers that are compressed."""
    offered = [part.partition(";") for part in request.headers.get("accept-encoding", "").lower().split(",")]
    return any(name.strip() in ("gzip", "*") and parameter.strip() != "q=0" for name, _, parameter in offered)

"""Answer with a file or a part of it (RFC 9110, section 14), never in a form that a browser shows as a page."""

import os
import re
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from harness.service.problems import NotFoundError, ServiceError

INERT = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
"""Headers with which a browser neither guesses a type nor runs or loads anything."""

_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_BINARY = (".gz", ".parquet", ".npz", ".npy", ".qcow2")


def disposition(name: str) -> str:
    """Make the header by which a browser stores an answer as a file of this name, and does not show it."""
    return f"attachment; filename*=utf-8''{quote(name, safe='')}"


def answer_file(path: Path, request_headers: Mapping[str, str], *, sha256: str | None = None) -> Response:
    """Answer with a file: whole, the one range that is asked for, 304 or 416; several ranges get the whole file.

    A file that grows is answered as long as it was at first. Raises NotFoundError when it is gone.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    except OSError as error:
        raise NotFoundError(f"there is no file {path.name} any more", next_step="list the files again") from error
    facts = os.fstat(file.fileno())
    tag = f'"{sha256}"' if sha256 else f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
    binary = path.name.endswith(_BINARY)
    headers = {
        **INERT,
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition(path.name),
        "ETag": tag,
        "Last-Modified": formatdate(facts.st_mtime, usegmt=True),
    }
    if tag in request_headers.get("if-none-match", ""):
        file.close()
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    whole = range(facts.st_size)
    part = whole if request_headers.get("if-range", tag) != tag else _choose(request_headers.get("range"), whole)
    if part is None:
        file.close()
        raise ServiceError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"{path.name} has {facts.st_size} bytes, and the range begins behind them",
            next_step="ask for a range within them",
            headers={"Content-Range": f"bytes */{facts.st_size}"},
        )
    status = HTTPStatus.OK
    if part is not whole:
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{facts.st_size}"
    headers["Content-Length"] = str(len(part))
    media_type = "application/octet-stream" if binary else "text/plain; charset=utf-8"
    return StreamingResponse(_read(file, part), status_code=status, headers=headers, media_type=media_type)


def _choose(header: str | None, whole: range) -> range | None:
    """Choose what a Range header asks for; the whole of it for a header that is none; None: behind the end."""
    match = None if header is None else _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or not (match[1] or match[2]):
        return whole
    first, last = match[1], match[2]
    if not first:  # the last bytes
        part = range(max(0, whole.stop - int(last)), whole.stop)
    elif last and int(last) < int(first):
        return whole
    else:
        part = range(int(first), min(whole.stop, int(last) + 1) if last else whole.stop)
    return part if len(part) and part.start < whole.stop else None


def _read(file: BinaryIO, part: range) -> Iterator[bytes]:
    """Read a part of a file. A file that became shorter ends the answer: its length then tells that it is cut."""
    with file:
        file.seek(part.start)
        left = len(part)
        while left and (data := file.read(min(_CHUNK, left))):
            left -= len(data)
            yield data

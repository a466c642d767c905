"""Show a file of a host's evidence, its end first, or send it as it is."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from harness.runs.local_evidence import find_host_folder
from harness.runs.text_pages import read_part
from harness.service.authentication import Context
from harness.service.pages.addresses import host_path
from harness.service.pages.host_page import find_host
from harness.service.pages.rendering import render
from harness.service.pages.viewer import PageViewer
from harness.service.problems import NotFoundError
from harness.store.evidence_files import find_file

router = APIRouter(include_in_schema=False)

Byte = Annotated[int | None, Query(ge=0, le=2**53)]


@router.get("/runs/{run}/hosts/{host}/files/{name:path}")
def show_file(
    run: str,
    host: str,
    name: str,
    request: Request,
    viewer: PageViewer,
    context: Context,
    before: Byte = None,
    after: Byte = None,
    raw: Annotated[str | None, Query(pattern="^1$")] = None,
) -> Response:
    """Show a file, or send it. What a host wrote is never shown as anything but text."""
    line, of_host = find_host(run, host, context)
    folder = find_host_folder(line, of_host, context.settings)
    path = None if folder is None else find_file(folder.parent, f"{folder.name}/{name}")
    if path is None:
        raise NotFoundError("this file is not among the evidence on this machine", next_step="the host's page has all")
    if raw:
        file_name = f"{run}-{host}-{name.replace('/', '-')}"
        return FileResponse(path, media_type="application/octet-stream", filename=file_name)
    try:
        part = read_part(path, before=before, after=after)
    except OSError as error:
        raise NotFoundError(f"{name} cannot be read: {error.strerror}") from error
    address = f"{host_path(run, host)}/files/{quote(name)}"
    return render(
        request, viewer, "evidence.html", page="runs", line=line, host=of_host, name=name, part=part, address=address
    )

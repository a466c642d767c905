"""Show the audit log: who did what, when, from where, and with which answer."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from harness.service.authentication import Admin, Context
from harness.service.cursors import read_cursor, write_cursor
from harness.service.documents import Page, moment

router = APIRouter(prefix="/v1/audit", tags=["audit"])


class AuditDocument(BaseModel):
    """An entry of the audit log. `actor`: the name of a token, empty without one; `status`: of the answer."""

    number: int
    at: str
    actor: str
    address: str
    action: str
    object: str
    status: int


@router.get("")
def list_entries(
    context: Context,
    _caller: Admin,
    cursor: Annotated[str | None, Query(max_length=300, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Page[AuditDocument]:
    """List the entries of the audit log, the newest first."""
    before = None if cursor is None else int(str(read_cursor(cursor, (int,))[0]))
    lines = context.audit.list_lines(before=before, most=limit + 1)
    following = write_cursor(lines[limit - 1].number) if len(lines) > limit else None
    return Page(
        items=[
            AuditDocument(
                number=line.number,
                at=moment(line.at_ns) or "",
                actor=line.entry.actor,
                address=line.entry.address,
                action=line.entry.action,
                object=line.entry.object,
                status=line.entry.status,
            )
            for line in lines[:limit]
        ],
        next=following,
    )

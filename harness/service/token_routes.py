"""Access tokens over HTTP: list, create, revoke. A secret is in one answer, once."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from harness.campaign.fields import parse_duration_s
from harness.errors import RequestError
from harness.model.tasks import Scope
from harness.service.auditing import write_audit
from harness.service.authentication import Admin, Caller, Context
from harness.service.documents import Document, moment
from harness.service.problems import ServiceError
from harness.store.access_tokens import NAME, TokenLine
from harness.untrusted.input_checks import shorten_value

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])

Name = Annotated[str, Path(max_length=63)]


class TokenRequest(Document):
    """A token to create. `expires`: how long it is valid, such as 90d; null: until it is revoked."""

    name: Annotated[str, Field(pattern=f"^(?:{NAME})$")]
    scope: Scope = Scope.SUBMIT
    expires: Annotated[str | None, Field(max_length=32, examples=["90d", "8h"])] = None


class TokenDocument(BaseModel):
    """A token, without its secret."""

    name: str
    scope: Scope
    state: Literal["valid", "expired", "revoked"]
    created: str
    created_by: str
    expires: str | None
    revoked: str | None
    last_used: str | None


class CreatedToken(TokenDocument):
    """A token that was created just now. `secret`: what its bearer sends; nobody can read it again."""

    secret: str


class TokenList(BaseModel):
    """All tokens, in the order of their creation, also those that expired or were revoked."""

    items: list[TokenDocument]


@router.get("")
def list_tokens(context: Context, _caller: Admin) -> TokenList:
    """List all tokens, without their secrets."""
    return TokenList(items=[_document(line) for line in context.tokens.list_lines()])


@router.post("", status_code=HTTPStatus.CREATED)
def create_token(request: TokenRequest, response: Response, context: Context, caller: Admin) -> CreatedToken:
    """Create a token. Its scope is no larger than that of the caller."""
    refuse_elevation(caller, request.scope)
    expires_s = None if request.expires is None else _parse_s(request.expires)
    line, secret = context.tokens.create(request.name, request.scope, expires_s=expires_s, by=caller.name)
    write_audit(context, caller, "token.create", f"{line.name} {line.scope}", HTTPStatus.CREATED)
    response.headers["Cache-Control"] = "no-store"
    return CreatedToken(**_document(line).model_dump(), secret=secret)


@router.delete("/{name}")
def revoke_token(name: Name, context: Context, caller: Admin) -> TokenDocument:
    """Revoke a token. Services refuse it within two seconds; tasks that it submitted stay."""
    line = context.tokens.revoke(name)
    write_audit(context, caller, "token.revoke", line.name, HTTPStatus.OK)
    return _document(line)


def refuse_elevation(caller: Caller, scope: Scope) -> None:
    """Raise ServiceError (403) where a token would have more rights than who creates it."""
    if not caller.may(scope):
        raise ServiceError(
            HTTPStatus.FORBIDDEN,
            f"the token {caller.name!r} has the scope {caller.scope}, and gives no token the scope {scope}",
            next_step=f"ask somebody with the scope {scope}",
        )


def _parse_s(text: str) -> float:
    try:
        return parse_duration_s(text)
    except (ValueError, OverflowError) as error:
        raise RequestError(
            f"expires is {shorten_value(text)}: it must be a duration such as 8h or 90d", next_step="leave it out"
        ) from error


def _document(line: TokenLine) -> TokenDocument:
    return TokenDocument(
        name=line.name,
        scope=line.scope,
        state=line.state,
        created=moment(line.created_ns) or "",
        created_by=line.created_by,
        expires=moment(line.expires_ns),
        revoked=moment(line.revoked_ns),
        last_used=moment(line.last_used_ns),
    )

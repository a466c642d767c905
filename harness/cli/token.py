"""`token`: the access tokens of the service."""

from typing import Annotated

import typer

from harness import units, wiring
from harness.campaign.query_values import parse_duration_within_s
from harness.cli import output
from harness.errors import RequestError
from harness.model.tasks import Scope
from harness.report.table import align_rows
from harness.store.access_tokens import LONGEST_S, SHORTEST_S, AccessTokens, TokenLine
from harness.system import settings
from harness.untrusted.input_checks import shorten_value

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whom it is for: ada, ci-main, site-rack7.")]


def create(
    name: Name,
    scope: Annotated[Scope, typer.Option(help="What its bearer may do; each scope includes those before it.")] = (
        Scope.SUBMIT
    ),
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="90d", help="How long it is valid (default: until revoked).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Create an access token, and print it once.

    The ledger keeps a digest of it alone: nobody can read it again. Whoever has it may do what its scope says: read;
    submit campaigns and cancel own ones; operate, which also cancels those of others, and keeps and releases hosts; and
    admin, which also makes tokens.

    Examples:
        ptp-harness token create ada
        ptp-harness token create ci-main --scope submit --expires 90d
        ptp-harness token create root --scope admin
    """
    tokens = AccessTokens(wiring.ledger(settings.load()).database)
    line, secret = tokens.create(name, scope, expires_s=None if expires is None else _parse_expiry_s(expires))
    if json:
        output.emit(_document(line) | {"secret": secret})
    else:
        output.show(secret)
        until = (
            "it is revoked" if line.expires_ns is None else f"{units.utc_moment(line.expires_ns):%Y-%m-%d %H:%M} UTC"
        )
        output.say(f"the token {name} has the scope {scope} until {until}; it is not shown again")


def list_tokens(json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False) -> None:
    """List the access tokens, without their secrets.

    Examples:
        ptp-harness token list
        ptp-harness token list --json
    """
    lines = AccessTokens(wiring.ledger(settings.load()).database).list_lines()
    if json:
        output.emit([_document(line) for line in lines])
    elif lines:
        head = ("NAME", "SCOPE", "STATE", "CREATED", "BY", "EXPIRES", "LAST USED")
        output.show("\n".join(align_rows([head, *map(_row, lines)])))
    else:
        output.say("no tokens yet; `ptp-harness token create NAME` makes one")


def revoke(name: Name) -> None:
    """Revoke an access token.

    Services refuse it within two seconds. Tasks that it submitted stay.

    Examples:
        ptp-harness token revoke ci-main
    """
    line = AccessTokens(wiring.ledger(settings.load()).database).revoke(name)
    output.say(f"the token {line.name} is revoked")


def _parse_expiry_s(text: str) -> float:
    try:
        return parse_duration_within_s(text, SHORTEST_S, LONGEST_S)
    except ValueError as error:
        raise RequestError(
            f"--expires is {shorten_value(text)}: a token is valid from 1 minute to 10 years, such as 8h or 90d",
            next_step="`ptp-harness token create --help`",
        ) from error


def _row(line: TokenLine) -> tuple[str, ...]:
    times = (line.expires_ns, line.last_used_ns)
    expires, used = ("-" if time is None else f"{units.utc_moment(time):%Y-%m-%d %H:%M}" for time in times)
    created = f"{units.utc_moment(line.created_ns):%Y-%m-%d %H:%M}"
    return line.name, line.scope, line.state, created, line.created_by, expires, used


def _document(line: TokenLine) -> dict[str, object]:
    return {
        "name": line.name,
        "scope": line.scope,
        "state": line.state,
        "created": _moment(line.created_ns),
        "created_by": line.created_by,
        "expires": _moment(line.expires_ns),
        "revoked": _moment(line.revoked_ns),
        "last_used": _moment(line.last_used_ns),
    }


def _moment(time_ns: int | None) -> str | None:
    return None if time_ns is None else f"{units.utc_moment(time_ns):%Y-%m-%dT%H:%M:%SZ}"

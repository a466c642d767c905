"""Define the options of `serve` that make it a hub: the registry of its sites, and the tokens for them."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from harness.campaign.query_values import parse_duration_within_s
from harness.errors import RequestError
from harness.untrusted.input_checks import shorten_value

if TYPE_CHECKING:
    from harness.service.sites.make_hub import HubOptions

Registry = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL|FILE|ledger",
        help="The list of sites to which campaigns are given; without --bench all of them are.",
    ),
]
RegistryEvery = Annotated[str, typer.Option("--registry-every", metavar="60s", help="How often the registry is read.")]
SiteTokens = Annotated[
    list[str] | None,
    typer.Option(
        "--site-token",
        metavar="NAME[@HOST]=FILE",
        help="A file with the token for a site, which goes to HOST alone; may be repeated.",
    ),
]

_SHORTEST_S, _LONGEST_S = 1.0, 86400.0


def make_hub_options(registry: str | None, every: str, site_tokens: Sequence[str] | None) -> "HubOptions | None":
    """Make the options of a hub; None for a service without sites. Raises RequestError."""
    from harness.client.addresses import ALLOW_PLAIN_HTTP
    from harness.service.sites.contacts import SiteToken
    from harness.service.sites.make_hub import HubOptions

    if registry is None:
        if site_tokens:
            raise RequestError("--site-token goes with --registry", next_step="--registry URL, FILE or ledger")
        return None
    tokens = [SiteToken.parse(text) for text in site_tokens or ()]
    return HubOptions(
        registry=registry,
        every_s=_parse_every_s(every),
        tokens={token.site: token for token in tokens},
        allow_plain_http=os.environ.get(ALLOW_PLAIN_HTTP) == "1",
    )


def _parse_every_s(text: str) -> float:
    try:
        return parse_duration_within_s(text, _SHORTEST_S, _LONGEST_S)
    except ValueError as error:
        raise RequestError(
            f"--registry-every is {shorten_value(text)}: it must be a duration from 1s to 1d",
            next_step="such as --registry-every 60s",
        ) from error

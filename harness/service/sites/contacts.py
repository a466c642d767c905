"""Tell how a hub gets on with a site: when it answered last, and if it does not, since when and why."""

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from harness.client.client import Client
from harness.client.service_connection import ConnectionOptions
from harness.client.task_views import ServiceVersion
from harness.errors import RequestError
from harness.model.sites import Site
from harness.system.token_files import read_token

SITE_SCHEMA = 1
"""The version of what a hub asks of a site; `/v1/info` of a site tells its own."""


class SiteState(StrEnum):
    """Whether a site carries out campaigns. `UNFIT`: it answers, but refuses the hub, or is of another version."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    AWAY = "away"
    UNFIT = "unfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteContact:
    """The state of a site, as a hub knows it. Times are s since the epoch; `since_s`: since when that is so."""

    state: SiteState = SiteState.UNKNOWN
    since_s: float
    problem: str | None = None
    version: str | None = None
    answered_s: float | None = None

    def change(
        self, state: SiteState, *, problem: str | None = None, version: str | None = None, now_s: float | None = None
    ) -> "SiteContact":
        """Make the contact after one more look at the site."""
        now_s = time.time() if now_s is None else now_s
        return SiteContact(
            state=state,
            since_s=self.since_s if state is self.state else now_s,
            problem=problem,
            version=version or self.version,
            answered_s=now_s if state is not SiteState.AWAY else self.answered_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteToken:
    """A file with the token for a site. `host`: the only one to which it is sent; None: where the registry says."""

    site: str
    file: Path
    host: str | None = None

    @classmethod
    def parse(cls, text: str) -> "SiteToken":
        """Parse NAME=FILE or NAME@HOST=FILE. Raises RequestError."""
        target, equals, file = text.partition("=")
        name, _, host = target.partition("@")
        if not (name and equals and file) or target.endswith("@"):
            raise RequestError(
                f"--site-token is {text!r}: it must be NAME=FILE, or NAME@HOST=FILE",
                next_step="such as rack7@rack7.example.org=/etc/ptp-harness/rack7.token",
            )
        return cls(site=name, file=Path(file), host=host or None)


def connect(site: Site, token: SiteToken | None, options: ConnectionOptions) -> Client:
    """Connect to a site. Raises RequestError for one whose token is not there, or not for this host."""
    return Client(site.url, read_secret(site, token), options)


def read_secret(site: Site, token: SiteToken | None) -> str | None:
    """Read the token for a site; None for one without. Raises RequestError where it is not for this host."""
    if token is None:
        return None
    host = urlsplit(site.url).hostname
    if token.host is not None and host != token.host:
        raise RequestError(
            f"site {site.name} is at {host} by the registry, and its token is for {token.host} alone",
            next_step="correct the registry, or start the service with --site-token for that host",
        )
    return read_token(token.file)


def check_version(site: Site, version: ServiceVersion) -> None:
    """Refuse a site that does not know what a hub asks. Raises RequestError."""
    schema = version.schemas.get("site", 0)
    if schema == SITE_SCHEMA:
        return
    older, newer = ("older", "site") if schema < SITE_SCHEMA else ("newer", "hub")
    raise RequestError(
        f"site {site.name} is of the {older} version {version.version}, whose schema `site` is {schema} and not "
        f"{SITE_SCHEMA}",
        next_step=f"upgrade ptp-harness at the {newer}",
    )

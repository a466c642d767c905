"""Decide where a submitted campaign is carried out: by the service itself, or by a site."""

from collections.abc import Sequence
from http import HTTPStatus

from harness.service.context import ServiceContext
from harness.service.problems import ServiceError


def list_offered_benches(context: ServiceContext) -> Sequence[str]:
    """List the benches that campaigns may use: those of the service, then those of its sites."""
    elsewhere = [] if context.hub is None else context.hub.list_benches()
    return list(dict.fromkeys([*context.options.benches, *elsewhere]))


def assign_site(context: ServiceContext, name: str | None, bench: str) -> str | None:
    """Return the site that carries out a campaign; None for the service itself.

    `name`: the site that the campaign names. Without one it is the service itself, if it has the bench. Raises
    ServiceError where there is no such site, or none that has the bench.
    """
    if name is None and bench in context.options.benches:
        return None
    if context.hub is not None:
        return context.hub.choose_site(name, bench)
    if name is None:
        return None  # the check of the campaign has named the benches that there are
    raise ServiceError(
        HTTPStatus.BAD_REQUEST,
        f"there is no site {name!r}: this service carries out its campaigns itself",
        next_step="leave the site out",
    )

"""Make the task of a campaign that somebody submits, or that a schedule submits for them: checked in the same way."""

from http import HTTPStatus

from harness.campaign.campaign import Campaign
from harness.service.context import ServiceContext
from harness.service.problems import ServiceError
from harness.service.sites.assignment import assign_site, list_offered_benches
from harness.service.submission import make_task, read_campaign
from harness.store.task_lines import NewTask, TaskLine


def refuse_while_stopping(context: ServiceContext) -> None:
    """Raise ServiceError (503) once the service is being stopped: another one takes the request."""
    if context.draining.is_set():
        raise ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "the service is being stopped", next_step="try again soon")


def check_campaign(text: str, context: ServiceContext, *, site: str | None = None) -> Campaign:
    """Parse and check a campaign for this service, or for a site. Raises MistakesError, RequestError, ServiceError."""
    requested, _ = _check_and_assign(text, context, site)
    return requested


def _check_and_assign(text: str, context: ServiceContext, site: str | None) -> tuple[Campaign, str | None]:
    """Check a campaign; return it with the site that is to carry it out, None for this service itself."""
    options = context.options
    requested = read_campaign(
        text,
        benches=context.benches,
        own=options.benches,
        offered=list_offered_benches(context),
        hosts_allowed=options.hosts_allowed,
    )
    return requested, assign_site(context, site, requested.bench)


def prepare_task(
    text: str,
    context: ServiceContext,
    *,
    submitter: str,
    priority: int = 0,
    site: str | None = None,
    idempotency_key: str | None = None,
    schedule: str | None = None,
) -> NewTask:
    """Check a campaign, and make its task. Raises what `check_campaign` raises."""
    requested, assigned = _check_and_assign(text, context, site)
    return make_task(
        text,
        requested,
        submitter=submitter,
        priority=priority,
        requested_site=site,
        site=assigned,
        idempotency_key=idempotency_key,
        schedule=schedule,
        typical_s=context.durations.find_s(requested.bench, requested.instance_types),
    )


def wake(context: ServiceContext, line: TaskLine) -> None:
    """Let a task that was submitted or cancelled be looked at now, by this service or by the site of the task."""
    if line.site is None:
        context.wake()
    elif context.hub is not None:
        context.hub.wake(line.site)

"""Submit a campaign by a form, or as YAML in an editor that shows mistakes at their lines."""

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from harness import units
from harness.campaign.mistakes import MistakesError
from harness.campaign.run_plan import estimate_run_s
from harness.errors import HarnessError, RequestError
from harness.model.tasks import Scope
from harness.service.authentication import Context
from harness.service.context import ServiceContext
from harness.service.documents import Submission
from harness.service.pages.campaign_form import FormField, find_field, make_groups, write_campaign
from harness.service.pages.rendering import render
from harness.service.pages.viewer import CheckedForm, Form, PageViewer, Viewer, require_scope
from harness.service.problems import ServiceError, status_of
from harness.service.schedule_documents import ScheduleRequest
from harness.service.schedule_routes import add_schedule
from harness.service.sites.assignment import list_offered_benches
from harness.service.task_making import check_campaign
from harness.service.task_routes import submit_campaign
from harness.untrusted.input_checks import show_path

router = APIRouter(include_in_schema=False)

EXAMPLE = "bench: lab\ninstance_types: [lab.phc]\ndepth: standard\n"
_LINE = re.compile(r"campaign\.yaml:(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMistake:
    """A mistake as a page shows it: at its line of the YAML, with that line's text, and at its field of the form."""

    message: str
    key: str = ""
    line: int | None = None
    text: str = ""
    field: FormField | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitPage:
    """Contents of the page. `as_yaml`: the editor is shown, else the form. `checked`: what a good campaign would do."""

    as_yaml: bool
    document: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    mistakes: tuple[ShownMistake, ...] = ()
    next_step: str = ""
    checked: str = ""
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    status: int = 200

    def has_wrong(self, fields: Iterable[FormField]) -> bool:
        """Whether one of these fields has a mistake."""
        return any(each.name in self.by_field for each in fields)

    @property
    def by_field(self) -> dict[str, list[str]]:
        """The mistakes of each field of the form, by its name."""
        found: dict[str, list[str]] = {}
        for mistake in self.mistakes:
            if mistake.field is not None:
                found.setdefault(mistake.field.name, []).append(mistake.message)
        return found


@router.get("/submit")
def show_form(
    request: Request,
    viewer: PageViewer,
    context: Context,
    form: Annotated[str | None, Query(pattern="^(yaml|fields)$")] = None,
    task: Annotated[str | None, Query(max_length=16)] = None,
) -> Response:
    """Show the form, or the editor with the campaign of a task."""
    require_scope(viewer, Scope.SUBMIT)
    document = EXAMPLE if task is None else context.queue.document(task)
    return _show(SubmitPage(as_yaml=form == "yaml" or task is not None, document=document), request, viewer, context)


@router.post("/submit")
def submit(request: Request, viewer: PageViewer, context: Context, form: CheckedForm) -> Response:
    """Check a campaign, show it as YAML, or submit it, as the button says that was pressed."""
    require_scope(viewer, Scope.SUBMIT)
    as_yaml, action = form.get("form") == "yaml", form.get("do", "submit")
    document = form.get("document", "").replace("\r\n", "\n") if as_yaml else write_campaign(form)
    page = SubmitPage(
        as_yaml=as_yaml, document=document, values=form, key=form.get("key", "")[:64] or secrets.token_hex(16)
    )
    if action == "write":
        return _show(SubmitPage(as_yaml=True, document=document or EXAMPLE), request, viewer, context)
    try:
        if action == "check":
            checked = _describe_plan(document, context, site=form.get("site") or None)
            return _show(replace(page, checked=checked), request, viewer, context)
        priority = _read_priority(form.get("priority", ""))
        if action == "schedule":
            _add_schedule(form, document, priority, viewer, context)
            return RedirectResponse("/queue#schedules", status_code=303)
        submission = Submission(campaign=document, priority=priority, site=form.get("site") or None)
        line, _ = submit_campaign(submission, context, viewer.caller, page.key)
    except ValidationError as error:
        wrong = tuple(ShownMistake(message=_describe(each)) for each in error.errors())
        return _show(replace(page, mistakes=wrong, status=422), request, viewer, context)
    except (RequestError, ServiceError) as error:
        wrong = tuple(_list_mistakes(error, document))
        changed = replace(page, mistakes=wrong, next_step=_next_step(error), status=int(status_of(error)))
        return _show(changed, request, viewer, context)
    return RedirectResponse(f"/tasks/{line.task}", status_code=303)


def _show(page: SubmitPage, request: Request, viewer: Viewer, context: ServiceContext) -> Response:
    lines = page.document.count("\n") + 1
    return render(
        request,
        viewer,
        "submit.html",
        page="submit",
        status=page.status,
        submit=page,
        groups=[group for group in make_groups() if group.path[:1] != ("limits",) or len(group.path) == 1],
        limits=[group for group in make_groups() if group.path[:1] == ("limits",) and len(group.path) == 2],
        benches=list_offered_benches(context),
        sites=[] if context.hub is None else [site.name for site in context.hub.cache.list_sites().sites],
        lines=range(1, lines + 1),
        wrong_lines={mistake.line for mistake in page.mistakes},
    )


def _add_schedule(form: Form, document: str, priority: int, viewer: Viewer, context: ServiceContext) -> None:
    """Add a schedule of the campaign. Raises ValidationError, RequestError and ServiceError."""
    require_scope(viewer, Scope.OPERATE)
    wish = ScheduleRequest(
        name=form.get("schedule", "").strip(),
        cron=form.get("cron", "").strip(),
        zone=form.get("zone", "").strip() or "UTC",
        campaign=document,
        priority=priority,
        site=form.get("site") or None,
    )
    add_schedule(wish, Response(), context, viewer.caller)


_FIELDS = {"campaign": "the campaign", "name": "the name of the schedule", "cron": "the cron expression"}


def _describe(error: Any) -> str:
    """Describe what is wrong with a part of a submission."""
    name = str(error["loc"][0])
    what = _FIELDS.get(name, name)
    match error["type"]:
        case "string_too_short":
            return f"{what} is empty or too short"
        case "string_too_long":
            return f"{what} is too long"
        case _:
            return f"{what} is not one: small letters, digits, and . _ - behind the first"


def _read_priority(text: str) -> int:
    try:
        priority = int(text or 0)
    except ValueError:
        priority = 101
    if not -100 <= priority <= 100:
        raise RequestError("the priority is no whole number from -100 to 100", next_step="leave it empty")
    return priority


def _describe_plan(document: str, context: ServiceContext, *, site: str | None) -> str:
    """Check a campaign and say what it would do. Raises RequestError and ServiceError."""
    requested = check_campaign(document, context, site=site)
    typical_s = context.durations.find_s(requested.bench, requested.instance_types)
    taken_s, count = estimate_run_s(requested, typical_s), len(requested.instance_types)
    hosts = "the types that `select` selects" if requested.select else f"{count} host{'s' if count > 1 else ''}"
    return f"{hosts} on {requested.bench}, depth {requested.depth}, about {units.duration(taken_s)}"


def _list_mistakes(error: HarnessError, document: str) -> list[ShownMistake]:
    lines = document.split("\n")
    if isinstance(error, MistakesError) and error.mistakes:
        return [
            ShownMistake(
                message=message,
                key=show_path(path),
                line=line,
                text=lines[line - 1] if line is not None and 0 < line <= len(lines) else "",
                field=find_field(path),
            )
            for line, path, message in error.mistakes
        ]
    place = _LINE.search(error.message)
    number = int(place[1]) if place else None
    text = lines[number - 1] if number is not None and 0 < number <= len(lines) else ""
    return [ShownMistake(message=error.message, line=number, text=text)]


def _next_step(error: HarnessError) -> str:
    return "the form has every key with its meaning" if isinstance(error, MistakesError) else error.next_step

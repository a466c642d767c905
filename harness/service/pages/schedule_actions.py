"""Pause, resume, run and remove schedules from pages."""

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from harness.model.tasks import Scope
from harness.service import schedule_routes
from harness.service.authentication import Caller, Context
from harness.service.pages.viewer import CheckedForm, PageViewer, require_scope
from harness.service.problems import NotFoundError

router = APIRouter(include_in_schema=False)


def _run(name: str, context: Context, caller: Caller) -> object:
    return schedule_routes.run_schedule(name, Response(), context, caller)


_ACTIONS: Mapping[str, Callable[[str, Context, Caller], object]] = {
    "pause": schedule_routes.pause_schedule,
    "resume": schedule_routes.resume_schedule,
    "remove": schedule_routes.remove_schedule,
    "run": _run,
}


@router.post("/schedules/{name}/{action}")
def act(name: str, action: str, viewer: PageViewer, context: Context, _form: CheckedForm) -> Response:
    """Do something with a schedule, and return to the queue."""
    require_scope(viewer, Scope.OPERATE)
    if action not in _ACTIONS:
        raise NotFoundError("a schedule is paused, resumed, run or removed", next_step="the page of the queue does it")
    _ACTIONS[action](name, context, viewer.caller)
    return RedirectResponse("/queue#schedules", status_code=303)

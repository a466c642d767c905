"""Cancel tasks from pages."""

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from harness.model.tasks import Scope
from harness.service.authentication import Context
from harness.service.pages.addresses import run_path
from harness.service.pages.viewer import CheckedForm, PageViewer, Viewer, require_scope
from harness.service.task_routes import cancel_task
from harness.store.task_lines import TaskLine

router = APIRouter(include_in_schema=False)


@router.post("/tasks/{task}/cancel")
def cancel(task: str, viewer: PageViewer, context: Context, form: CheckedForm) -> Response:
    """Cancel a task, and return to where that was asked."""
    require_scope(viewer, Scope.SUBMIT)
    line = cancel_task(task, context, viewer.caller)
    to_queue = form.get("back") == "queue" or line.run is None
    return RedirectResponse("/queue" if to_queue else run_path(str(line.run)), status_code=303)


def may_cancel(task: TaskLine | None, viewer: Viewer) -> bool:
    """Whether the viewer may cancel a task, which has not ended and was not cancelled."""
    if task is None or task.state.final or task.cancelled_by is not None:
        return False
    return viewer.may(Scope.OPERATE) or (viewer.may(Scope.SUBMIT) and task.submitter == viewer.caller.name)

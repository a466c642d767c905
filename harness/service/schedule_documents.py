"""Define the documents of schedules."""

from typing import Annotated

from pydantic import BaseModel, Field

from harness.service.documents import Document, moment
from harness.store.schedules import ScheduleLine
from harness.untrusted import names


class ScheduleRequest(Document):
    """A schedule to add. `cron`: minute, hour, day of the month, month, day of the week, read in the time zone `zone`.

    `campaign`: the text of a campaign file, YAML or JSON. `priority` and `site`: of the tasks that it makes.
    """

    name: Annotated[str, Field(pattern=f"^(?:{names.SCHEDULE})$")]
    cron: Annotated[str, Field(min_length=9, max_length=128)]
    zone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    campaign: Annotated[str, Field(min_length=1, max_length=500_000)]
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    site: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")] | None = None


class ScheduleDocument(BaseModel):
    """A schedule. `due`: its next time; null while it is paused.

    `last`: the latest time that was seen, for which `last_task` was made, or no task because of `last_problem`.
    `missed`: how many times passed while no service ran; after such a pause one task is made.
    """

    name: str
    cron: str
    zone: str
    site: str | None
    priority: int
    submitter: str
    created: str
    paused: bool
    due: str | None
    last: str | None
    last_task: str | None
    last_problem: str | None
    missed: int


def schedule_document(line: ScheduleLine) -> ScheduleDocument:
    """Write a schedule."""
    return ScheduleDocument(
        name=line.name,
        cron=line.cron,
        zone=line.zone,
        site=line.site,
        priority=line.priority,
        submitter=line.submitter,
        created=moment(line.created_ns) or "",
        paused=line.paused,
        due=None if line.paused else moment(line.due_ns),
        last=moment(line.last_ns),
        last_task=line.last_task,
        last_problem=line.last_problem,
        missed=line.missed,
    )

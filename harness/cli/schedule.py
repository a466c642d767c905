"""`schedule`: campaigns that a service submits at set times."""

from typing import Annotated

import typer

from harness import units, wiring
from harness.cli import output
from harness.errors import RequestError
from harness.model.bench_traits import BenchName
from harness.report.table import align_rows
from harness.runs.due_times import check_times, find_first_ns
from harness.service.schedule_documents import schedule_document
from harness.service.submission import read_campaign
from harness.store.owners import name_user
from harness.store.schedules import NewSchedule, ScheduleLine, Schedules, check_name
from harness.system import settings
from harness.system.text_files import read_text
from harness.untrusted.plain_text import printable

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name: nightly, c8-weekly.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
_MOST_SUBMITTER = 64


def add(
    name: Name,
    cron: Annotated[
        str, typer.Argument(metavar="CRON", help="Minute, hour, day, month, day of the week: '0 2 * * *'.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A campaign file.")],
    zone: Annotated[str, typer.Option(metavar="ZONE", help="The time zone of CRON, such as Europe/Berlin.")] = "UTC",
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Of its tasks; the highest begins first.")] = 0,
    site: Annotated[str | None, typer.Option(metavar="SITE", help="The site that carries its tasks out.")] = None,
    json: Json = False,
) -> None:
    """Submit a campaign at set times.

    The services of this ledger make one task at each time (`ptp-harness serve`). The campaign is checked now, and again
    at each time: `schedule list` shows why a time made no task. Times that passed while no service ran are counted,
    and one task is made for them. Where clocks are changed, what is due at a fixed time is due once on that day.

    Examples:
        ptp-harness schedule add nightly '0 2 * * *' campaign.yaml
        ptp-harness schedule add c8-weekly '30 6 * * mon' c8.yaml --zone Europe/Berlin
    """
    check_name(name)
    check_times(cron, zone)
    text = read_text(file, kind="campaign", title="the campaign file")
    configuration = settings.load()
    offered = (BenchName.LAB, BenchName.EC2)
    read_campaign(text, benches=wiring.benches(configuration), offered=offered, hosts_allowed=(), where=file)
    submitter = name_user()[:_MOST_SUBMITTER]
    new = NewSchedule(name=name, cron=cron, zone=zone, document=text, submitter=submitter, site=site, priority=priority)
    ledger = wiring.ledger(configuration)
    line = Schedules(ledger.database).add(new, due_ns=find_first_ns(cron, zone, ledger.now_ns()))
    if json:
        output.emit(schedule_document(line).model_dump(mode="json"))
    else:
        output.say(f"schedule {name}: first at {_moment(line.due_ns)}, then at {cron} in {zone}")


def list_schedules(json: Json = False) -> None:
    """List the schedules, and why the last task of each was not made.

    Examples:
        ptp-harness schedule list
        ptp-harness schedule list --json
    """
    lines = Schedules(wiring.ledger(settings.load()).database).list_lines()
    if json:
        output.emit([schedule_document(line).model_dump(mode="json") for line in lines])
    elif lines:
        head = ("NAME", "CRON", "ZONE", "NEXT", "LAST", "TASK", "BY")
        output.show("\n".join([*align_rows([head, *map(_row, lines)]), *_remarks(lines)]))
    else:
        output.say("no schedules yet; `ptp-harness schedule add NAME CRON FILE` makes one")


def remove(name: Name) -> None:
    """Remove a schedule; its tasks stay.

    Examples:
        ptp-harness schedule remove nightly
    """
    Schedules(wiring.ledger(settings.load()).database).remove(name)
    output.say(f"schedule {name} is removed")


def pause(name: Name) -> None:
    """Let a schedule make no tasks until it is resumed.

    Examples:
        ptp-harness schedule pause nightly
    """
    Schedules(wiring.ledger(settings.load()).database).pause(name)
    output.say(f"schedule {name} is paused")


def resume(name: Name) -> None:
    """Let a schedule that was paused make tasks again.

    Examples:
        ptp-harness schedule resume nightly
    """
    ledger = wiring.ledger(settings.load())
    schedules = Schedules(ledger.database)
    line = schedules.find(name)
    if not line.paused:
        raise RequestError(f"schedule {name} is not paused", next_step=f"its next time is {_moment(line.due_ns)}")
    line = schedules.go_on(name, due_ns=find_first_ns(line.cron, line.zone, ledger.now_ns()))
    output.say(f"schedule {name}: next at {_moment(line.due_ns)}")


def _row(line: ScheduleLine) -> tuple[str, ...]:
    following = "paused" if line.paused else f"{units.utc_moment(line.due_ns):%Y-%m-%d %H:%M}"
    latest = "-" if line.last_ns is None else f"{units.utc_moment(line.last_ns):%Y-%m-%d %H:%M}"
    return line.name, line.cron, line.zone, following, latest, line.last_task or "-", printable(line.submitter)


def _remarks(lines: list[ScheduleLine]) -> list[str]:
    remarks = []
    for line in lines:
        if line.missed:
            remarks.append(f"{line.name}: missed {line.missed} while no service ran")
        if line.last_problem is not None and line.last_ns is not None:
            remarks.append(f"{line.name}: no task at {_moment(line.last_ns)}: {line.last_problem}")
    return ["", *remarks] if remarks else []


def _moment(time_ns: int) -> str:
    return f"{units.utc_moment(time_ns):%Y-%m-%d %H:%M} UTC"

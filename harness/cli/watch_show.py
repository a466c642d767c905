"""`watch show` and `watch incidents`: one watched clock, and what went bad together."""

from typing import Annotated

import typer

from harness import units, wiring
from harness.cli import completion, output
from harness.model.incidents import Incident
from harness.system import settings


def show(
    stream: Annotated[
        str,
        typer.Argument(
            metavar="HOST", help="A stream, as `watch list` names it.", autocompletion=completion.watched_streams
        ),
    ],
    day: Annotated[str | None, typer.Option(metavar="DATE", help="A day (UTC) instead of the last hour.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Show a watched clock: its state, why, and its last hour.

    With its figures, changes and owner. UNKNOWN says that nobody could look, also where a worker died: nothing about
    the clock follows from it. The hour is drawn a character a minute, the worst state of each; below it the greatest
    offset.

    Examples:
        ptp-harness watch show web-1
        ptp-harness watch show web-1 --day 2026-11-30
        ptp-harness watch show web-1 --json
    """
    from harness.watch import stream_text, stream_view

    view = stream_view.read_view(wiring.ledger(settings.load()).database, stream, day=day)
    if json:
        output.emit(stream_view.write_document(view))
    else:
        output.show(stream_text.write_view(view, width=output.width()))


def incidents(
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """List clocks that went bad together, and why.

    An incident names what its clocks have in common: a kernel, driver, type, zone or worker. It ends two minutes after
    its last clock is good again.

    Examples:
        ptp-harness watch incidents
        ptp-harness watch incidents --all --json
    """
    from harness.store.owners import read_now
    from harness.store.watch_incidents import WatchIncidents
    from harness.watch import stream_text

    database = wiring.ledger(settings.load()).database
    listed = WatchIncidents(database).list(ended=everything)
    if json:
        output.emit([_document(incident) for incident in listed])
    elif listed:
        output.show(stream_text.write_incidents(listed, database.read(read_now), width=output.width()))
    else:
        output.say("no incidents" if everything else "no incident goes on; --all lists those that have ended")


def _document(incident: Incident) -> dict[str, object]:
    return {
        "incident": incident.incident,
        "kind": incident.kind,
        "cause": incident.cause,
        "streams": [*incident.streams],
        "sentence": incident.sentence,
        "recommendation": incident.recommendation,
        "began": units.utc(incident.began_ns),
        "ended": None if incident.ended_ns is None else units.utc(incident.ended_ns),
    }

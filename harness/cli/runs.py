"""`runs`: all runs that the ledger knows."""

from typing import Annotated

import typer

from harness import units, wiring
from harness.cli import output
from harness.store.ledger import RunLine
from harness.system import settings


def runs(json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False) -> None:
    """List runs, newest first.

    A run has ended, is under way, or died: then `resume` goes on with it, and `sweep --yes` removes what it left and
    closes its books.

    Examples:
        ptp-harness runs
        ptp-harness runs --json
    """
    ledger = wiring.ledger(settings.load())
    lines = ledger.runs()
    if json:
        output.emit([_document(line) for line in lines])
        return
    if not lines:
        output.say("no runs yet; `ptp-harness run lab.phc` makes one")
    for line in lines:
        types = ", ".join(host.instance_type for host in ledger.hosts(line.run))
        output.say(f"{line.run}  {_started(line)}  {line.bench:<5}  {_state(line):<9}  {types}")


def _document(line: RunLine) -> dict[str, str]:
    return {"run": line.run, "bench": line.bench, "started": _started(line), "state": _state(line)}


def _started(line: RunLine) -> str:
    return units.utc(line.started_ns).replace("+00:00", "Z")


def _state(line: RunLine) -> str:
    return "ended" if line.ended else "under way" if line.alive() else "died"

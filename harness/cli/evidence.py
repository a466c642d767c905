"""`evidence send`, `list` and `fetch`: evidence of runs in a store that machines share."""

import threading
from typing import Annotated

import typer

from harness import wiring
from harness.cli import completion, output, run_argument
from harness.errors import RequestError, SetupError
from harness.report import table
from harness.system import settings

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN", help="Only these runs, also if nothing waits.", autocompletion=completion.runs),
]


def send(runs: Runs = None) -> None:
    """Send evidence to the evidence store.

    What waits for it, of runs that have ended; what is in the store already is left alone. Of the runs that are named,
    all evidence that this machine has is sent, again if need be, which mends what was damaged in the store. Nothing on
    this machine is removed. Exit code 2 if something was not sent.

    Examples:
        ptp-harness evidence send
        ptp-harness evidence send k3f9 --evidence s3://team/evidence
    """
    configuration = settings.load()
    sender = wiring.evidence_sender(configuration, wiring.ledger(configuration), threading.Event().wait)
    unsent = [sentence for run in runs for sentence in sender.send_run(run, output.say)] if runs else []
    if not runs:
        unsent = sender.send_waiting(output.say)
    if unsent:
        raise SetupError(f"not sent: {'; '.join(unsent)}", next_step="`ptp-harness evidence send` tries it again")


def list_waiting() -> None:
    """List the runs whose evidence waits to be sent.

    Each with the store that it is for, and why it waits. It stays on this machine after it was sent, too.

    Examples:
        ptp-harness evidence list
    """
    from harness.runs.evidence_sending import describe_waiting
    from harness.store.evidence_outbox import Outbox

    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    entries = Outbox(configuration.state_dir).list()
    rows = [(entry.run, entry.store, describe_waiting(entry, ledger)) for entry in entries]
    if rows:
        output.show("\n".join(table.align_rows([("RUN", "STORE", "STATE"), *rows])))
    else:
        output.say("no evidence waits")


def fetch(run: run_argument.Run) -> None:
    """Print the folder of a run's evidence, fetched where need be.

    The folder of this machine if it has all evidence of the run, else one in the cache: it is fetched from the evidence
    store, and each file is held against its checksum.

    Examples:
        ptp-harness evidence fetch k3f9
    """
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    line = ledger.find(run)
    found = wiring.find_evidence(line, ledger, configuration)
    if not found.folder.is_dir() or found.missing:
        raise RequestError(
            f"evidence of run {line.run} is not on this machine: {', '.join(found.missing) or 'none of it'}",
            next_step=f"it is on {line.owner.machine}, or on machines that helped; --evidence URL names a store",
        )
    output.show(str(found.folder))

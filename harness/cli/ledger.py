"""`ledger upgrade`, `check`, `export` and `import` care for the database of runs, hosts and steps."""

from pathlib import Path
from typing import Annotated

import typer

from harness import wiring
from harness.cli import output, run_argument
from harness.errors import ExitCode
from harness.system import settings

Archive = Annotated[Path, typer.Argument(metavar="FILE", help="An archive of one run.", show_default=False)]


def upgrade() -> None:
    """Upgrade a ledger to this version, or make its tables.

    A ledger in a file is upgraded at its first use, and copied beside itself before. A ledger in PostgreSQL is shared:
    this command upgrades it for all who use it, and earlier versions then refuse it.

    Examples:
        ptp-harness ledger upgrade
        ptp-harness ledger upgrade --ledger postgresql://ptp@db.example/ptp
    """
    from harness.store import schema
    from harness.store.database import Database

    database = Database(settings.load().ledger_url)
    done = schema.upgrade(database)
    if done.before == done.after:
        output.say(f"the ledger {database.label} is of revision {done.after}: nothing to do")
    elif done.before is None:
        output.say(f"made the tables of the ledger {database.label}, revision {done.after}")
    else:
        output.say(f"upgraded the ledger {database.label} from revision {done.before} to {done.after}")
    if done.backup is not None:
        output.say(f"before the upgrade it was copied to {done.backup}")


def check() -> None:
    """Check that a ledger can be reached and is whole.

    Prints its address, its revision and how much it holds. Exit code 1 when something in it contradicts itself.

    Examples:
        ptp-harness ledger check
        ptp-harness ledger check --ledger postgresql://ptp@db.example/ptp
    """
    from harness.store import ledger_check

    found = ledger_check.check(wiring.ledger(settings.load()))
    output.show("\n".join([*found.lines, *(f"WRONG: {fault}" for fault in found.faults)]))
    if found.faults:
        raise typer.Exit(ExitCode.CLOCK_FAILED)


def export(run: run_argument.Run, file: Archive) -> None:
    """Write an ended run with its evidence to a file.

    Another ledger can import it. Evidence that is not on this machine is fetched from the evidence store.

    Examples:
        ptp-harness ledger export k3f9 k3f9.tar.gz
    """
    from harness.store import run_archive

    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    line = ledger.find(run)
    found = wiring.find_evidence(line, ledger, configuration)
    files = run_archive.export_run(line.run, ledger, found.folder, file)
    output.say(f"run {line.run} and {files} files of evidence are in {file}")
    if found.missing:
        output.say(f"warning: the evidence of {', '.join(found.missing)} is not on this machine, nor in the archive")


def import_run(file: Archive) -> None:
    """Read a run with its evidence from a file of `ledger export`.

    Every file is held against its checksum; unless all are right, nothing is changed.

    Examples:
        ptp-harness ledger import k3f9.tar.gz
        ptp-harness ledger import k3f9.tar.gz --ledger postgresql://ptp@db.example/ptp
    """
    from harness.store import run_archive

    configuration = settings.load()
    done = run_archive.import_run(file, wiring.ledger(configuration), configuration.runs_dir)
    output.say(f"run {done.run} is imported: {done.hosts} hosts, {done.files} files of evidence, checksums verified")

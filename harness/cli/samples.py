"""`samples`: write the samples of a host as a table."""

from pathlib import Path
from typing import Annotated

import typer

from harness import wiring
from harness.cli import completion, output, run_argument
from harness.errors import RequestError, SetupError
from harness.report import sample_table
from harness.runs.sample_export import SamplePart, read_samples
from harness.store.evidence_folder import EvidenceFolder
from harness.system import settings


def samples(
    run: run_argument.Run,
    host: Annotated[str, typer.Argument(metavar="HOST", autocompletion=completion.hosts)],
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write this file: CSV, or Parquet if it ends in .parquet."),
    ] = None,
    disturbed: Annotated[bool, typer.Option("--disturbed", help="The samples while it was disturbed.")] = False,
    rebooted: Annotated[bool, typer.Option("--rebooted", help="The samples of after the reboot (depth full).")] = False,
) -> None:
    """Write the samples of a host as a table.

    One row for each sample: the offset of the system clock from the PHC with its uncertainty, the bounds, the
    frequency, the source. An empty field was not observed. docs/evidence-format.md explains the columns. Parquet needs
    the extra `parquet` of the package.

    Examples:
        ptp-harness samples k3f9 m7i.large > samples.csv
        ptp-harness samples last lab.phc -o samples.parquet
        ptp-harness samples last lab.phc --disturbed > disturbed.csv
    """
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    line = ledger.find(run)
    (measured,) = run_argument.choose_hosts(line.run, ledger.hosts(line.run), [host])
    found = wiring.find_evidence(line, ledger, configuration)
    if disturbed and rebooted:
        raise RequestError("--disturbed and --rebooted are two tables", next_step="write one after the other")
    part = SamplePart.REBOOTED if rebooted else SamplePart.DISTURBED if disturbed else SamplePart.MEASURED
    taken = read_samples(measured, found.folder, part, ledger)
    if taken is None:
        when = " after a reboot" if rebooted else " of a disturbed clock" if disturbed else ""
        raise RequestError(f"{host} of run {line.run} has no samples{when}: it was not measured")
    rows = sample_table.make_rows(taken)
    if file is None:
        output.write(sample_table.write_csv(rows))
    else:
        _write(file, sample_table.write_parquet(rows) if file.suffix == ".parquet" else sample_table.write_csv(rows))


def _write(file: Path, content: str | bytes) -> None:
    if not file.absolute().parent.is_dir():
        raise SetupError(f"there is no folder {file.parent} for {file.name}", next_step="make it")
    EvidenceFolder(file.absolute().parent).write(file.name, content)

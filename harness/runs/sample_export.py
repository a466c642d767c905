"""Read the samples of a host from the evidence of its run, for a table."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from harness.model import Sample
from harness.runs import campaign_run, judging
from harness.store.ledger import Ledger
from harness.store.ledger_lines import HostLine


class SamplePart(StrEnum):
    """When samples were taken: while the host was measured, while it was disturbed, or after its reboot."""

    MEASURED = "measured"
    DISTURBED = "disturbed"
    REBOOTED = "rebooted"


def read_samples(host: HostLine, folder: Path, part: SamplePart, ledger: Ledger) -> Sequence[Sample] | None:
    """Read the samples of a host from its run's folder; None where it was not measured then.

    Raises RequestError for a host without a verdict, or without its evidence.
    """
    campaign = campaign_run.read_campaign(host.run, ledger)
    _, evidence = judging.read_evidence(host, folder / host.host, campaign)
    of_part = {
        SamplePart.MEASURED: evidence,
        SamplePart.DISTURBED: evidence.disturbed,
        SamplePart.REBOOTED: evidence.rebooted,
    }
    chosen = of_part[part]
    return chosen.samples or None if chosen is not None else None

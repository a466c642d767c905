"""Collect what the plots of a run's hosts show, from the evidence that is on this machine."""

from collections.abc import Callable
from pathlib import Path

from harness.campaign.campaign import Campaign
from harness.errors import RequestError
from harness.model import HostRecord, RunRecord
from harness.model.plots import ClockPlots
from harness.runs import judging
from harness.store import host_evidence, parsed_samples
from harness.untrusted import names


def collect_plots(
    record: RunRecord, folder: Path, missing: tuple[str, ...], read_campaign: Callable[[], Campaign]
) -> dict[str, ClockPlots]:
    """Collect the plots of the hosts whose evidence is in the run's folder, except those named in `missing`.

    Plots that were not written, or by another version, are computed from the samples, by the campaign's interval. A
    host without samples, or whose evidence cannot be read, has none.
    """
    plots: dict[str, ClockPlots] = {}
    for host in record.hosts:
        host_folder = folder / host.name
        if names.fits(names.HOST, host.name) and host.name not in missing and host_folder.is_dir():
            found = host_evidence.read_plots(host_folder) or _compute_plots(host, host_folder, read_campaign)
            if found is not None:
                plots[host.name] = found
    return plots


def _compute_plots(host: HostRecord, folder: Path, read_campaign: Callable[[], Campaign]) -> ClockPlots | None:
    if not parsed_samples.find_lines(folder, host_evidence.SAMPLES).is_file():
        return None
    try:
        campaign = read_campaign()
        evidence = judging.read_recorded_evidence(host, folder, campaign)
    except RequestError:
        return None
    return judging.reduce_for_plots(evidence, campaign)

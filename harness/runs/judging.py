"""Judge a host by its evidence, during a run or later from what was stored: its verdict, the figures of its clock."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import ladder
from harness.analysis.disturbed_clock import compute_disturbances
from harness.campaign.campaign import Campaign
from harness.errors import RequestError
from harness.host.sampling import count_expected_samples
from harness.model import Depth, Evidence, HostRecord, Verdict
from harness.model.plots import ClockPlots
from harness.model.quality import ClockQuality
from harness.store import host_evidence
from harness.store.ledger_lines import HostLine
from harness.system.profile_files import load_standards
from harness.untrusted.plain_text import bounded

_LONGEST_SENTENCE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAgain:
    """A host's record with a new verdict and new figures, and the one that its run recorded."""

    record: HostRecord
    recorded: HostRecord

    @property
    def changed(self) -> bool:
        """Whether outcome or reason differ from what the run recorded."""
        new, old = self.record.verdict, self.recorded.verdict
        return (new.outcome, new.reason) != (old.outcome, old.reason)


def judge_evidence(evidence: Evidence, campaign: Campaign, *, depth: Depth) -> Verdict:
    """Judge by the evidence as if the campaign had this depth."""
    verdict = ladder.judge(
        evidence,
        campaign.requirements,
        depth=depth,
        clock_names=campaign.clock_names,
        read_only=campaign.read_only,
        profiles=campaign.profiles,
        disturbances=campaign.disturbances,
        interval_s=campaign.measure_interval_s,
    )
    return bounded(verdict, characters=_LONGEST_SENTENCE)


def compute_figures(evidence: Evidence, campaign: Campaign) -> ClockQuality | None:
    """Compute the figures of a host's clock; None where too little was measured. numpy is loaded by the first call."""
    from harness.analysis.quality import compute_quality

    standards = load_standards()
    own = [profile for profile in campaign.profiles if profile not in standards]
    return compute_quality(evidence, interval_s=campaign.measure_interval_s, profiles=(*standards, *own))


def reduce_for_plots(evidence: Evidence, campaign: Campaign) -> ClockPlots | None:
    """Reduce a host's samples to what its plots show; None where too little was measured."""
    from harness.analysis.plot_series import reduce_samples

    return reduce_samples(evidence, interval_s=campaign.measure_interval_s)


def judge_again(lines: Sequence[HostLine], folder: Path, campaign: Campaign) -> list[JudgedAgain]:
    """Judge hosts of a run by the evidence in the run's folder. Nothing that the run recorded is changed.

    Raises RequestError for a host without a verdict, or without its evidence.
    """
    return [_judge_line(line, folder / line.host, campaign) for line in lines]


def read_evidence(line: HostLine, folder: Path, campaign: Campaign) -> tuple[HostRecord, Evidence]:
    """Read the record and the evidence of a host from its folder.

    Raises RequestError for a host without a verdict, or without its evidence.
    """
    if line.record is None:
        raise RequestError(
            f"{line.host} has no verdict yet", next_step=f"`ptp-harness show {line.run}` tells how far the run is"
        )
    return line.record, read_recorded_evidence(line.record, folder, campaign)


def read_recorded_evidence(record: HostRecord, folder: Path, campaign: Campaign) -> Evidence:
    """Read the evidence behind a record from the host's folder. Raises RequestError without it."""
    expected = count_expected_samples(campaign.measure_duration_s, campaign.measure_interval_s)
    return host_evidence.read_evidence(folder, record, most_samples=expected)


def _judge_line(line: HostLine, folder: Path, campaign: Campaign) -> JudgedAgain:
    record, evidence = read_evidence(line, folder, campaign)
    verdict = judge_evidence(evidence, campaign, depth=campaign.depth)
    again = replace(
        record,
        verdict=verdict,
        facts=evidence.final_facts or evidence.facts,
        quality=compute_figures(evidence, campaign),
        disturbances=compute_disturbances(evidence, campaign.measure_interval_s),
    )
    return JudgedAgain(record=again, recorded=record)

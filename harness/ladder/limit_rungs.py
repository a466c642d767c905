"""Judge whether the clock is within its limits, and whether all rungs hold again after a reboot."""

from collections.abc import Iterable

from harness import units
from harness.ladder import bound_check
from harness.ladder.case import Case, failed_rung, proven_rung, unobserved_rung
from harness.ladder.findings import blocks_pass, undecided_reason
from harness.model import Depth, Finding, Reason, Rung, RungName, RungStatus


def judge_within_limits(case: Case) -> Rung:
    """Judge whether every limit is held, with enough samples."""
    name = RungName.WITHIN_LIMITS
    if case.depth is Depth.QUICK:
        text = "depth quick stops after chrony follows: limits were not measured"
        return Rung(name=name, status=RungStatus.NOT_REQUIRED, evidence=text)
    broken = [finding for finding in case.findings if finding.held is False]
    if broken:
        return failed_rung(name, Reason.OUT_OF_LIMITS, ", ".join(describe_finding(finding) for finding in broken))
    check = bound_check.check_samples(case.evidence)
    if check.refuted:
        return unobserved_rung(name, check.describe(), Reason.BOUND_REFUTED)
    open_findings = [finding for finding in case.findings if blocks_pass(finding)]
    too_few = [finding for finding in open_findings if undecided_reason(finding) is Reason.TOO_FEW_SAMPLES]
    if open_findings:
        undecided = (too_few or open_findings)[0]
        return unobserved_rung(name, f"{finding_title(undecided)}: {undecided.note}", undecided_reason(undecided))
    if not case.findings:
        return unobserved_rung(name, "there are no limits to compare it with")
    if check.uncompared:
        text = f"in {check.uncompared} of {check.slots} seconds chrony's bound could not be held against a reading"
        return unobserved_rung(name, text)
    return proven_rung(name, list_held_values(case.findings))


def describe_finding(finding: Finding) -> str:
    """Write one finding as text: `offset p99 1.2 us > 1 us`."""
    title = finding_title(finding)
    if finding.observed is None:
        return f"{title} {finding.note}"
    relation = {True: finding.comparison, False: ">" if finding.comparison == "<=" else "<", None: "?"}[finding.held]
    observed = units.with_uncertainty(finding.observed, finding.uncertainty, finding.unit)
    limit = units.with_unit(finding.limit, finding.unit)
    return f"{title} {observed} {relation} {limit}"


def list_held_values(findings: Iterable[Finding]) -> str:
    """List the values of all findings that were held, without their limits."""
    return ", ".join(
        f"{finding_title(finding)} {units.with_uncertainty(finding.observed, finding.uncertainty, finding.unit)}"
        for finding in findings
        if finding.observed is not None and finding.held
    )


def finding_title(finding: Finding) -> str:
    """Name the quantity and statistic of a finding: `offset p99`. Single values such as a drift have no statistic."""
    statistic = finding.statistic.removesuffix("_abs")
    single = finding.unit != "ns"
    return quantity_title(finding.quantity) if single else f"{quantity_title(finding.quantity)} {statistic}"


def quantity_title(quantity: str) -> str:
    """A quantity's name without its unit: `second_opinion_drift_ppb` -> `second opinion drift`."""
    parts = quantity.split("_")
    return " ".join(parts[:-1] if parts[-1] in ("ns", "ppb", "s") else parts)


def judge_survives_reboot(case: Case, after: Rung | None) -> Rung:
    """Judge the rebooted host. `after` is the rung that ended the climb of the rebooted host, None: passed."""
    name, facts = RungName.SURVIVES_REBOOT, case.facts
    rebooted = case.evidence.rebooted
    if case.depth is not Depth.FULL:
        text = f"depth {case.depth} does not reboot"
        return Rung(name=name, status=RungStatus.NOT_REQUIRED, evidence=text)
    if rebooted is None:
        return unobserved_rung(name, "it was not rebooted")
    boots = (facts.boot_id if facts else None, rebooted.facts.boot_id if rebooted.facts else None)
    if after is not None and after.status is RungStatus.FAILED and after.name not in _BEFORE_THE_CLOCK:
        return failed_rung(
            name, Reason.NOT_PERSISTENT, f"after a reboot {quantity_title(after.name)} failed: {after.evidence}"
        )
    if after is not None:
        return unobserved_rung(name, f"after a reboot: {after.evidence}", after.reason or Reason.NOT_OBSERVED)
    if None in boots or boots[0] == boots[1]:
        return unobserved_rung(name, "a new boot id was not observed")
    return proven_rung(name, "all rungs proven again after a reboot")


_BEFORE_THE_CLOCK = (RungName.OFFERED, RungName.LAUNCHED, RungName.REACHABLE, RungName.PRECISION_HOST)

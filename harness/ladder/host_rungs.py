"""Judge the first five rungs: whether there was a host to ask, and whether it is placed near the precision service."""

from harness.ladder.case import Case, failed_rung, proven_rung, unobserved_rung
from harness.model import Reason, Rung, RungName, RungStatus


def judge_offered(case: Case) -> Rung:
    """Judge whether the type is offered in the requested place. A host that runs was offered."""
    offer, launch = case.evidence.offer, case.evidence.launch
    if case.host_answered or (launch is not None and launch.failure is None):
        where = f" in {offer.where}" if offer is not None and offer.available else ""
        return proven_rung(RungName.OFFERED, f"a host runs{where}")
    if launch is not None and launch.failure is Reason.NOT_OFFERED:
        return failed_rung(RungName.OFFERED, Reason.NOT_OFFERED, launch.detail)
    if offer is not None and not offer.available:
        return failed_rung(RungName.OFFERED, Reason.NOT_OFFERED, f"not offered in {offer.where}")
    if offer is not None:
        return proven_rung(RungName.OFFERED, f"offered in {offer.where}")
    return unobserved_rung(RungName.OFFERED, "whether it is offered was not queried")


def record_claim(case: Case) -> Rung:
    """Record the claim of an API. This rung never ends the climb."""
    claim = case.evidence.claim
    text = "no API claims anything about this type's clock"
    if claim is not None:
        text = f"{claim.source} says PHC {'supported' if claim.phc_supported else 'unsupported'} ({claim.date})"
    return Rung(name=RungName.CLAIMED, status=RungStatus.RECORDED, evidence=text)


def judge_launched(case: Case) -> Rung:
    """Judge whether the bench has a running host."""
    launch = case.evidence.launch
    if case.host_answered:
        return proven_rung(
            RungName.LAUNCHED, launch.detail if launch and launch.failure is None else "the host answered"
        )
    if launch is None:
        return unobserved_rung(RungName.LAUNCHED, "no attempt to launch it was recorded")
    if launch.failure is not None:
        return failed_rung(RungName.LAUNCHED, launch.failure, launch.detail)
    return proven_rung(RungName.LAUNCHED, launch.detail)


def judge_reachable(case: Case) -> Rung:
    """Judge whether SSH with the pinned host key works."""
    reach = case.evidence.reach
    if case.host_answered:
        tries = f" at try {reach.tries}" if reach and reach.reached else ""
        return proven_rung(RungName.REACHABLE, f"SSH with the pinned host key{tries}")
    if reach is None:
        return unobserved_rung(RungName.REACHABLE, "no attempt to reach it was recorded")
    if not reach.reached:
        return failed_rung(RungName.REACHABLE, Reason.UNREACHABLE, f"no SSH after {reach.tries} tries: {reach.detail}")
    return proven_rung(RungName.REACHABLE, f"SSH with the pinned host key at try {reach.tries}")


def judge_precision_host(case: Case) -> Rung:
    """Judge whether the host has the precision service. A clock proves it; an unknown placement ends no climb."""
    name, placement, facts = RungName.PRECISION_HOST, case.evidence.placement, case.facts
    if case.clock is not None:
        return proven_rung(name, f"it has the clock {case.clock.name}")
    precise = placement.precise if placement is not None else None
    if placement is not None and precise:
        return proven_rung(name, placement.detail)
    if facts is None or facts.clocks is None:
        return unobserved_rung(name, "its clocks were not observed")
    if placement is not None and precise is False:
        return failed_rung(name, Reason.HOST_NOT_PRECISION, f"{placement.detail}, and it has no clock")
    if facts.ntp_stratum is None:
        return unobserved_rung(
            name, "neither its placement nor the link-local NTP service shows whether it has the precision service"
        )
    stratum_text = f"the link-local NTP service answers with stratum {facts.ntp_stratum}"
    return (
        proven_rung(name, stratum_text)
        if facts.ntp_stratum == 1
        else failed_rung(name, Reason.HOST_NOT_PRECISION, stratum_text)
    )

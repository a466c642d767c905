"""Can the clock be read and believed, and does chronyd follow it?"""

from collections.abc import Sequence

from harness import units
from harness.analysis import summary
from harness.ladder import quantities
from harness.ladder.case import Case, failed_rung, proven_rung, unseen_rung
from harness.ladder.findings import why_undecided
from harness.model import ChronySource, Depth, Facts, Finding, PhcRead, Reason, Rung, RungName, RungStatus, Sample

PLAUSIBLE_NS = 1_000_000_000
"""A PHC further than this from NTP shows another time (TAI is 37 s off), whatever the errors of both."""

FOLLOWED_SHARE = 0.9
"""chronyd follows the PHC when it is selected in this share of the second half of the samples."""

QUICK_READS = 5
"""Depth quick judges by the one burst of the collection."""


# --- clock readable -------------------------------------------------------------------------------------------------


def clock_readable(case: Case) -> Rung:
    """Readings succeed, never go back, and agree with NTP to a second."""
    return _readable_by_burst(case) if case.depth is Depth.QUICK else _readable_by_samples(case)


def _readable_by_samples(case: Case) -> Rung:
    name, samples = RungName.CLOCK_READABLE, case.evidence.samples
    success = case.finding("phc_read_success")
    if samples is None or success is None:
        return unseen_rung(name, "no samples were taken")
    counted = f"{success.samples} readings, {_success(success)}"
    if success.held is False:
        return failed_rung(
            name, Reason.PHC_UNREADABLE, f"{counted}; at least {units.with_unit(success.limit, 'ratio')}"
        )
    if not summary.monotonic(read.phc_ns for sample in samples for read in sample.reads or ()):
        return failed_rung(name, Reason.PHC_IMPLAUSIBLE, "the PHC went back in time between two readings")
    apart = quantities.phc_against_second_opinion(case.evidence)
    if not apart.points:
        return _readable_without_chronyd(case, samples, counted, success)
    known = summary.quantile([abs(value) for value in apart.values], 0.5, missing=apart.missing)
    if known.low > PLAUSIBLE_NS:
        return failed_rung(name, Reason.PHC_IMPLAUSIBLE, f"the PHC is {units.ns(known.value)} from NTP")
    if success.held is None:
        return unseen_rung(name, f"{counted}: too few, or not all were seen", why_undecided(success))
    if known.high > PLAUSIBLE_NS or not _all_seen(case, samples):
        return unseen_rung(name, f"{counted}, but samples are missing")
    return proven_rung(name, f"{counted}, never back in time, {units.ns(known.value)} from NTP")


def _readable_without_chronyd(case: Case, samples: Sequence[Sample], counted: str, success: Finding) -> Rung:
    """Where no chronyd asks NTP, the questions before and after the samples tell whether the PHC is plausible."""
    name = RungName.CLOCK_READABLE
    looks = [facts for facts in (case.facts, case.evidence.final_facts) if facts is not None]
    apart = [abs(value) for facts in looks if (value := _apart_once(facts, facts.reads or ())) is not None]
    if not apart:
        return unseen_rung(name, "no NTP source answered beside the PHC, so its time could not be checked")
    words = f"{units.ns(max(apart))} from NTP"
    if max(apart) > PLAUSIBLE_NS:
        return failed_rung(name, Reason.PHC_IMPLAUSIBLE, f"the PHC is {words}")
    if success.held is None:
        return unseen_rung(name, f"{counted}: too few, or not all were seen", why_undecided(success))
    if not _all_seen(case, samples):
        return unseen_rung(name, f"{counted}, but samples are missing")
    return proven_rung(name, f"{counted}, never back in time, {words} by one question")


def _success(success: Finding) -> str:
    return "none counted" if success.observed is None else f"{success.observed * 100:.2f} % served {success.note}"


def _all_seen(case: Case, samples: Sequence[Sample]) -> bool:
    """Whether no burst is missing: the one that went back in time could be among those."""
    whole = case.evidence.samples_complete and not quantities.count_lost(samples)
    return whole and all(sample.reads is not None for sample in samples)


def _readable_by_burst(case: Case) -> Rung:
    name, facts = RungName.CLOCK_READABLE, case.facts
    if facts is None or facts.reads is None or facts.read_errors is None:
        return unseen_rung(name, "the clock was not read")
    tried = len(facts.reads) + facts.read_errors
    counted = f"{len(facts.reads)} of {tried} readings"
    if facts.read_errors:
        return failed_rung(name, Reason.PHC_UNREADABLE, f"{counted} served")
    if tried < QUICK_READS:
        return unseen_rung(name, f"only {counted}", Reason.TOO_FEW_SAMPLES)
    if not summary.monotonic(read.phc_ns for read in facts.reads):
        return failed_rung(name, Reason.PHC_IMPLAUSIBLE, "the PHC went back in time between two readings")
    apart_ns = _apart_once(facts, facts.reads)
    if apart_ns is None:
        return unseen_rung(name, "no NTP source answered beside the PHC, so its time could not be checked")
    words = f"the PHC is {units.ns(apart_ns)} from NTP"
    if abs(apart_ns) > PLAUSIBLE_NS:
        return failed_rung(name, Reason.PHC_IMPLAUSIBLE, words)
    return proven_rung(name, f"{counted} served, never back in time, {words}")


def _apart_once(facts: Facts, reads: Sequence[PhcRead]) -> int | None:
    """PHC minus NTP, by chronyd's last answer, else by our own question."""
    against = quantities.against_phc(reads)
    answer = next((source for source in facts.sources or () if source.mode == "^" and source.reach), None)
    ours = answer.offset_ns if answer is not None else facts.ntp_offset_ns
    return None if against is None or ours is None else ours - against


# --- chrony follows -------------------------------------------------------------------------------------------------


def chrony_follows(case: Case) -> Rung:
    """The PHC is selected, was so in time, and nobody else steers the clock.

    Quick judges by the collection; else also by the second half of the samples and by the closing collection.
    """
    looks = [case.facts] if case.depth is Depth.QUICK else [case.facts, case.evidence.final_facts]
    rungs = [_undisturbed(looks), _converged(case), _selected_now(looks[-1])]
    if case.depth is not Depth.QUICK:
        rungs.append(_selected_throughout(case))
    return _worst(rungs)


def _worst(rungs: Sequence[Rung]) -> Rung:
    """The first that failed, else the first that was not seen, else all in one."""
    for status in (RungStatus.FAILED, RungStatus.NOT_OBSERVED):
        found = next((rung for rung in rungs if rung.status is status), None)
        if found is not None:
            return found
    words = ", ".join(rung.evidence for rung in rungs if rung.evidence)
    return proven_rung(rungs[0].name, words)


def _undisturbed(looks: Sequence[Facts | None]) -> Rung:
    name = RungName.CHRONY_FOLLOWS
    running = {one for facts in looks if facts for one in facts.competitors or ()}
    if running:
        return failed_rung(name, Reason.CLOCK_INTERFERENCE, f"{', '.join(sorted(running))} also steers the clock")
    if any(facts.interference for facts in looks if facts):
        return failed_rung(name, Reason.CLOCK_INTERFERENCE, 'chronyd logged "System clock interference detected"')
    if any(facts is None or facts.competitors is None or facts.interference is None for facts in looks):
        return unseen_rung(name, "whether another program steers the clock was not observed")
    return proven_rung(name, "nobody else steers")


def _converged(case: Case) -> Rung:
    name, facts = RungName.CHRONY_FOLLOWS, case.facts
    if case.read_only:
        return proven_rung(name, "")
    if facts is not None and facts.converged is False:
        why = facts.why_not_converged or "chronyd did not converge in the time that it had"
        return failed_rung(name, Reason.NOT_SYNCHRONISED, why)
    if facts is None or facts.converged is None or facts.converged_after_s is None:
        return unseen_rung(name, "whether chronyd converged was not observed")
    words = converged_words(facts, facts.converged_after_s)
    limits = [limit for limit in case.requirements if limit.quantity == "convergence_s"]
    broken = next((limit for limit in limits if not limit.held_by(facts.converged_after_s)), None)
    if broken is not None:
        return failed_rung(name, Reason.NOT_SYNCHRONISED, f"{words}, later than {broken.value:g} s")
    return proven_rung(name, words)


def converged_words(facts: Facts, after_s: float) -> str:
    """How soon chronyd converged, and at which start unless the first."""
    again = f" at start {facts.chronyd_starts}" if facts.chronyd_starts not in (None, 1) else ""
    return f"converged in {after_s:.1f} s{again}"


def _selected_now(facts: Facts | None) -> Rung:
    name = RungName.CHRONY_FOLLOWS
    if facts is not None and facts.sources is None and facts.chronyd_runs is False:
        return failed_rung(name, Reason.NOT_SYNCHRONISED, "chronyd does not run")
    if facts is None or facts.sources is None:
        return unseen_rung(name, "chronyd's sources were not observed")
    phc = next((source for source in facts.sources if _is_phc(source)), None)
    if phc is not None and phc.state == "*":
        return proven_rung(name, f"{phc.name} selected")
    other = next((f"{source.name} is selected instead" for source in facts.sources if source.state == "*"), "")
    state = (
        f"{phc.name} is in state {phc.state!r}, reach {phc.reach:o}" if phc else "chronyd has no PHC among its sources"
    )
    return failed_rung(name, Reason.NOT_SYNCHRONISED, "; ".join(words for words in (state, other) if words))


def _selected_throughout(case: Case) -> Rung:
    name, samples = RungName.CHRONY_FOLLOWS, case.evidence.samples
    if not samples:
        return unseen_rung(name, "no samples were taken")
    last = max(sample.seq for sample in samples)
    from_seq = (last + 1) // 2
    late = [sample for sample in samples if sample.seq >= from_seq]
    seen = [sample.sources for sample in late if sample.sources is not None]
    total = last + 1 - from_seq
    followed = sum(any(_is_phc(source) and source.state == "*" for source in sources) for sources in seen)
    words = f"selected in {followed} of the last {total} samples"
    if (followed + total - len(seen)) / total < FOLLOWED_SHARE:
        return failed_rung(name, Reason.NOT_SYNCHRONISED, f"the PHC was {words}")
    if followed / total < FOLLOWED_SHARE or not case.evidence.samples_complete:
        return unseen_rung(name, f"the PHC was {words}, and others are missing")
    return proven_rung(name, words)


def _is_phc(source: ChronySource) -> bool:
    """chronyd names a reference clock by its driver and number when the configuration gives no refid: PHC0."""
    return source.mode == "#" and source.name.startswith("PHC")

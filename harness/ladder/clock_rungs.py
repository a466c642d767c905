"""Judge whether the clock can be read, whether its time is plausible, and whether chronyd follows it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness import units
from harness.analysis import sample_values, summary
from harness.ladder import bound_check, driver_remedies, quantities
from harness.ladder.case import Case, failed_rung, proven_rung, unobserved_rung
from harness.ladder.findings import undecided_reason
from harness.model import (
    ChronySource,
    Clock,
    Depth,
    Facts,
    Finding,
    PhcRead,
    Reason,
    Rung,
    RungName,
    RungStatus,
)
from harness.probes import ntp_probe

if TYPE_CHECKING:
    from harness.analysis.sample_arrays import Flags

PLAUSIBLE_NS = 1_000_000_000
"""A PHC further than this from NTP shows another time (TAI is 37 s off), whatever their errors."""

LEAP_NS = 1_000_000_000

FOLLOWED_SHARE = 0.9
"""chronyd follows the PHC when it is selected in this share of the second half of the samples."""

TAKEN_POLLS = 4
"""chronyd takes a clock's readings when it got a sample in so many of its last eight polls."""

VARIED_FACTOR = 3
"""The time of readings varied when the slowest tenth took more than this times as long as the fastest tenth.

A card answers after about the same time each time, so a wider spread comes from delayed programs: a starved processor.
"""

PHC_MODE, PHC_NAME = "#", "PHC"
"""The mode of a PHC among chronyd's sources, and the beginning of its name."""

QUICK_READS = 5
"""Depth quick needs this many readings in the one burst of the collection."""


# --- clock readable -------------------------------------------------------------------------------------------------


def judge_clock_readable(case: Case) -> Rung:
    """Judge whether readings succeed, never go back in time, and agree with NTP to a second."""
    return _judge_burst(case) if case.depth is Depth.QUICK else _judge_samples(case)


def _judge_samples(case: Case) -> Rung:
    name, success = RungName.CLOCK_READABLE, case.find_finding("phc_read_success")
    if case.evidence.samples is None or success is None:
        return unobserved_rung(name, "no samples were taken")
    counted = f"{success.samples} readings, {_describe_success(success)}"
    if success.held is False:
        return failed_rung(
            name,
            Reason.PHC_UNREADABLE,
            f"{counted}; at least {units.with_unit(success.limit, 'ratio')}{_quote_read_failure(case)}",
        )
    if not quantities.to_arrays(case.evidence).phc_never_back:
        return failed_rung(name, Reason.PHC_IMPLAUSIBLE, "the PHC went back in time between two readings")
    phc_minus_ntp = quantities.phc_minus_second_opinion(case.evidence)
    if not len(phc_minus_ntp):
        return _judge_without_chronyd(case, counted, success)
    apart_ns = summary.quantile(phc_minus_ntp.sizes, 0.5, missing=phc_minus_ntp.missing)
    if apart_ns.low > PLAUSIBLE_NS:
        return _judge_far_from_ntp(case, apart_ns.low, f"the PHC is {units.ns(apart_ns.value)} from NTP")
    if success.held is None:
        return unobserved_rung(name, f"{counted}: too few, or not all were seen", undecided_reason(success))
    if apart_ns.high > PLAUSIBLE_NS or not _is_complete(case):
        return unobserved_rung(name, f"{counted}, but samples are missing")
    return proven_rung(name, f"{counted}, never back in time, {units.ns(apart_ns.value)} from NTP")


def _judge_far_from_ntp(case: Case, apart_ns: float, text: str) -> Rung:
    """Fail a clock that shows another time than NTP. Near a leap second both may be right and a second apart."""
    if quantities.leap_second_is_near(case.evidence) and apart_ns <= PLAUSIBLE_NS + LEAP_NS:
        return unobserved_rung(RungName.CLOCK_READABLE, f"{text}: {quantities.LEAP_SECOND}")
    return failed_rung(RungName.CLOCK_READABLE, Reason.PHC_IMPLAUSIBLE, text)


def _judge_without_chronyd(case: Case, counted: str, success: Finding) -> Rung:
    """Judge plausibility without chronyd's NTP sources, by the collections before and after the samples."""
    name = RungName.CLOCK_READABLE
    collections = [facts for facts in (case.facts, case.evidence.final_facts) if facts is not None]
    apart_ns = [
        abs(value) for facts in collections if (value := _phc_minus_ntp_ns(facts, facts.reads or ())) is not None
    ]
    if not apart_ns:
        return unobserved_rung(name, _describe_missing_ntp(case))
    apart_text = f"{units.ns(max(apart_ns))} from NTP"
    if max(apart_ns) > PLAUSIBLE_NS:
        return _judge_far_from_ntp(case, max(apart_ns), f"the PHC is {apart_text}")
    if success.held is None:
        return unobserved_rung(name, f"{counted}: too few, or not all were seen", undecided_reason(success))
    if not _is_complete(case):
        return unobserved_rung(name, f"{counted}, but samples are missing")
    return proven_rung(name, f"{counted}, never back in time, {apart_text} by one query")


def _quote_read_failure(case: Case) -> str:
    failed = driver_remedies.explain_reading([case.facts, case.evidence.final_facts])
    return f"; {failed[1]}" if failed else ""


NO_NTP_ANSWER = "no NTP source answered beside the PHC"
"""The beginning of the evidence where nothing but the PHC tells the time."""


def _describe_missing_ntp(case: Case) -> str:
    where = f" ({ntp_probe.LINK_LOCAL[0]} was queried, which answers only in EC2)" if uses_link_local(case) else ""
    return f"{NO_NTP_ANSWER}{where}, so its time could not be checked"


def uses_link_local(case: Case) -> bool:
    """Whether the second opinion is the link-local server of EC2, as the roles have it by default."""
    server = quantities.second_opinion(case.facts)
    return server is None or server in ntp_probe.LINK_LOCAL


def _describe_success(success: Finding) -> str:
    return "none counted" if success.observed is None else f"{success.observed * 100:.2f} % served {success.note}"


def _is_complete(case: Case) -> bool:
    """Whether no burst is missing. A missing burst could be the one that went back in time."""
    none_lost = case.evidence.samples_complete and not quantities.count_lost(case.evidence)
    return none_lost and bool(quantities.to_arrays(case.evidence).read_count.known.all())


def _judge_burst(case: Case) -> Rung:
    name, facts = RungName.CLOCK_READABLE, case.facts
    if facts is None or facts.reads is None or facts.read_errors is None:
        return unobserved_rung(name, "the clock was not read")
    read_count = len(facts.reads) + facts.read_errors
    counted = f"{len(facts.reads)} of {read_count} readings"
    if facts.read_errors:
        return failed_rung(name, Reason.PHC_UNREADABLE, f"{counted} served{_quote_read_failure(case)}")
    if read_count < QUICK_READS:
        return unobserved_rung(name, f"only {counted}", Reason.TOO_FEW_SAMPLES)
    if not summary.monotonic(read.phc_ns for read in facts.reads):
        return failed_rung(name, Reason.PHC_IMPLAUSIBLE, "the PHC went back in time between two readings")
    apart_ns = _phc_minus_ntp_ns(facts, facts.reads)
    if apart_ns is None:
        return unobserved_rung(name, _describe_missing_ntp(case))
    apart_text = f"the PHC is {units.ns(apart_ns)} from NTP"
    if abs(apart_ns) > PLAUSIBLE_NS:
        return _judge_far_from_ntp(case, abs(apart_ns), apart_text)
    return proven_rung(name, f"{counted} served, never back in time, {apart_text}")


def _phc_minus_ntp_ns(facts: Facts, reads: Sequence[PhcRead]) -> int | None:
    """PHC minus NTP in nanoseconds, by chronyd's last NTP answer, else by our own NTP query; None when unknown."""
    system_minus_phc_ns = sample_values.system_minus_phc(reads)
    answer = next((source for source in facts.sources or () if source.mode == "^" and source.reach), None)
    system_minus_ntp_ns = answer.offset_ns if answer is not None else facts.ntp_offset_ns
    return (
        None
        if system_minus_phc_ns is None or system_minus_ntp_ns is None
        else system_minus_ntp_ns - system_minus_phc_ns
    )


# --- chrony follows -------------------------------------------------------------------------------------------------


def judge_chrony_follows(case: Case) -> Rung:
    """Judge whether chronyd selects the PHC, converged in time, and is the only program that steers the clock.

    Depth quick uses the first collection; other depths also the second half of the samples and the last collection.
    """
    collections = [case.facts] if case.depth is Depth.QUICK else [case.facts, case.evidence.final_facts]
    rungs = [_judge_undisturbed(case, collections), _judge_converged(case), _judge_selected_now(collections[-1])]
    if case.depth is Depth.QUICK:
        rungs.append(_judge_bound_of_burst(case.facts))
    else:
        rungs.append(_judge_selected_throughout(case))
    worst = _worst_rung(rungs)
    return _explain_dropped_readings(case, collections[-1], worst) if worst.reason is Reason.NOT_SYNCHRONISED else worst


def _explain_dropped_readings(case: Case, last: Facts | None, rung: Rung) -> Rung:
    """Replace "not synchronised" where the clock served its readings and chronyd took hardly any of them.

    Where the time of the readings varied, programs were delayed: this host says nothing about the clock.
    """
    if not _drops_readings(case, last):
        return rung
    windows_ns = quantities.to_arrays(case.evidence).windows_ns.tolist() if case.evidence.samples else []
    if not windows_ns:
        windows_ns = [read.window_ns for read in (case.facts.reads if case.facts else None) or ()]
    text = f"the clock serves its readings, and chronyd takes hardly any of them: {rung.evidence}"
    if not windows_ns:
        return failed_rung(rung.name, Reason.READINGS_NOT_TAKEN, text)
    fast_ns, slow_ns = (summary.nearest_rank(windows_ns, share) for share in (0.1, 0.9))
    if slow_ns <= VARIED_FACTOR * fast_ns:
        return failed_rung(rung.name, Reason.READINGS_NOT_TAKEN, text)
    varied = f"readings took {units.ns(fast_ns)} to {units.ns(slow_ns)}, so programs were delayed on this host"
    return unobserved_rung(rung.name, f"{text}; {varied}", Reason.READINGS_NOT_TAKEN)


def _drops_readings(case: Case, last: Facts | None) -> bool:
    """Tell whether chronyd takes hardly any readings of the PHC that it does not select.

    Where it selects the PHC again in the last collection, most of the judged samples in which it does not must say so.
    """
    phc = next((source for source in (last.sources if last else None) or () if _is_phc(source)), None)
    if phc is None:
        return False
    registers = [phc.reach]
    if phc.state == "*":
        if not case.evidence.samples:
            return False
        reach = quantities.to_arrays(case.evidence).find_reach(mode=PHC_MODE, name=PHC_NAME)
        registers = reach.values[reach.known & _is_judged(case) & ~_is_selected(case)].tolist()
    return sum(register.bit_count() < TAKEN_POLLS for register in registers) > len(registers) / 2


def _worst_rung(rungs: Sequence[Rung]) -> Rung:
    """Return the first failed rung, else the first unobserved rung, else one proven rung with all their evidence."""
    for status in (RungStatus.FAILED, RungStatus.NOT_OBSERVED):
        worst = next((rung for rung in rungs if rung.status is status), None)
        if worst is not None:
            return worst
    evidence = ", ".join(rung.evidence for rung in rungs if rung.evidence)
    return proven_rung(rungs[0].name, evidence)


def _judge_undisturbed(case: Case, collections: Sequence[Facts | None]) -> Rung:
    """Judge whether chronyd alone steers. Daemons of linuxptp that cannot run on a read-only clock do not count."""
    name = RungName.CHRONY_FOLLOWS
    competitors = {competitor for facts in collections if facts for competitor in facts.competitors or ()}
    if case.clock is None or not is_read_only(case.clock):
        competitors |= {daemon for facts in collections if facts for daemon in facts.restarting}
    if competitors:
        return failed_rung(name, Reason.CLOCK_INTERFERENCE, f"{', '.join(sorted(competitors))} also steers the clock")
    if any(facts.interference for facts in collections if facts):
        return failed_rung(name, Reason.CLOCK_INTERFERENCE, 'chronyd logged "System clock interference detected"')
    if any(facts is None or facts.competitors is None or facts.interference is None for facts in collections):
        return unobserved_rung(name, "whether another program steers the clock was not observed")
    return proven_rung(name, "nobody else steers")


def is_read_only(clock: Clock) -> bool:
    """Whether no program can steer the clock, as with an ENA card's."""
    return clock.max_adjustment_ppb == 0 or clock.name.startswith("ena-ptp-")


def _judge_converged(case: Case) -> Rung:
    name, facts = RungName.CHRONY_FOLLOWS, case.facts
    if case.read_only:
        return proven_rung(name, "")
    if facts is not None and facts.converged is False:
        why = facts.why_not_converged or "chronyd did not converge in the time that it had"
        return failed_rung(name, Reason.NOT_SYNCHRONISED, why)
    if facts is None or facts.converged is None or facts.converged_after_s is None:
        return unobserved_rung(name, "whether chronyd converged was not observed")
    convergence = describe_convergence(facts, facts.converged_after_s)
    limits = [limit for limit in case.requirements if limit.quantity == "convergence_s"]
    broken = next((limit for limit in limits if not limit.is_met_by(facts.converged_after_s)), None)
    if broken is not None:
        return failed_rung(name, Reason.NOT_SYNCHRONISED, f"{convergence}, later than {broken.value:g} s")
    return proven_rung(name, convergence)


def describe_convergence(facts: Facts, after_s: float) -> str:
    """Say after how many seconds chronyd converged, and at which start unless it was the first."""
    start_text = f" at start {facts.chronyd_starts}" if facts.chronyd_starts not in (None, 1) else ""
    return f"converged in {after_s:.1f} s{start_text}"


def _judge_selected_now(facts: Facts | None) -> Rung:
    name = RungName.CHRONY_FOLLOWS
    if facts is not None and facts.sources is None and facts.chronyd_runs is False:
        return failed_rung(name, Reason.NOT_SYNCHRONISED, "chronyd does not run")
    if facts is None or facts.sources is None:
        return unobserved_rung(name, "chronyd's sources were not observed")
    phc = next((source for source in facts.sources if _is_phc(source)), None)
    if phc is not None and phc.state == "*":
        return proven_rung(name, f"{phc.name} selected")
    other_source = next((f"{source.name} is selected instead" for source in facts.sources if source.state == "*"), "")
    state = (
        f"{phc.name} is in state {phc.state!r}, reach {phc.reach:o}" if phc else "chronyd has no PHC among its sources"
    )
    return failed_rung(name, Reason.NOT_SYNCHRONISED, "; ".join(text for text in (state, other_source) if text))


def _judge_bound_of_burst(facts: Facts | None) -> Rung:
    """Judge whether the one burst of depth quick agrees with chrony's bound; other depths judge every sample."""
    name, check = RungName.CHRONY_FOLLOWS, bound_check.check_collection(facts)
    if check.refuted:
        return unobserved_rung(name, check.describe(), Reason.BOUND_REFUTED)
    if check.uncompared:
        return unobserved_rung(name, "chrony's bound could not be held against a reading")
    return proven_rung(name, "")


def _judge_selected_throughout(case: Case) -> Rung:
    name = RungName.CHRONY_FOLLOWS
    if not case.evidence.samples:
        return unobserved_rung(name, "no samples were taken")
    slots = quantities.count_slots(case.evidence)
    arrays = quantities.to_arrays(case.evidence)
    observed = _is_judged(case) & arrays.sourced
    followed = int((observed & _is_selected(case)).sum())
    total, observed_count = slots - slots // 2, int(observed.sum())
    share_text = f"selected in {followed} of the last {total} samples"
    if (followed + total - observed_count) / total < FOLLOWED_SHARE:
        return failed_rung(name, Reason.NOT_SYNCHRONISED, f"the PHC was {share_text}")
    if followed / total < FOLLOWED_SHARE or not case.evidence.samples_complete:
        return unobserved_rung(name, f"the PHC was {share_text}, and others are missing")
    return proven_rung(name, share_text)


def _is_judged(case: Case) -> "Flags":
    """Whether each sample is of the second half of the slots."""
    return quantities.to_arrays(case.evidence).slot >= quantities.count_slots(case.evidence) // 2


def _is_selected(case: Case) -> "Flags":
    """Whether chronyd selects the PHC in each sample."""
    return quantities.to_arrays(case.evidence).has_source(mode=PHC_MODE, state="*", name=PHC_NAME)


def _is_phc(source: ChronySource) -> bool:
    """Whether a source is a PHC. Without a configured refid chronyd names a source by driver and number, as PHC0."""
    return source.mode == PHC_MODE and source.name.startswith(PHC_NAME)

"""Write the notes beside a verdict: contradictions, unobserved rungs and quantities, remarks, and one remedy."""

from collections.abc import Mapping, Sequence

from harness.ladder import bound_check, clock_rungs, driver_remedies, quantities
from harness.ladder.case import Case
from harness.ladder.limit_rungs import quantity_title
from harness.model import Clock, DriverWord, Facts, Reason, Rung, RungStatus

MOST_UNPARSED = 20

REMEDIES: Mapping[Reason, str | None] = {
    Reason.SYNCHRONISED: None,
    Reason.NOT_OFFERED: "choose another type; on EC2 also ask in another zone or Region",
    Reason.CAPACITY: "try again later; on EC2 also in another zone",
    Reason.QUOTA: "ask for a higher quota, or run fewer at once",
    Reason.LAUNCH_FAILED: "fix the cause named above, then run again",
    Reason.UNREACHABLE: "see whether it runs and answers SSH (evidence may hold its serial log), then run it again",
    Reason.HOST_NOT_READY: "install on the host what it lacks, or use another image; then run it again",
    Reason.PACKAGES_UNAVAILABLE: "see whether the host reaches its package mirrors, or use an image that has them",
    Reason.HOST_NOT_PRECISION: "place it in a precision-time placement group, then run it again",
    Reason.DRIVER_NOT_CAPABLE: "boot a kernel >= 6.17 or install Amazon's ena driver built with ENA_PHC_INCLUDE=1",
    Reason.DRIVER_OFF: "set ena.phc_enable=1, or devlink enable_phc and reload",
    Reason.NO_PHC: "choose another instance type",
    Reason.PHC_UNREADABLE: "stop other readers of the clock (its budget is 125/s), then look at the phc_* counters",
    Reason.PHC_IMPLAUSIBLE: "do not use this clock; replace the host",
    Reason.READINGS_NOT_TAKEN: "restart chronyd, or install chrony 4.7 or later; see whether the processors are busy",
    Reason.NOT_SYNCHRONISED: "look at chronyd's log and `chronyc sources` on the host",
    Reason.CLOCK_INTERFERENCE: "stop the other program that steers the clock, then restart chronyd",
    Reason.OUT_OF_LIMITS: "do not trust this clock to these limits; measure longer or replace the host",
    Reason.TOO_FEW_SAMPLES: "measure longer",
    Reason.BOUND_REFUTED: "restart chronyd, then measure again; if readings are slow, raise chrony_phc_delay_s",
    Reason.NOT_PERSISTENT: "look at what set the driver and chronyd up before the reboot and did not do so again",
    Reason.NOT_OBSERVED: "make observable what is listed as not observed, then run again",
    Reason.INTERRUPTED: "run it again",
    Reason.HARNESS_ERROR: "see the evidence of the stage that failed, then run it again",
}


def choose_remedy(case: Case, reason: Reason, end: Rung | None = None) -> str | None:
    """Say in one sentence what to do next. `end` is the rung that decided.

    For a driver problem, prefer the remedy of the role, which saw the host.
    """
    role_remedy = case.facts.remedy if case.facts else None
    if reason in (Reason.HOST_NOT_READY, Reason.PACKAGES_UNAVAILABLE) and case.evidence.trouble_remedy:
        return case.evidence.trouble_remedy
    if reason is Reason.DRIVER_OFF and case.read_only:
        return _read_only_remedy(case.facts)
    if reason is Reason.DRIVER_OFF and case.evidence.read_only_files:
        return "`mount -o remount,rw /` on the host, or use another image; then run it again"
    start_failure = driver_remedies.START_REMEDIES.get(case.facts.driver_word) if case.facts else None
    if reason in (Reason.DRIVER_NOT_CAPABLE, Reason.NO_PHC) and start_failure:
        return start_failure
    if reason in (Reason.DRIVER_NOT_CAPABLE, Reason.DRIVER_OFF, Reason.NO_PHC) and role_remedy:
        return role_remedy
    if reason is Reason.DRIVER_OFF and case.facts and (command := driver_remedies.switch_on_command(case.facts)):
        return command
    if reason is Reason.PHC_UNREADABLE:
        failed = driver_remedies.explain_reading([case.facts, case.evidence.final_facts])
        return driver_remedies.READ_REMEDIES[failed[0]] if failed else REMEDIES[reason]
    if reason is Reason.NO_PHC and not (case.facts and case.facts.driver_word is DriverWord.NOT_SUPPORTED_BY_DEVICE):
        return "reload the driver with its debug messages on, so that it says why there is no clock"
    if reason is Reason.NOT_OBSERVED and end is not None and quantities.LEAP_SECOND in end.evidence:
        return "measure again a day after the leap second"
    if reason is Reason.NOT_OBSERVED and end is not None and end.evidence.startswith(clock_rungs.NO_NTP_ANSWER):
        return _second_opinion_remedy(case)
    return REMEDIES[reason]


def _read_only_remedy(facts: Facts | None) -> str:
    by_role = "run it without --read-only, so that the role switches the clock on"
    command = driver_remedies.switch_on_command(facts) if facts else None
    return f"{by_role}; or by hand: {command}" if command else by_role


def _second_opinion_remedy(case: Case) -> str | None:
    if not clock_rungs.uses_link_local(case):
        return "see why that NTP server did not answer the host, then run it again"
    variable = "clock_facts_ntp_servers" if case.read_only else "chrony_phc_second_opinion_address"
    return f"set {variable} to an NTP server that the host can reach, then run it again"


def list_contradictions(case: Case, rungs: Sequence[Rung]) -> tuple[str, ...]:
    """List the points in which an API's claim and the measurement disagree."""
    claim, clock = case.evidence.claim, case.clock
    if claim is None:
        return ()
    claim_text = f"{claim.source} said on {claim.date} that the PHC is"
    if not claim.phc_supported and clock is not None:
        return (f"{claim_text} unsupported, and {clock.name} is there",)
    device_has_no_clock = any(rung.reason is Reason.NO_PHC and rung.status is RungStatus.FAILED for rung in rungs)
    if claim.phc_supported and device_has_no_clock:
        return (f"{claim_text} supported, and the driver says that the device has none",)
    return ()


def list_unobserved(case: Case, rungs: Sequence[Rung]) -> tuple[str, ...]:
    """List every rung and quantity that was not observed, and the lines that no probe could parse."""
    lines = case.evidence.unparsed
    more = len(lines[MOST_UNPARSED:]) + sum(item.more for item in lines)
    return (
        *(f"{quantity_title(rung.name)}: {rung.evidence}" for rung in rungs if rung.status is RungStatus.NOT_OBSERVED),
        *(f"{quantity_title(item.quantity)}: {item.note}" for item in case.findings if item.held is None and item.note),
        *(
            f"{item.where}:{item.line_number}: {item.line[:120]!r} is not {item.expected}"
            for item in lines[:MOST_UNPARSED]
        ),
        *((f"and {more} more lines that were not understood",) if more > 0 else ()),
    )


def list_remarks(case: Case) -> tuple[str, ...]:
    """List facts that a reader should know and that do not affect the verdict."""
    messages = [_about_ptp4l(case.facts, case.clock)] if case.facts and case.clock else []
    messages += [bound_check.describe_slow_readings(case.evidence), _about_first_look(case)]
    if case.facts and case.facts.missing_tools:
        messages.append(f"{', '.join(case.facts.missing_tools)}: not installed, which no verdict needs")
    messages += [_about_restarting(case)]
    if case.facts and case.facts.error_bound_trouble:
        messages.append(f'error bound: the driver says "{case.facts.error_bound_trouble}"')
    messages += [message for message in (case.evidence.lost, case.evidence.trouble) if message]
    return tuple(remark for remark in messages if remark)


def _about_first_look(case: Case) -> str | None:
    """Tell what was measured before chronyd had settled, where that led to a second look."""
    check = bound_check.check_collection(case.evidence.first_facts)
    return f"looked at again once chronyd had settled; before, {check.describe()}" if check.refuted else None


def _about_restarting(case: Case) -> str | None:
    """Tell which daemons of linuxptp do not stay up on a read-only clock, where they cannot run."""
    collections = [facts for facts in (case.facts, case.evidence.final_facts) if facts is not None]
    daemons = sorted({daemon for facts in collections for daemon in facts.restarting})
    if not daemons or case.clock is None or not clock_rungs.is_read_only(case.clock):
        return None
    return f"{', '.join(daemons)}: started again and again and does not stay up; it steers nothing, and can be disabled"


def _about_ptp4l(facts: Facts, clock: Clock) -> str | None:
    if facts.hardware_timestamping is False and clock.max_adjustment_ppb == 0:
        return "ptp4l: not applicable, the clock is read-only and there is no TX timestamping"
    if facts.hardware_timestamping is False:
        return "ptp4l: not applicable, the card cannot timestamp in hardware what it sends and receives"
    if facts.hardware_timestamping:
        return "ptp4l: the card can timestamp in hardware, so the chain from ptp4l to chronyd applies"
    return None

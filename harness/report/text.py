"""Write the report for people: a table of verdicts with their evidence, then the final state of the hosts."""

from collections import Counter
from collections.abc import Mapping, Sequence

from harness import units
from harness.model import HostRecord, HostState, RungName, RungStatus, RunRecord, Stage
from harness.model.bench_traits import traits_of_recorded
from harness.model.outcomes import is_as_expected
from harness.report import table
from harness.report.disturbance_text import describe_disturbances
from harness.report.quality_text import describe_quality
from harness.units import usd
from harness.untrusted.plain_text import printable

_HEAD = ("HOST", "VERDICT", "WHY", "EVIDENCE")

_RUNG_SIZES = [3, max(map(len, RungName)), max(map(len, RungStatus))]
"""Widths of the columns of a ladder before the evidence: mark, name, status."""


def summary(record: RunRecord, *, report_path: str | None = None, width: int = 120) -> str:
    """Write the table of a whole run and its closing lines, at most `width` columns wide except for very long words."""
    return verdict_table(record.hosts, width=width) + printable("\n".join(_closing_lines(record, report_path))) + "\n"


def verdict_table(hosts: Sequence[HostRecord], *, width: int = 120) -> str:
    """Write one row for each host: its name, verdict, reason and evidence."""
    rows = [(host.name, host.verdict.outcome.value, host.verdict.reason.value, _evidence(host)) for host in hosts]
    sizes = table.column_sizes([row[:3] for row in [_HEAD, *rows]])
    lines = list(table.wrap_row(_HEAD[:3], [_HEAD[3]], sizes, width))
    for name, outcome, reason, evidence in rows:
        lines += table.wrap_row((name, outcome, reason), evidence.splitlines(), sizes, width)
    return printable("\n".join(lines)) + "\n"


def ladder(host: HostRecord, *, bench: str = "", width: int = 120) -> str:
    """Write one host of a bench in full: every rung, every finding, and everything that was not observed."""
    verdict = host.verdict
    title = host_title(host.name, host.instance_type)
    lines = [f"{title}: {verdict.outcome} {verdict.reason}", f"  {verdict.sentence}"]
    if verdict.remedy:
        lines.append(f"  next: {verdict.remedy}")
    for rung in verdict.rungs:
        cells = (f"  {_MARKS[rung.status]}", rung.name.value, rung.status.value)
        lines += table.wrap_row(cells, [rung.evidence], _RUNG_SIZES, width)
    for finding in verdict.findings:
        observed = (
            "not observed"
            if finding.observed is None
            else units.with_uncertainty(finding.observed, finding.uncertainty, finding.unit)
        )
        held = {True: "held", False: "BROKEN", None: "not judged"}[finding.held]
        limit = f"{finding.comparison} {units.with_unit(finding.limit, finding.unit)}"
        basis = f"{finding.samples} samples{', ' + finding.note if finding.note else ''}"
        lines.append(f"  {finding.quantity} {finding.statistic}: {observed} {limit} {held} ({basis}; {finding.source})")
    lines += [f"  {line}" for line in describe_quality(host.quality)] if host.quality else []
    lines += [f"  {line}" for line in describe_disturbances(host.disturbances)]
    lines += [f"  contradiction: {text}" for text in verdict.contradictions]
    lines += [f"  not observed: {text}" for text in verdict.unobserved]
    lines += [f"  {text}" for text in verdict.remarks]
    stages = ", ".join(f"{stage_title(stage, bench)} {seconds:.1f} s" for stage, seconds in host.stages.items())
    calls_text = "" if host.api_calls is None else f"; {host.api_calls:g} API calls"
    return printable("\n".join([*lines, f"  {state_title(host.state, bench)}; {stages}{calls_text}"])) + "\n"


def host_title(name: str, instance_type: str) -> str:
    """Write a host's name, with its type where the two differ."""
    return name if name == instance_type else f"{name} ({instance_type})"


def stage_title(stage: Stage, bench: str) -> str:
    """Name a stage for people. Machines that exist before a run are neither provisioned nor released."""
    return stage.value if _makes_hosts(bench) else _STAGES_WITHOUT_MAKING.get(stage, stage.value)


def state_title(state: HostState, bench: str) -> str:
    """Name the final state of a host, for people. Machines that exist before a run stay after it."""
    return state.value if _makes_hosts(bench) else "stays"


def _makes_hosts(bench: str) -> bool:
    return traits_of_recorded(bench).makes_hosts


_STAGES_WITHOUT_MAKING = {Stage.PROVISION: "look up", Stage.RELEASE: "leave"}

_MARKS = {
    RungStatus.PROVEN: "+",
    RungStatus.FAILED: "x",
    RungStatus.NOT_OBSERVED: "?",
    RungStatus.NOT_REACHED: ".",
    RungStatus.RECORDED: "i",
    RungStatus.NOT_REQUIRED: "-",
}


def _evidence(host: HostRecord) -> str:
    verdict = host.verdict
    lines = [verdict.sentence, *(f"contradiction: {text}" for text in verdict.contradictions)]
    expected = is_as_expected(host)
    if expected is not None:
        lines.append("as expected" if expected else f"NOT AS EXPECTED: the campaign expects {host.expected}")
    return "\n".join([*lines, f"next: {verdict.remedy}"] if verdict.remedy and not expected else lines)


def describe_places(hosts: Sequence[HostRecord]) -> list[str]:
    """List each host's place and clock: a heading, then one line per host. "-" means unknown."""
    rows = [("HOST", "TYPE", "ADDRESS", "ZONE", "CLOCK"), *map(_place, hosts)]
    return [printable(line) for line in table.align_rows(rows)]


def describe_choices(hosts: Sequence[HostRecord]) -> list[str]:
    """List hosts to choose from: a heading, then one line per host with its number, its place and its quality."""
    rows = [("", "HOST", "ADDRESS", "ZONE", "CLOCK", "OFFSET", "BOUND")]
    for number, host in enumerate(hosts, 1):
        name, _, address, zone, clocks = _place(host)
        rows.append((f"{number:>3}", name, address, zone, clocks, _observed(host, "offset_ns"), _bound(host)))
    return [printable(line) for line in table.align_rows(rows)]


def _bound(host: HostRecord) -> str:
    """Write the bound with the device's own error, where it is known; else chrony's bound."""
    total = _observed(host, "error_bound_ns")
    return _observed(host, "chrony_bound_ns") if total == "-" else total


def _observed(host: HostRecord, quantity: str) -> str:
    """Write the observed value of a quantity with its statistic; "-" where it was not observed."""
    for finding in host.verdict.findings:
        if finding.quantity == quantity and finding.observed is not None:
            return f"{units.with_unit(finding.observed, finding.unit)} ({finding.statistic})"
    return "-"


def _place(host: HostRecord) -> tuple[str, str, str, str, str]:
    clocks = ", ".join(f"/dev/{clock.device} {clock.name}" for clock in (host.facts and host.facts.clocks) or ())
    return host.name, host.instance_type, host.address or "-", host.zone or "-", clocks or "-"


def _closing_lines(record: RunRecord, report_path: str | None) -> list[str]:
    states = Counter(host.state for host in record.hosts)
    kept_hosts = [host for host in record.hosts if host.state is HostState.KEPT]
    failed_names = [host.name for host in record.hosts if host.state is HostState.FAILED]
    host_states = [
        f"released {states[HostState.RELEASED]} of {len(record.hosts)}, verified",
        f"kept {', '.join(host.name for host in kept_hosts) or 'none'}",
        f"NOT RELEASED {', '.join(failed_names)}" if failed_names else "",
    ]
    parts = [
        *(host_states if _makes_hosts(record.bench) else ["no host made or removed"]),
        f"report: {report_path}" if report_path else "",
        units.duration(record.seconds),
        "" if record.api_calls is None else f"{record.api_calls} API calls",
        "" if record.cost_usd is None else f"about {usd(record.cost_usd)}",
        "interrupted" if record.interrupted else "",
    ]
    lines = ["   ".join(part for part in parts if part)]
    if kept_hosts and _makes_hosts(record.bench):
        lines += [f"  {line}" for line in describe_places(kept_hosts)]
        lines.append(f"enter one: ptp-harness ssh {record.run} HOST   remove them: ptp-harness release {record.run}")
    if record.evidence_unsent is not None:
        lines.append(f"evidence not sent: {record.evidence_unsent}; send it with `ptp-harness evidence send`")
    lines += describe_begun_anew({host.name: host.attempt for host in record.hosts})
    lines += [f"our fault: {failure}" for failure in record.failures]
    if record.leftovers:
        lines.append(f"STILL RUNNING: {left_running(record)}; remove with `ptp-harness sweep --yes`")
    return lines


def describe_begun_anew(attempts: Mapping[str, int]) -> list[str]:
    """Name the hosts that were begun more than once, for faults of the infrastructure; no line where none was."""
    again = [f"{host} ({attempt} attempts)" for host, attempt in attempts.items() if attempt > 1]
    return [f"begun anew, since the infrastructure failed: {', '.join(again)}"] if again else []


def list_warnings(record: RunRecord) -> list[str]:
    """List what a reader must know before the verdicts, a sentence each."""
    lines: list[str] = []
    if record.leftovers:
        lines.append(f"STILL RUNNING: {left_running(record)}; remove with `ptp-harness sweep --yes`")
    if record.interrupted:
        lines.append("The run was interrupted: hosts that were not judged by then are INCONCLUSIVE.")
    lines += [f"our fault: {failure}" for failure in record.failures]
    if record.evidence_unsent is not None:
        lines.append(f"evidence not sent: {record.evidence_unsent}; send it with `ptp-harness evidence send`")
    return lines


def left_running(record: RunRecord) -> str:
    """List the resources that could not be removed, each with its token; empty when nothing is left."""
    return ", ".join(f"{resource.kind} {resource.name} of {resource.token}" for resource in record.leftovers)

"""Write the report for people: a table of verdicts with their evidence, then the final state of the hosts."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

from harness import units
from harness.model import HostRecord, HostState, RungStatus, RunRecord
from harness.units import usd
from harness.untrusted.plain_text import printable

_HEAD = ("HOST", "VERDICT", "WHY", "EVIDENCE")


def summary(record: RunRecord, *, report_path: str | None = None, width: int = 120) -> str:
    """Write the table of a whole run and its closing lines, at most `width` columns wide except for very long words."""
    rows = [
        (host.name, host.verdict.outcome.value, host.verdict.reason.value, _evidence(host)) for host in record.hosts
    ]
    sizes = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(3)]
    lines = list(_row(_HEAD[:3], [_HEAD[3]], sizes, width))
    for name, outcome, reason, evidence in rows:
        lines += _row((name, outcome, reason), evidence.splitlines(), sizes, width)
    return printable("\n".join([*lines, *_closing(record, report_path)])) + "\n"


def ladder(host: HostRecord, *, width: int = 120) -> str:
    """Write one host in full: every rung, every finding, and everything that was not observed."""
    verdict = host.verdict
    lines = [f"{host.name} ({host.instance_type}): {verdict.outcome} {verdict.reason}", f"  {verdict.sentence}"]
    if verdict.remedy:
        lines.append(f"  next: {verdict.remedy}")
    for rung in verdict.rungs:
        mark = _MARKS[rung.status]
        lines += _row((f"  {mark}", rung.name.value, rung.status.value), [rung.evidence], [3, 15, 12], width)
    for finding in verdict.findings:
        observed = "not observed" if finding.observed is None else units.with_unit(finding.observed, finding.unit)
        held = {True: "held", False: "BROKEN", None: "not judged"}[finding.held]
        limit = f"{finding.comparison} {units.with_unit(finding.limit, finding.unit)}"
        basis = f"{finding.samples} samples{', ' + finding.note if finding.note else ''}"
        lines.append(f"  {finding.quantity} {finding.statistic}: {observed} {limit} {held} ({basis}; {finding.source})")
    lines += [f"  contradiction: {text}" for text in verdict.contradictions]
    lines += [f"  not observed: {text}" for text in verdict.unobserved]
    lines += [f"  {text}" for text in verdict.remarks]
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in host.stages.items())
    calls_text = "" if host.api_calls is None else f"; {host.api_calls:g} API calls"
    return printable("\n".join([*lines, f"  {host.state}; {stages}{calls_text}"])) + "\n"


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
    return "\n".join([*lines, f"next: {verdict.remedy}"] if verdict.remedy else lines)


def _row(cells: Iterable[str], texts: Iterable[str], sizes: list[int], width: int) -> list[str]:
    """Write fixed cells, then wrapped text in the last column."""
    start = "  ".join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=True)) + "  "
    room = max(width - len(start), 40)
    wrapped = [line for text in texts for line in textwrap.wrap(text, room) or [""]] or [""]
    return [(start if number == 0 else " " * len(start)) + line for number, line in enumerate(wrapped)]


def describe_places(hosts: Sequence[HostRecord]) -> list[str]:
    """List each host's place and clock: a heading, then one line per host. "-" means unknown."""
    rows = [("HOST", "TYPE", "ADDRESS", "ZONE", "CLOCK"), *map(_place, hosts)]
    return [printable(line) for line in aligned(rows)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows of equal length as lines with aligned columns."""
    sizes = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in rows]


def _place(host: HostRecord) -> tuple[str, str, str, str, str]:
    clocks = ", ".join(f"/dev/{clock.device} {clock.name}" for clock in (host.facts and host.facts.clocks) or ())
    return host.name, host.instance_type, host.address or "-", host.zone or "-", clocks or "-"


def _closing(record: RunRecord, report_path: str | None) -> list[str]:
    states = Counter(host.state for host in record.hosts)
    kept_hosts = [host for host in record.hosts if host.state is HostState.KEPT]
    failed_names = [host.name for host in record.hosts if host.state is HostState.FAILED]
    host_states = [
        f"released {states[HostState.RELEASED]} of {len(record.hosts)}, verified",
        f"kept {', '.join(host.name for host in kept_hosts) or 'none'}",
        f"NOT RELEASED {', '.join(failed_names)}" if failed_names else "",
    ]
    parts = [
        *(host_states if record.bench != "hosts" else ["no host made or removed"]),
        f"report: {report_path}" if report_path else "",
        _duration(record.seconds),
        "" if record.api_calls is None else f"{record.api_calls} API calls",
        "" if record.cost_usd is None else f"about {usd(record.cost_usd)}",
        "interrupted" if record.interrupted else "",
    ]
    lines = ["   ".join(part for part in parts if part)]
    if kept_hosts and record.bench != "hosts":
        lines += [f"  {line}" for line in describe_places(kept_hosts)]
        lines.append(f"enter one: ptp-harness ssh {record.run} HOST   remove them: ptp-harness release {record.run}")
    lines += [f"our fault: {failure}" for failure in record.failures]
    if record.leftovers:
        lines.append(f"STILL RUNNING: {left_running(record)}; remove with `ptp-harness sweep --yes`")
    return lines


def left_running(record: RunRecord) -> str:
    """List the resources that could not be removed, each with its token; empty when nothing is left."""
    return ", ".join(f"{resource.kind} {resource.name} of {resource.token}" for resource in record.leftovers)


def _duration(seconds: float) -> str:
    minutes, rest_s = divmod(round(seconds), 60)
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"

"""Keep what was observed of a host beside its raw outputs, and read all of it back as evidence.

`evidence.json` holds what no raw output tells: the offer, the launch, how the host was reached, what went wrong, and
which raw outputs belong to it. Facts and samples are parsed again from the outputs, or samples are read from their
columns (`parsed_samples`). Runs of earlier versions have no `evidence.json`: what it would tell follows from the rungs
of the host's recorded verdict.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RequestError
from harness.model import (
    Evidence,
    Facts,
    HostRecord,
    Launch,
    Offer,
    Placement,
    Reach,
    Reason,
    RungName,
    RungStatus,
    Unparsed,
)
from harness.model.plots import PLOTS_DEFINITION, ClockPlots
from harness.probes import disturbance_marks
from harness.probes import facts as facts_probe
from harness.probes.samples import MOST_SAMPLES
from harness.store import parsed_samples
from harness.store.evidence_folder import EvidenceFolder

if TYPE_CHECKING:
    from pydantic import TypeAdapter

EVIDENCE_FILE, PLOTS_FILE = "evidence.json", "plots.json"
FACTS, FACTS_AGAIN, SAMPLES, FACTS_FINAL = "facts.json", "facts-again.json", "samples.jsonl", "facts-final.json"
MARKS = "marks.jsonl"
PARTS = {"disturbed": "disturbed-", "rebooted": "rebooted-"}
"""The names of a host's raw outputs, and what those of parts of the evidence begin with: while it was disturbed, and
after its reboot."""

_SCHEMA = 1
_MOST_BYTES = 2 << 30
_PARSED = ("facts", "first_facts", "samples", "slots", "final_facts", "disturbances", "unparsed", *PARTS)
"""Fields of Evidence that are parsed from raw outputs."""

_TRIES = re.compile(r"at try (\d+)|after (\d+) tries")


def write_evidence(folder: EvidenceFolder, evidence: Evidence) -> None:
    """Write `evidence.json`. Raises SetupError when it cannot be written."""
    folder.write(EVIDENCE_FILE, json.dumps({"schema": _SCHEMA, **_to_document(evidence)}, indent=1))


def write_plots(folder: EvidenceFolder, plots: ClockPlots | None) -> None:
    """Write what the plots of a host show, for reports; of a host without plots remove those of an earlier attempt.

    Raises SetupError when it cannot be written, OSError when it cannot be removed.
    """
    if plots is None:
        (folder.path / PLOTS_FILE).unlink(missing_ok=True)
    else:
        folder.write(PLOTS_FILE, json.dumps(asdict(plots)))


def read_plots(folder: Path) -> ClockPlots | None:
    """Read what the plots of a host show; None where it was not written, or by another version: compute it again."""
    from pydantic import TypeAdapter, ValidationError

    try:
        plots = TypeAdapter(ClockPlots).validate_json((folder / PLOTS_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return plots if plots.definition == PLOTS_DEFINITION else None


def read_evidence(folder: Path, record: HostRecord, *, most_samples: int) -> Evidence:
    """Read a host's evidence back, parsed by this version.

    Raises RequestError when a raw output that was recorded is missing, or `evidence.json` is of a later version.
    """
    path = folder / EVIDENCE_FILE
    if not path.exists():
        return _read_outputs(folder, _infer_document(record, folder), "", most_samples)
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] > _SCHEMA:
            raise RequestError(
                f"{path} was written by a later version of ptp-harness",
                next_step="judge it with that version",
            )
        return _read_outputs(folder, document, "", most_samples)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RequestError(
            f"{path} is no evidence of a host: {type(error).__name__}", next_step="fetch it again, or measure again"
        ) from error


@cache
def _adapter() -> "TypeAdapter[Evidence]":
    from pydantic import TypeAdapter

    return TypeAdapter(Evidence)


def _to_document(evidence: Evidence) -> dict[str, Any]:
    document: dict[str, Any] = _adapter().dump_python(evidence, mode="json", exclude=set(_PARSED))
    outputs = {
        "facts": FACTS_AGAIN if evidence.first_facts is not None else FACTS,
        "first_facts": FACTS,
        "samples": SAMPLES,
        "final_facts": FACTS_FINAL,
    }
    document["outputs"] = {part: name for part, name in outputs.items() if getattr(evidence, part) is not None}
    if evidence.disturbances:
        document["outputs"]["disturbances"] = MARKS
    if evidence.disturbed is not None:
        document["disturbed"] = _to_document(evidence.disturbed)
    document["rebooted"] = None if evidence.rebooted is None else _to_document(evidence.rebooted)
    return document


def _read_outputs(folder: Path, document: Mapping[str, Any], prefix: str, most_samples: int) -> Evidence:
    """Parse the raw outputs that a document names, of before or after the reboot, and join them with its fields."""
    names = {field.name for field in fields(Evidence)} - {*_PARSED}
    evidence = _adapter().validate_python({name: document[name] for name in names & document.keys()})
    outputs, unparsed = document["outputs"], evidence.unparsed
    parts: dict[str, Any] = {}
    for part in ("first_facts", "facts"):
        if part in outputs:
            parts[part], lines = _read_facts(folder, prefix + outputs[part])
            unparsed += lines
    if "samples" in outputs:
        name = prefix + outputs["samples"]
        _find_output(folder, parsed_samples.find_lines(folder, name).name)
        parsed = parsed_samples.read_samples(folder, name, most=most_samples)
        parts |= {"samples": parsed.samples, "slots": parsed.slots}
        unparsed += parsed.unparsed
        if "disturbances" in outputs:
            name = prefix + outputs["disturbances"]
            marks = _read_output(folder, name)
            parts["disturbances"], lines = disturbance_marks.read_marks(marks, where=name, boots=parsed.boots)
            unparsed += lines
    if "final_facts" in outputs:
        parts["final_facts"], lines = _read_facts(folder, prefix + outputs["final_facts"])
        unparsed += lines
    for part, part_prefix in PARTS.items():
        if document.get(part) is not None and not prefix:
            most = most_samples if part == "rebooted" else MOST_SAMPLES  # disturbances take their own time
            parts[part] = _read_outputs(folder, document[part], part_prefix, most)
            unparsed += parts[part].unparsed
    return replace(evidence, unparsed=unparsed, **parts)


def _read_facts(folder: Path, name: str) -> tuple[Facts, tuple[Unparsed, ...]]:
    return facts_probe.read_facts(_read_output(folder, name), where=name)


def _read_output(folder: Path, name: str) -> str:
    """Read a raw output. Raises RequestError when it is not there, or leads elsewhere."""
    with _find_output(folder, name).open("rb") as file:
        return file.read(_MOST_BYTES).decode(errors="replace")


def _find_output(folder: Path, name: str) -> Path:
    """Find a raw output. Raises RequestError when it is not there, or leads elsewhere."""
    path = folder / name
    if "/" in name or not path.is_file() or path.is_symlink():
        raise RequestError(
            f"{path} is missing: the host cannot be judged without it",
            next_step="`ptp-harness evidence fetch RUN` fetches the whole evidence of a run that was sent",
        )
    return path


def _infer_document(record: HostRecord, folder: Path) -> dict[str, Any]:
    """Infer what `evidence.json` would hold from the rungs of a recorded verdict and the outputs that are there."""
    rungs = {rung.name: rung for rung in record.verdict.rungs}

    def evidence_of(name: RungName, status: RungStatus) -> str | None:
        rung = rungs.get(name)
        return rung.evidence if rung is not None and rung.status is status else None

    known: dict[str, Any] = {"claim": record.claim, "outputs": _find_outputs(record, folder, "")}
    offered = evidence_of(RungName.OFFERED, RungStatus.PROVEN)
    if offered is not None and " in " in offered:
        known["offer"] = Offer(available=True, where=offered.partition(" in ")[2])
    for name in (RungName.OFFERED, RungName.LAUNCHED):
        failure = evidence_of(name, RungStatus.FAILED)
        if failure is not None:
            known["launch"] = Launch(failure=rungs[name].reason, detail=failure)
    launched = evidence_of(RungName.LAUNCHED, RungStatus.PROVEN)
    if launched is not None:
        known["launch"] = Launch(failure=None, detail=launched)
    for status in (RungStatus.PROVEN, RungStatus.FAILED):
        text = evidence_of(RungName.REACHABLE, status)
        if text is not None:
            tries = _TRIES.search(text)
            detail = text.partition(": ")[2]
            count = int(tries[1] or tries[2]) if tries else 1
            known["reach"] = Reach(reached=status is RungStatus.PROVEN, tries=count, detail=detail)
    placed = evidence_of(RungName.PRECISION_HOST, RungStatus.PROVEN)
    if placed is not None and record.facts is not None and not record.facts.clocks:
        known["placement"] = Placement(precise=True, detail=placed)
    if rebooted := _find_outputs(record, folder, PARTS["rebooted"]):
        known["rebooted"] = {**known, "outputs": rebooted}
    return known | _infer_trouble(record)


def _infer_trouble(record: HostRecord) -> dict[str, Any]:
    """Infer why a host could not be judged: the rung that ended its climb without being observed tells it."""
    end = next((rung for rung in record.verdict.rungs if rung.status is RungStatus.NOT_OBSERVED), None)
    if end is None or record.verdict.sentence != end.evidence:
        return {}
    match record.verdict.reason:
        case Reason.INTERRUPTED:
            return {"interrupted": True, "interrupted_while": end.evidence.removeprefix("interrupted while ")}
        case Reason.UNREACHABLE:
            return {"lost": end.evidence}
        case Reason.HARNESS_ERROR | Reason.HOST_NOT_READY | Reason.PACKAGES_UNAVAILABLE as reason:
            return {"trouble": end.evidence, "trouble_reason": reason, "trouble_remedy": record.verdict.remedy}
        case _:
            return {}


def _find_outputs(record: HostRecord, folder: Path, prefix: str) -> dict[str, str]:
    """Find the raw outputs behind a recorded verdict: what it shows was used must be there, the rest may be."""
    there = {name for name in (FACTS, FACTS_AGAIN, SAMPLES, FACTS_FINAL) if (folder / (prefix + name)).is_file()}
    if not prefix and record.facts is not None:
        there |= {FACTS, *([SAMPLES] if record.verdict.findings else [])}
    if FACTS not in there:
        return {}
    outputs = {"facts": FACTS, "samples": SAMPLES, "final_facts": FACTS_FINAL}
    if FACTS_AGAIN in there:
        outputs |= {"facts": FACTS_AGAIN, "first_facts": FACTS}
    return {part: name for part, name in outputs.items() if name in there}

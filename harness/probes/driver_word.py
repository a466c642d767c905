"""Parse `ena_driver.json`: the actions of the role ena_driver, and the answer of the driver."""

from dataclasses import dataclass
from typing import Any

from harness.errors import ParseError
from harness.model import DriverWord
from harness.probes.kernel_log import find_last_word
from harness.probes.reading import json_object


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverRecord:
    """The role's record. `word` and `text` are the driver's last sentence about its clock after the role's attempts."""

    decision: str
    boot_id: str | None
    word: DriverWord | None
    text: str | None
    remedy: str | None


DECISIONS = ("devlink", "module_parameter", "already_on", "clock_present", "not_capable", "no_device")


def parse(text: str, where: str) -> DriverRecord:
    """Read the record. Raises ParseError when it is not the JSON that docs/evidence-format.md describes."""
    try:
        record = json_object(text)
        return _parse_record(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        line = text[:200].split("\n")[0]
        raise ParseError(where, 1, line, f"the record of the role ena_driver ({type(error).__name__})") from error


def _parse_record(record: dict[str, Any]) -> DriverRecord:
    if record["schema"] != 1 or record["decision"] not in DECISIONS:
        raise ValueError("unknown schema or decision")
    lines = [line for attempt in record["attempts"] for line in f"{attempt['out']}\n{attempt['err']}".splitlines()]
    last = find_last_word([*lines, *(str(line) for line in record["kernel_log"])])
    return DriverRecord(
        decision=record["decision"],
        boot_id=_text(record.get("boot_id")),
        word=last[0] if last else None,
        text=last[1] if last else None,
        remedy=_text(record.get("remedy")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

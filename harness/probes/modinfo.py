"""Parse `modinfo ena`, which lists version and parameters of the driver on disk."""

import re
from dataclasses import dataclass

from harness.errors import ParseError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFile:
    """A module file. In-tree drivers have no version."""

    version: str | None
    parameters: tuple[str, ...]


PHC_PARAMETER = "phc_enable"
"""The module's parameter that switches the clock on. devlink's has the words in the other order: `enable_phc`."""

_FIELD = re.compile(r"([a-z_]+):(?:\s+(.*))?")
_CONTINUED = re.compile(r"\s+(\S.*)?")


def parse(text: str, where: str) -> ModuleFile:
    """Read `modinfo ena`. Ignored: all fields but version and parm, and indented lines, which continue a signature.

    Raises ParseError on any other line, and on a text without `filename:`.
    """
    version: str | None = None
    parameters: list[str] = []
    seen_file = False
    for number, line in enumerate(text.split("\n"), 1):
        match = _FIELD.fullmatch(line.rstrip())
        if match is None:
            if line.strip() and not _CONTINUED.fullmatch(line):
                raise ParseError(where, number, line, "a `field: value` line of modinfo")
            continue
        field, value = match[1], match[2] or ""
        seen_file |= field == "filename"
        if field == "version":
            version = value or None
        elif field == "parm":
            parameters.append(value.partition(":")[0])
    if not seen_file:
        raise ParseError(where, text.count("\n") + 1, "", "modinfo's text with a line `filename:`")
    return ModuleFile(version=version, parameters=tuple(parameters))

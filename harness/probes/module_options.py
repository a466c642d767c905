"""Parse the settings of the module ena in modprobe's configuration and on the kernel's command line."""

import re
from dataclasses import dataclass

from harness.errors import ParseError

_LINE = re.compile(r"(/[^:]*): (\S.*)")
_COMMAND_LINE = re.compile(r"ena\.([A-Za-z0-9_]+)(?:=(.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleOption:
    """A parameter of the module ena that a line of a file sets. `value` is empty where the line gives none."""

    file: str
    line: str
    name: str
    value: str


def parse(text: str, where: str) -> tuple[ModuleOption, ...]:
    """Read `FILE: options ena NAME=VALUE ...` and `/proc/cmdline: ena.NAME=VALUE` lines. Raises ParseError."""
    options: list[ModuleOption] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ParseError(where, number, line, "`FILE: LINE`")
        options += _parse_setting(match[1], match[2])
    return tuple(options)


def _parse_setting(file: str, setting: str) -> list[ModuleOption]:
    words = setting.split()
    if words[:2] == ["options", "ena"]:
        pairs = [word.partition("=") for word in words[2:]]
        return [ModuleOption(file=file, line=setting, name=name, value=value) for name, _, value in pairs]
    match = _COMMAND_LINE.fullmatch(setting)
    return [ModuleOption(file=file, line=setting, name=match[1], value=match[2] or "")] if match else []

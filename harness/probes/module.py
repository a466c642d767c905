"""Parse version and parameters of the loaded driver, from /sys/module/ena, and the lines of lsmod."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import ParseError


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModule:
    """The loaded driver. `version` is None for in-tree drivers; `loaded` are the modules that lsmod lists."""

    version: str | None
    parameters: Mapping[str, str]
    loaded: tuple[str, ...]


_PARAMETER = re.compile(r"([a-z][a-z0-9_]*)=(.*)")
_LSMOD = re.compile(r"([a-z][a-z0-9_]*) +[0-9]+ +-?[0-9]+(?: \S*)?")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~-]*")
_NOISE = re.compile(r"cat: .*: No such file or directory|\*=|Module +Size +Used by")


def parse(text: str, where: str) -> LoadedModule:
    """Read the version, `parameter=value` lines and lsmod's lines.

    Ignored: the shell's messages about files that an in-tree driver does not have. Raises ParseError on any other line.
    """
    version: str | None = None
    parameters: dict[str, str] = {}
    loaded: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if parameter := _PARAMETER.fullmatch(stripped):
            parameters[parameter[1]] = parameter[2]
        elif module := _LSMOD.fullmatch(stripped):
            loaded.append(module[1])
        elif _VERSION.fullmatch(stripped):
            version = stripped
        elif stripped and not _NOISE.fullmatch(stripped):
            raise ParseError(where, number, line, "a version, parameter or lsmod line")
    return LoadedModule(version=version, parameters=parameters, loaded=tuple(loaded))

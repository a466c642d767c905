"""Parse the devices of devlink and whether their PHC is on: `devlink dev; devlink dev param show; devlink dev info`."""

import re
from collections.abc import Mapping

from harness.errors import ParseError

_DEVICE = re.compile(r"([a-z]\w*/[^\s:]+(?::[^\s:]+)*)(:?)")
_NAME = re.compile(r"\s+name (\S+) type \S+")
_VALUE = re.compile(r"\s+cmode (\S+) value (\S+).*")
_DETAIL = re.compile(r"\s+[\w.-]+(?::| .*)?(?: .*)?")

PARAMETER = "enable_phc"


def parse(text: str, where: str) -> Mapping[str, bool | None]:
    """Map each PCI address (or other handle) to whether `enable_phc` is true; None for a device without this parameter.

    Ignored: other parameters and the lines of `devlink dev info`, which are always indented. Raises ParseError on any
    other line. The value is that of mode `driverinit`, which takes effect with the next reload.
    """
    values: dict[str, bool | None] = {}
    handle = parameter = ""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.rstrip()
        if device := _DEVICE.fullmatch(stripped):
            handle, parameter = device[1].removeprefix("pci/"), ""
            values.setdefault(handle, None)
        elif name := _NAME.fullmatch(stripped):
            parameter = name[1]
        elif value := _VALUE.fullmatch(stripped):
            _store_value(values, handle, parameter, value, (where, number, line))
        elif stripped and not (handle and _DETAIL.fullmatch(stripped)):
            raise ParseError(where, number, line, "a line of devlink dev, dev param show or dev info")
    return values


def _store_value(
    values: dict[str, bool | None], handle: str, parameter: str, value: re.Match[str], place: tuple[str, int, str]
) -> None:
    if not handle:
        raise ParseError(*place, "a value below a device")
    if parameter != PARAMETER or value[1] != "driverinit":
        return
    if value[2] not in ("true", "false"):
        raise ParseError(*place, "true or false")
    values[handle] = value[2] == "true"

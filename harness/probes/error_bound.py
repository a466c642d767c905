"""Parse the error bound of the device's clock: `/sys/bus/pci/devices/PCI/phc_error_bound`, in nanoseconds."""

import errno
from dataclasses import dataclass

from harness.errors import ParseError
from harness.model import Capture
from harness.probes.numbers import parse_integer


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBound:
    """The published bound. `value_ns`: None when the reading was refused.

    `published`: whether the driver has the file. Amazon's driver has it, the in-tree driver has not.
    """

    published: bool
    value_ns: int | None


def parse(capture: Capture, where: str) -> ErrorBound | None:
    """Read the file, or cat's message about it. None when nothing is known. Raises ParseError on other contents.

    EBUSY: published, but the last reading of the clock failed. ENOENT: this driver does not publish it. The
    driver publishes zero before the first reading, which is returned unchanged (2.17.0g).
    """
    message = f"{capture.out}\n{capture.err}"
    if capture.rc == errno.ENOENT or "No such file or directory" in message:
        return ErrorBound(published=False, value_ns=None)
    if capture.rc == errno.EBUSY or "Device or resource busy" in message:
        return ErrorBound(published=True, value_ns=None)
    if capture.rc != 0:
        return None
    value = parse_integer(capture.out.strip())
    if value is None or value < 0:
        raise ParseError(where, 1, capture.out, "an error bound in nanoseconds")
    return ErrorBound(published=True, value_ns=value)

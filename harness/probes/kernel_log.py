"""Find the ENA driver's own message about its clock, in the kernel log or in its refusal of devlink's request."""

from collections.abc import Iterable

from harness.model import DriverWord

SENTENCES = {
    "PHC is active in the device": DriverWord.ACTIVE,
    "PHC feature is not supported by the device": DriverWord.NOT_SUPPORTED_BY_DEVICE,
    "PHC feature is not enabled by the kernel": DriverWord.NOT_ENABLED,
    "Device doesn't support PHC": DriverWord.NOT_SUPPORTED_BY_DEVICE,
}
"""The driver's sentences: the first three from ena_phc.c, at debug level; the last from ena_devlink.c, to devlink."""


def find_last_word(lines: Iterable[str]) -> tuple[DriverWord, str] | None:
    """Find the last of the driver's sentences and its line; None without one.

    A kernel log is free text: every other line is ignored, none can be rejected.
    """
    last: tuple[DriverWord, str] | None = None
    for line in lines:
        for sentence, word in SENTENCES.items():
            if sentence in line:
                last = (word, line.strip())
    return last

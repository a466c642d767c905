"""Read the options that compare a clock's figure with a time, such as `--max-offset 20us`."""

from harness.errors import RequestError
from harness.untrusted.input_checks import shorten_value


def parse_ns(option: str, text: str | None) -> float | None:
    """Parse the value of an option: a time with its unit, ns. None stays None. Raises RequestError."""
    if text is None:
        return None
    # Imported here, since it is slow to load and most commands have no such option.
    from harness.campaign.limit_fields import limit_parser

    try:
        return limit_parser("ns")(text)
    except ValueError as error:
        raise RequestError(
            f"{option} is {shorten_value(text)}: it must be a time with its unit, such as 500ns, 20us or 1.5ms",
            next_step=f"{option} 20us",
        ) from error

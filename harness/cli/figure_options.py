"""Read the options that compare a clock's figure with a time, such as `--max-offset 20us`."""

from harness.campaign.query_values import parse_figure_ns


def parse_ns(option: str, text: str | None) -> float | None:
    """Parse the value of an option: a time with its unit, ns. None stays None. Raises RequestError."""
    return parse_figure_ns(option, text, next_step=f"{option} 20us")

"""Write the table of how a clock fared under each disturbance."""

from harness.model import HostRecord
from harness.report import disturbance_text
from harness.report.html.markup import EMPTY, Markup, element, join, table

_HEAD = ("disturbance", "largest offset", "largest bound", "bound", "offset above", "bound above", "after its end")


def disturbances_part(host: HostRecord) -> Markup:
    """Write heading and table; nothing for a host that was not disturbed."""
    if not host.disturbances:
        return EMPTY
    rows = (
        (
            disturbance_text.title(each),
            disturbance_text.describe_offset(each),
            disturbance_text.describe_bound(each),
            each.failure or disturbance_text.describe_coverage(each),
            disturbance_text.list_exceeded(each.offset_exceeded),
            disturbance_text.list_exceeded(each.bound_exceeded),
            disturbance_text.describe_return(each),
        )
        for each in host.disturbances
    )
    explained = (
        "Offsets are those of the system clock from the PHC, by the fastest reading of each second. A bound is refuted "
        "in a second in which even the reading's own uncertainty leaves the clock outside of it."
    )
    return join(
        [
            element("h4", "How the clock fared when it was disturbed"),
            table(f"disturbances of {host.name}", _HEAD, rows, class_="figures"),
            element("p", explained, class_="small"),
        ]
    )

"""Write the table of how a clock fared under each disturbance."""

from harness import units
from harness.model import HostRecord
from harness.model.disturbances import DisturbanceFigures
from harness.report import disturbance_text
from harness.report.html.markup import EMPTY, Markup, element, join, table

_HEAD = (
    "disturbance", "what happened", "offset at most", "bound at most", "bound held", "offset above", "bound above",
    "back after",
)  # fmt: skip

EXPLAINED = (
    "Offsets are those of the system clock from the PHC, by the fastest reading of each second; the one shown puts "
    "the two farthest apart, less its own uncertainty. The bound held in a second in which a reading lies within it, "
    "as far as the reading can tell; seconds without a reading are not compared. Times count from the beginning of "
    "the disturbance, the time back from its end."
)


def disturbances_part(host: HostRecord) -> Markup:
    """Write heading, table and explanation; nothing for a host that was not disturbed."""
    if not host.disturbances:
        return EMPTY
    return join(
        [
            element("h4", "How the clock fared when it was disturbed"),
            table(f"disturbances of {host.name}", _HEAD, map(_row, host.disturbances)),
            element("p", EXPLAINED, class_="small"),
        ]
    )


def _row(figures: DisturbanceFigures) -> tuple[str, ...]:
    name = str(figures.disturbance)
    if figures.failure is not None:
        return name, figures.failure, *("-",) * (len(_HEAD) - 2)
    lasted = f"lasted {units.duration(figures.lasted_s)}" if figures.lasted_s else "was over at once"
    return (
        name,
        ", ".join(part for part in (lasted, figures.detail) if part),
        disturbance_text.describe_offset(figures),
        disturbance_text.describe_bound(figures),
        _held(figures),
        disturbance_text.list_exceeded(figures.offset_exceeded),
        disturbance_text.list_exceeded(figures.bound_exceeded),
        "not while watched" if figures.back_after_s is None else f"{figures.back_after_s:g} s",
    )


def _held(figures: DisturbanceFigures) -> Markup | str:
    if not figures.compared:
        return "not compared"
    if not figures.refuted:
        return f"in all {figures.compared} s compared, of {figures.seconds} s"
    return element("strong", f"REFUTED in {figures.refuted} of {figures.compared} s")

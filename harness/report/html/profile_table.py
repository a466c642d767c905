"""Write which profiles a clock meets, exceeds, does not refute, or cannot show; and the masks that plots have."""

from collections.abc import Sequence

from harness.model.quality import ClockQuality, LimitResult, ProfileResult, ProfileStatus
from harness.report.html.charts import Curve
from harness.report.html.markup import EMPTY, Markup, element, folded, join, table

_DRAWN = {"g8272-prtc-a": "PRTC-A", "g8272-prtc-b": "PRTC-B"}
"""Profiles whose masks are drawn, by their short names; those of a campaign's own files are drawn, too."""

_OF_ITU = "g8"
_DASHES = ("7 3", "3 3", "9 2 2 2")

_WORDS = {
    ProfileStatus.MET: ("met", "pass"),
    ProfileStatus.EXCEEDED: ("exceeded", "fail"),
    ProfileStatus.NOT_REFUTED: ("not refuted", "inconclusive"),
    ProfileStatus.NOT_DEMONSTRABLE: ("not shown", "unsupported"),
}

NOTE = (
    "Answers about profiles of standards: met and exceeded were shown. Not refuted: within the limit as far as a "
    "comparison with the PHC shows, which says nothing of the PHC itself against UTC. Not shown: this measurement is "
    "too short or too coarse."
)


def profiles_table(quality: ClockQuality, host: str) -> Markup:
    """Write the profiles as a folded table, and count the answers before it; nothing where there is no profile.

    Profiles of which the same decided share a row.
    """
    if not quality.profiles:
        return EMPTY
    head = ("answer", "profiles", "decided by")
    alike: dict[tuple[ProfileStatus, str], list[str]] = {}
    for profile in quality.profiles:
        alike.setdefault((profile.status, _describe(profile)), []).append(profile.name)
    rows = [
        (_badge(status), ", ".join(names), text)
        for (status, text), names in sorted(alike.items(), key=lambda item: [*_WORDS].index(item[0][0]))
    ]
    counted = table(f"profiles of {host}", head, rows, class_="findings")
    return join(
        [
            element("h4", "Held against standards"),
            element("p", _count_answers(quality.profiles)),
            folded("Each profile, and what decided it", counted),
        ]
    )


def find_masks(quality: ClockQuality | None, kind: str) -> list[Curve]:
    """Find the masks of a kind, "mtie" or "tdev", that plots show."""
    return [
        Curve(name=f"mask of {name}", class_="bound", points=limit.mask, dashes=_DASHES[number % len(_DASHES)])
        for number, (name, limit) in enumerate(_choose_masks(quality, kind))
    ]


def describe_masks(quality: ClockQuality | None, kind: str) -> str:
    """Say what the measurement shows of each mask that the plot has."""
    texts = [f"{name} {_WORDS[limit.status][0]}" for name, limit in _choose_masks(quality, kind)]
    return f" Masks: {', '.join(texts)}." if texts else ""


def _choose_masks(quality: ClockQuality | None, kind: str) -> list[tuple[str, LimitResult]]:
    return [
        (_DRAWN.get(profile.name, profile.name), limit)
        for profile in (quality.profiles if quality else ())
        for limit in profile.limits
        if limit.kind == kind and limit.mask and (profile.name in _DRAWN or not profile.name.startswith(_OF_ITU))
    ]


def _count_answers(profiles: Sequence[ProfileResult]) -> str:
    counts = [
        f"{sum(profile.status is status for profile in profiles)} {words}" for status, (words, _) in _WORDS.items()
    ]
    return f"Of {len(profiles)} profiles of standards, regulations and vendors: {', '.join(counts)}."


def _badge(status: ProfileStatus) -> Markup:
    words, class_ = _WORDS[status]
    return element("span", words, class_=f"held {class_}")


def _describe(profile: ProfileResult) -> str:
    """Tell the first limit that has the profile's own answer, and how many others have it."""
    first, *others = [limit for limit in profile.limits if limit.status is profile.status]
    kind = f"{first.kind}: " if len(profile.limits) > 1 else ""
    return f"{kind}{first.sentence}" + (f"; and {len(others)} more" if others else "")

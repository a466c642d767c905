"""Choose what a watched clock is held against, and say what of it a stream of ticks cannot judge.

The JSON of a stream's limits, all keys optional: `bench` names the table of limits (ec2), `limits` replaces those of a
quantity as a campaign does, `profile_limits` are those of a profile, which `prepare_limits` writes for the key
`profile`. A reading of each tick is all that a stream has: what needs more stays to the quality of the day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.campaign.limits import UNITS, Requirement, requirements
from harness.campaign.profiles import LimitKind, Profile, ProfileReader, Reference
from harness.errors import RequestError
from harness.model.bench_traits import BenchName

DEFAULT_BENCH = BenchName.EC2.value
_KEYS = ("bench", "limits", "profile", "profile_limits")
_OF_EACH_TICK = (LimitKind.BOUND, LimitKind.OFFSET)
_FORM = 'the limits of a stream are {"limits": {"phc_offset_ns": {"median_abs": 5000}}} or {"profile": NAME}'


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileTickLimit:
    """A profile's limit that each tick can be held against. `against_utc`: else against the PHC."""

    kind: LimitKind
    against_utc: bool
    requirement: Requirement


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """The limits of a stream. `notes`: a sentence for each limit that it cannot use as a run does."""

    requirements: tuple[Requirement, ...]
    profile_limits: tuple[ProfileTickLimit, ...]
    notes: tuple[str, ...]


def prepare_limits(limits: Mapping[str, Any], read_profile: ProfileReader) -> dict[str, Any]:
    """Return limits as they are stored with a stream: in numbers, with the limits of its profile, so without a file.

    Raises RequestError for limits that are not understood, and what `read_profile` raises.
    """
    prepared = {key: value for key, value in limits.items() if key != "profile"}
    if isinstance(prepared.get("limits"), Mapping):
        prepared["limits"] = _parse_texts(prepared["limits"])
    name = limits.get("profile")
    if name is not None:
        if not isinstance(name, str):
            raise RequestError("the profile of a stream is no name", next_step="`ptp-harness profiles` lists them")
        prepared["profile_limits"] = _write_profile_limits(read_profile(name))
    read_limits(prepared)
    return prepared


def read_limits(limits: Mapping[str, Any]) -> StreamLimits:
    """Read the limits of a stream. Raises RequestError where they are not understood."""
    unknown = [str(key) for key in limits if key not in _KEYS]
    if unknown:
        raise RequestError(f"unknown key {unknown[0]!r} in the limits of a stream", next_step=_FORM)
    if "profile" in limits:
        raise RequestError(
            f"the limits of profile {str(limits['profile'])[:80]!r} are not among the limits of the stream",
            next_step="remove the stream and add it again, which reads the profile",
        )
    bench = limits.get("bench", DEFAULT_BENCH)
    if not isinstance(bench, str) or bench not in set(BenchName):
        raise RequestError(f"there is no table of limits for {str(bench)[:80]!r}", next_step=_FORM)
    chosen = requirements(bench, _read_overrides(limits.get("limits", {})))
    profile_limits, left = _read_profile_limits(limits.get("profile_limits", []))
    notes = (*(_NOTES[each.quantity] for each in chosen if each.quantity in _NOTES), *left)
    return StreamLimits(requirements=chosen, profile_limits=profile_limits, notes=tuple(dict.fromkeys(notes)))


_NOTES = {
    "convergence_s": "convergence is not judged: a watched chronyd is not started by the watch",
    "offset_ns": "chrony's offset counts when it differs from the one before: a tick does not tell when it was updated",
    "phc_read_success": "reads are counted by our own readings alone, not by the driver's counters",
    "second_opinion_offset_ns": "the second opinion is judged by its answers, which come every 16 s as a rule",
    "second_opinion_drift_ppb": "the drift is judged over 20 answers of the second opinion, at least 15 s apart",
}


def _parse_texts(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Make numbers of limits as campaign files have them, such as 5us; what is no limit stays, and is refused later."""
    from harness.campaign.limit_fields import limit_parser  # slow to load, and workers need it not

    def parse(quantity: str, limit: object) -> object:
        if not isinstance(limit, str) or quantity not in UNITS:
            return limit
        try:
            return limit_parser(UNITS[quantity])(limit)
        except ValueError:
            return limit

    return {
        quantity: {name: parse(quantity, limit) for name, limit in statistics.items()}
        if isinstance(statistics, Mapping)
        else statistics
        for quantity, statistics in limits.items()
    }


def _read_overrides(value: object) -> dict[str, dict[str, float]]:
    if not isinstance(value, Mapping) or not all(isinstance(each, Mapping) for each in value.values()):
        raise RequestError("the limits of a stream are no table of quantities", next_step=_FORM)
    for quantity, statistics in value.items():
        for statistic, limit in statistics.items():
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < 1e18:
                raise RequestError(f"limit {quantity} {statistic} is no number above 0", next_step=_FORM)
    return {quantity: dict(statistics) for quantity, statistics in value.items()}


def _write_profile_limits(profile: Profile) -> list[dict[str, Any]]:
    return [
        {
            "profile": profile.name,
            "kind": limit.kind.value,
            "reference": profile.reference.value,
            "limit_ns": limit.limit_ns,
            "least_samples": limit.least_samples,
            "filtered": limit.low_pass_hz is not None,
            "source": f"{profile.title}, {profile.edition}",
        }
        for limit in profile.limits
    ]


def _read_profile_limits(listed: object) -> tuple[tuple[ProfileTickLimit, ...], tuple[str, ...]]:
    """Read the limits of a profile: those of each tick, and a sentence about each other one."""
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise RequestError("profile_limits is no list", next_step=_FORM)
    limits, notes = [], []
    for each in listed:
        try:
            kind, limit_ns, name = LimitKind(each["kind"]), each["limit_ns"], str(each["profile"])
            if kind not in _OF_EACH_TICK or each["filtered"] or limit_ns is None:
                notes.append(f"{name} {kind} is judged by the day, not by each tick")
                continue
            limits.append(
                ProfileTickLimit(
                    kind=kind,
                    against_utc=Reference(each["reference"]) is Reference.UTC,
                    requirement=Requirement(
                        quantity=f"{name} {kind}",
                        statistic="max",
                        comparison="<=",
                        value=float(limit_ns),
                        unit="ns",
                        min_samples=min(int(each["least_samples"]), 600),
                        valid_for="each tick",
                        source=str(each["source"]),
                    ),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError("a limit of a profile is not understood", next_step=_FORM) from error
    return tuple(limits), tuple(notes)

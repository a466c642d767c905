"""Parse and write the files of profiles. All mistakes of a file are named together."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from harness.campaign import file_mistakes, strict_yaml
from harness.campaign.fields import parse_number
from harness.campaign.limit_fields import limit_parser
from harness.campaign.masks import Mask, Segment
from harness.campaign.mistakes import Mistake, Places, refuse
from harness.campaign.profiles import LimitKind, Profile, ProfileLimit, Reference
from harness.errors import RequestError
from harness.untrusted import input_checks

_NEXT_STEP = "`ptp-harness profiles NAME` prints a profile as such a file"
_MASKS = (LimitKind.MTIE, LimitKind.TDEV)

_TIME = WithJsonSchema({"type": "string", "description": "a time above 0 such as 100ns, 25us or 1.5ms"})
_TIME_S = WithJsonSchema({"type": "string", "description": "a time above 0 such as 100s, 0.1s or 20m"})

Nanoseconds = Annotated[float, BeforeValidator(limit_parser("ns")), Field(gt=0, le=1e18), _TIME]
Constant = Annotated[float, BeforeValidator(limit_parser("ns")), Field(ge=0, le=1e18), _TIME]
Seconds = Annotated[float, BeforeValidator(limit_parser("s")), Field(gt=0, le=1e9), _TIME_S]
Slope = Annotated[float, BeforeValidator(parse_number), Field(ge=-1e9, le=1e9, description="a number of ns per s")]
Bandwidth = Annotated[
    float, BeforeValidator(parse_number), Field(gt=0, lt=0.5, description="a number of Hz such as 0.1")
]
Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
Text = Annotated[str, Field(strict=True, min_length=1, max_length=500, description="a text of 1 to 500 characters")]


class _FileModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Segment(_FileModel):
    above: Seconds
    to: Seconds | None = None
    constant: Constant
    slope_ns_per_s: Slope = 0.0


class _Limit(_FileModel):
    kind: LimitKind
    limit: Nanoseconds | None = None
    segments: Annotated[tuple[_Segment, ...], Field(max_length=50, description="a list of at most 50 segments")] = ()
    low_pass_hz: Bandwidth | None = None
    least_duration: Seconds = 60.0
    least_samples: Count = 60


class _File(_FileModel):
    name: Annotated[
        str, Field(strict=True, pattern="^[a-z0-9][a-z0-9.-]{0,63}$", description="a name such as my-limits")
    ]
    title: Text
    edition: Text
    source: Text
    reference: Reference
    limits: Annotated[tuple[_Limit, ...], Field(max_length=20, description="a list of 1 to 20 limits")]


def parse_profile(text: str, *, where: str) -> Profile:
    """Parse a profile's file. Raises RequestError that names every mistake with its line."""
    loaded = strict_yaml.load(text, where=where, next_step=_NEXT_STEP)
    if not isinstance(loaded.data, dict):
        raise RequestError(f"{where}: a profile is a list of `key: value` lines", next_step=_NEXT_STEP)
    data = {input_checks.show_key(key): value for key, value in loaded.data.items()}
    places = Places(where=where, lines=loaded.lines, kind="profile")
    if unfit := input_checks.find_unfit_text(data):
        mistakes = [Mistake(path=text.path, problem=text.problem, remedy=text.remedy) for text in unfit]
        raise refuse(mistakes, places, next_step=_NEXT_STEP)
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        mistakes = file_mistakes.describe_errors(error.errors(), _File.model_json_schema())
        raise refuse(mistakes, places, next_step=_NEXT_STEP) from error
    mistakes = [] if file.limits else [Mistake(path=("limits",), problem="is empty", remedy="add a limit")]
    mistakes += [mistake for number, limit in enumerate(file.limits) for mistake in _find_mistakes(number, limit)]
    if mistakes:
        raise refuse(mistakes, places, next_step=_NEXT_STEP)
    return Profile(
        name=file.name,
        title=file.title,
        edition=file.edition,
        source=file.source,
        reference=file.reference,
        limits=tuple(map(_make_limit, file.limits)),
    )


def _find_mistakes(number: int, limit: _Limit) -> list[Mistake]:
    path = ("limits", number)
    if limit.kind in _MASKS:
        if limit.limit is not None:
            return [
                Mistake(path=(*path, "limit"), problem=f"is given for a mask of {limit.kind}", remedy="leave it out")
            ]
        try:
            Mask([_make_segment(segment) for segment in limit.segments])
        except ValueError as error:
            return [Mistake(path=(*path, "segments"), problem=str(error), remedy="let each begin where another ends")]
        return []
    if limit.segments:
        problem = f"is given for {limit.kind}, which has one limit at all times"
        return [Mistake(path=(*path, "segments"), problem=problem, remedy="write `limit: 100us` instead")]
    if limit.limit is None:
        return [Mistake(path=path, problem=f"{limit.kind} has no limit", remedy="add one, such as `limit: 100us`")]
    return []


def _make_limit(limit: _Limit) -> ProfileLimit:
    return ProfileLimit(
        kind=limit.kind,
        limit_ns=limit.limit,
        segments=tuple(map(_make_segment, limit.segments)),
        low_pass_hz=limit.low_pass_hz,
        least_s=limit.least_duration,
        least_samples=limit.least_samples,
    )


def _make_segment(segment: _Segment) -> Segment:
    return Segment(
        above_s=segment.above,
        to_s=segment.to,
        constant_ns=segment.constant,
        slope_ns_per_s=segment.slope_ns_per_s,
    )


def write_profile(profile: Profile) -> dict[str, Any]:
    """Write a profile as the data of its file: times as texts with their unit."""
    return {
        "name": profile.name,
        "title": profile.title,
        "edition": profile.edition,
        "source": profile.source,
        "reference": profile.reference.value,
        "limits": [_write_limit(limit) for limit in profile.limits],
    }


def _write_limit(limit: ProfileLimit) -> dict[str, Any]:
    segments = [
        {
            "above": f"{segment.above_s:.9g}s",
            **({} if segment.to_s is None else {"to": f"{segment.to_s:.9g}s"}),
            "constant": f"{segment.constant_ns:.9g}ns",
            **({"slope_ns_per_s": segment.slope_ns_per_s} if segment.slope_ns_per_s else {}),
        }
        for segment in limit.segments
    ]
    return {
        "kind": limit.kind.value,
        **({} if limit.limit_ns is None else {"limit": f"{limit.limit_ns:.15g}ns"}),
        **({"segments": segments} if segments else {}),
        **({} if limit.low_pass_hz is None else {"low_pass_hz": limit.low_pass_hz}),
        "least_duration": f"{limit.least_s:.9g}s",
        "least_samples": limit.least_samples,
    }

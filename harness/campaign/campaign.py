"""Parse a campaign file and flags into one frozen Campaign, and report all mistakes together.

pydantic is used only here and in `fields`, to check input that people write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from harness.campaign import fields, limits, mistakes, selection, strict_yaml
from harness.campaign.fields import Amount, Duration, Number, Patterns, Whole, YesNo
from harness.campaign.limits import Requirement
from harness.campaign.selection import PhcClaim, Selection
from harness.errors import RequestError
from harness.model import DEFAULT_CLOCK_NAMES, Depth
from harness.model.bench_traits import BenchName, traits_of
from harness.model.cloud import LEAST_VOLUME_GIB, MOST_VOLUME_GIB, CloudOptions
from harness.model.ec2_enums import Access, Architecture, Market
from harness.untrusted import input_checks


class Keep(StrEnum):
    """The hosts that are kept when the run ends: none, hosts that passed, or hosts for which a person answers yes."""

    NONE = "none"
    SUPPORTED = "supported"
    ASK = "ask"


class DriverSource(StrEnum):
    """Source of the ENA driver: the image's distribution, a release by Amazon, or an archive given by path or URL."""

    DISTRIBUTION = "distribution"
    RELEASE = "release"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverChoice:
    """The driver to install: `value` is a release's version or an archive's path or URL; `sha256` pins the archive."""

    source: DriverSource
    value: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A complete request: every default is filled in. Durations are in seconds.

    The campaign's types are `instance_types`, which may be empty, and the types of the Region that `select` selects.
    """

    bench: BenchName
    inventory: str | None
    instance_types: tuple[str, ...]
    select: Selection | None
    cloud: CloudOptions  # holds Region, image, placement and lease, which stand at the top of a campaign file
    depth: Depth
    driver: DriverChoice
    measure_duration_s: float
    measure_interval_s: float
    requirements: tuple[Requirement, ...]
    keep: Keep
    read_only: bool
    parallel: int | None  # None: the bench's own limit
    clock_names: tuple[str, ...]


_DEFAULT = CloudOptions()

COMMAND_LINE = "the command line"
_SCHEMA_HELPS = "`ptp-harness campaign schema` prints every key with its values"

_LIMITS = {
    "type": "object",
    "description": "What is required of a clock, quantity by quantity, in ns, ppb, s or as a ratio",
    "additionalProperties": False,
    "properties": {
        quantity: {
            "type": "object",
            "additionalProperties": False,
            "properties": {statistic: {"type": "number"} for statistic in statistics},
        }
        for quantity, statistics in limits.STATISTICS.items()
    },
}


class _FileModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Measure(_FileModel):
    duration: Duration | None = None
    interval: Duration = 1.0


class _Driver(_FileModel):
    source: DriverSource | None = None
    release: fields.Release | None = None
    archive: fields.PathOrUrl | None = None
    sha256: fields.Sha256 | None = None


class _Select(_FileModel):
    phc: PhcClaim = PhcClaim.ANY
    family: Patterns = ()
    size: Patterns = ()
    arch: Architecture | None = None
    min_vcpus: Whole | None = None
    max_vcpus: Whole | None = None
    min_memory_gib: Amount | None = None
    max_memory_gib: Amount | None = None
    max_price_per_hour: Amount | None = None
    current_generation: YesNo = False
    exclude: Patterns = ()
    one_size_per_family: YesNo = False
    limit: Whole | None = None


class _Ec2(_FileModel):
    zones: Annotated[tuple[fields.Zone, ...], Field(min_length=1, max_length=50)] = ()
    subnet: fields.Subnet | None = None
    access: Access = _DEFAULT.access
    controller_cidr: fields.Address32 | None = None
    instance_profile: fields.Profile | None = None
    user: fields.User | None = None
    market: Market = _DEFAULT.market
    other_sizes: YesNo = False
    volume_gib: Annotated[int, Field(strict=True, ge=LEAST_VOLUME_GIB, le=MOST_VOLUME_GIB)] = _DEFAULT.volume_gib
    owner: fields.Owner | None = None


class _File(_FileModel):
    """The campaign file, key by key."""

    bench: BenchName = BenchName.LAB
    inventory: fields.Path | None = None
    region: fields.Region | None = None
    instance_types: Annotated[tuple[fields.Host, ...], Field(min_length=1, max_length=2000)] = ()
    select: _Select | None = None
    image: fields.Image | None = None
    placement: fields.Placement = _DEFAULT.placement
    ec2: _Ec2 = _Ec2()
    depth: Depth = Depth.STANDARD
    driver: _Driver = _Driver()
    measure: _Measure = _Measure()
    limits: Annotated[dict[str, dict[str, Number]], WithJsonSchema(_LIMITS)] = {}
    keep: Keep = Keep.NONE
    lease: Duration = _DEFAULT.lease_s
    read_only: YesNo = False
    parallel: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    clock_names: Annotated[tuple[fields.Clock, ...], Field(min_length=1, max_length=20)] = DEFAULT_CLOCK_NAMES


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of campaign files, for editors. Combinations of keys are checked later."""
    header = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "PTP Harness campaign"}
    types_required = {"anyOf": [{"required": ["instance_types"]}, {"required": ["select"]}]}
    return header | {key: value for key, value in _File.model_json_schema().items() if key != "title"} | types_required


def from_yaml(text: str, *, where: str, flags: Mapping[str, Any] | None = None) -> Campaign:
    """Parse a campaign file's text; `flags` (keys as in the file) override the file.

    Raises RequestError: with line and column where the text is not YAML, else with all mistakes together.
    """
    written = strict_yaml.load(text, where=where, helps=_SCHEMA_HELPS)
    if not isinstance(written, dict):
        raise RequestError(
            f"{where}: a campaign is a list of `key: value` lines, such as `instance_types: [lab.phc]`",
            next_step=_SCHEMA_HELPS,
        )
    return from_mapping({_key(key): value for key, value in written.items()}, where=where, flags=flags)


def from_mapping(
    written: Mapping[str, Any], *, where: str = COMMAND_LINE, flags: Mapping[str, Any] | None = None
) -> Campaign:
    """Parse a campaign from plain data. Raises RequestError that names all mistakes together."""
    merged = _merged(written, flags or {})
    if unfit := input_checks.text_mistakes(merged):
        raise _refused(where, unfit)
    try:
        file = _File.model_validate(merged)
    except ValidationError as error:
        messages = (
            mistakes.describe_mistakes(error.errors(), _KEYS, fields.MEANINGS)
            + _mistakes_in_limits(merged)
            + _nothing_named(merged)
        )
        raise _refused(where, messages) from error
    messages = _mistakes_in_driver(file.driver) + _mistakes_in_limits(merged) + _mistakes_in_measure(file)
    messages += _mistakes_in_bench(file) + _mistakes_in_select(file) + _nothing_named(merged)
    if file.read_only and file.depth is Depth.FULL:
        messages.append("depth full reboots the hosts, which read_only does not allow")
    if file.read_only and _driver(file.driver).source is not DriverSource.DISTRIBUTION:
        messages.append("driver asks for another one to be installed, which read_only does not allow")
    if messages:
        raise _refused(where, messages)
    return Campaign(
        bench=file.bench,
        inventory=file.inventory,
        instance_types=file.instance_types,
        select=_select(file),
        cloud=_cloud(file),
        depth=file.depth,
        driver=_driver(file.driver),
        measure_duration_s=_measured_s(file),
        measure_interval_s=file.measure.interval,
        requirements=limits.requirements(file.bench, file.limits),
        keep=file.keep,
        read_only=file.read_only,
        parallel=file.parallel,
        clock_names=file.clock_names,
    )


def _merged(written: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Merge flags over the file; a group such as `measure` is merged key by key."""
    groups = {key: {**written[key], **flags[key]} for key in flags if _groups(written.get(key), flags[key])}
    return {**written, **flags, **groups}


def _key(key: object) -> str:
    return key if isinstance(key, str) else input_checks.shorten_value(key)


def _groups(*values: object) -> bool:
    return all(isinstance(value, dict) for value in values)


def _measured_s(file: _File) -> float:
    return file.measure.duration or traits_of(file.bench).measure_s


def _select(file: _File) -> Selection | None:
    return None if file.select is None else Selection(**dict(file.select))


def _cloud(file: _File) -> CloudOptions:
    return CloudOptions(
        region=file.region, image=file.image, placement=file.placement, lease_s=file.lease, **dict(file.ec2)
    )


def _driver(written: _Driver) -> DriverChoice:
    if written.archive is not None:
        return DriverChoice(source=DriverSource.ARCHIVE, value=written.archive, sha256=written.sha256)
    if written.release is not None:
        return DriverChoice(source=DriverSource.RELEASE, value=written.release, sha256=written.sha256)
    return DriverChoice(source=DriverSource.DISTRIBUTION)


# --- messages about mistakes -----------------------------------------------------------------------------------------


def _refused(where: str, found: Sequence[str]) -> RequestError:
    return RequestError(
        f"{where}: " + "; ".join(input_checks.shorten_mistakes(found)),
        next_step="`ptp-harness run --help` explains the flags" if where == COMMAND_LINE else _SCHEMA_HELPS,
    )


_KEYS: mistakes.Keys = {
    (): tuple(_File.model_fields),
    ("measure",): tuple(_Measure.model_fields),
    ("driver",): tuple(_Driver.model_fields),
    ("select",): tuple(_Select.model_fields),
    ("ec2",): tuple(_Ec2.model_fields),
}


def _mistakes_in_limits(written: Mapping[str, Any]) -> list[str]:
    """Describe unknown quantities and statistics in `limits`. pydantic reports values that are no table of tables."""
    quantities = written.get("limits") or {}
    if not isinstance(quantities, dict):
        return []
    tables = {str(quantity): table for quantity, table in quantities.items() if isinstance(table, dict)}
    return limits.limit_mistakes(
        {name: {str(key): value for key, value in table.items()} for name, table in tables.items()}
    )


def _mistakes_in_driver(driver: _Driver) -> list[str]:
    sources = [name for name in ("release", "archive") if getattr(driver, name) is not None]
    messages: list[str] = []
    if len(sources) > 1:
        messages.append("driver names both a release and an archive")
    if driver.source is not None and driver.source is not DriverSource.DISTRIBUTION and driver.source not in sources:
        messages.append(f"driver.source is {driver.source.value} and driver.{driver.source.value} is missing")
    if driver.source is DriverSource.DISTRIBUTION and sources:
        messages.append(f"driver.source is distribution and driver.{sources[0]} is given too")
    if driver.sha256 is not None and not sources:
        messages.append("driver.sha256 is given without driver.archive or driver.release")
    if driver.archive is not None and driver.sha256 is None:
        messages.append("driver.archive is given without driver.sha256")
    return messages


def _mistakes_in_bench(file: _File) -> list[str]:
    if file.bench is BenchName.HOSTS and file.inventory is None:
        return ["bench hosts needs an inventory"]
    if file.bench is not BenchName.HOSTS and file.inventory is not None:
        return [f"inventory is given, and the bench is {file.bench}, not hosts"]
    if file.bench is BenchName.EC2:
        return []
    ec2_keys = {"region", "image", "placement", "ec2"} & file.model_fields_set
    return [f"{key} is given, and the bench is {file.bench}, not ec2" for key in sorted(ec2_keys)]


def _mistakes_in_select(file: _File) -> list[str]:
    select = _select(file)
    if select is None or file.select is None:
        return []
    if file.bench is not BenchName.EC2:
        return [f"select is given, and the bench is {file.bench}, not ec2"]
    if not file.select.model_fields_set:
        return ["select asks for nothing: `select: {phc: any}` takes every type of the Region"]
    return [f"select: {message}" for message in selection.selection_mistakes(select)]


def _nothing_named(written: Mapping[str, Any]) -> list[str]:
    if "instance_types" in written or "select" in written:
        return []
    return [
        "instance_types is missing"
        if written.get("bench") != BenchName.EC2
        else "neither instance_types nor select is given"
    ]


def _mistakes_in_measure(file: _File) -> list[str]:
    if file.measure.interval <= _measured_s(file):
        return []
    return [f"measure.interval of {file.measure.interval:g} s is longer than the {_measured_s(file):g} s of measuring"]

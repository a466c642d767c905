"""Define the keys of campaign files, with their types and defaults, and their JSON schema."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from harness.campaign import fields, file_schema
from harness.campaign.choices import DriverSource, Keep
from harness.campaign.fields import Amount, Duration, Patterns, Whole, YesNo
from harness.campaign.limit_fields import Limits
from harness.campaign.selection import PhcClaim
from harness.model import DEFAULT_CLOCK_NAMES, Depth
from harness.model.bench_traits import BenchName
from harness.model.cloud import LEAST_VOLUME_GIB, MOST_VOLUME_GIB, CloudOptions
from harness.model.disturbances import Disturbance
from harness.model.ec2_enums import Access, Architecture, Market
from harness.model.observed import MOST_READINGS, READINGS

_DEFAULT = CloudOptions()


class _FileModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Measure(_FileModel):
    duration: Duration | None = None
    interval: Duration = 1.0
    readings: Annotated[int, Field(strict=True, ge=1, le=MOST_READINGS)] = READINGS


class DriverKeys(_FileModel):
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
    controller_cidr: fields.Networks | None = None
    instance_profile: fields.Profile | None = None
    user: fields.User | None = None
    market: Market = _DEFAULT.market
    other_sizes: YesNo = False
    volume_gib: Annotated[int, Field(strict=True, ge=LEAST_VOLUME_GIB, le=MOST_VOLUME_GIB)] = _DEFAULT.volume_gib
    owner: fields.Owner | None = None


class CampaignFile(_FileModel):
    """The campaign file, key by key."""

    bench: BenchName = BenchName.LAB
    inventory: fields.Path | None = None
    region: fields.Region | None = None
    instance_types: Annotated[tuple[fields.Host, ...], Field(min_length=1, max_length=10_000)] = ()
    select: _Select | None = None
    image: fields.Image | None = None
    placement: fields.Placement = _DEFAULT.placement
    ec2: _Ec2 = _Ec2()
    depth: Depth = Depth.STANDARD
    disturbances: Annotated[tuple[Disturbance, ...], Field(max_length=20)] = ()
    driver: DriverKeys = DriverKeys()
    measure: _Measure = _Measure()
    limits: Limits = {}
    expect: Annotated[dict[fields.Host, fields.Expectation], Field(max_length=10_000)] = {}
    keep: Keep = Keep.NONE
    lease: Duration = _DEFAULT.lease_s
    read_only: YesNo = False
    parallel: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    clock_names: Annotated[tuple[fields.Clock, ...], Field(min_length=1, max_length=20)] = DEFAULT_CLOCK_NAMES


def json_schema() -> dict[str, Any]:
    """Build the JSON schema (draft 2020-12) of campaign files, for editors. Combinations of keys are checked later."""
    header = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "PTP Harness campaign"}
    types_required = {"anyOf": [{"required": ["instance_types"]}, {"required": ["select"]}]}
    described = file_schema.add_meanings(FILE_SCHEMA)
    return header | {key: value for key, value in described.items() if key != "title"} | types_required


FILE_SCHEMA: Mapping[str, Any] = CampaignFile.model_json_schema()
"""The schema as pydantic makes it, in which a description says which values a key takes, not what the key means."""

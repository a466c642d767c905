"""Define data about a cloud's instance types, quotas, images and prices, from which tables and plans are made."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.model.ec2_enums import Access, Architecture, Market, PlacementKeyword
from harness.model.records import Token

DEFAULT_IMAGE = "al2023"
LEAST_VOLUME_GIB, MOST_VOLUME_GIB = 8, 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInUse:
    """A host that a process works on. `launched`: whether it got beyond that; `region`: None for the usual one."""

    token: Token
    instance_type: str
    region: str | None
    launched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeInfo:
    """An instance type of a Region. `phc` is the API's claim: None where the API makes no claim."""

    name: str
    family: str
    size: str
    architecture: Architecture
    vcpus: int
    memory_mib: int
    phc: bool | None
    ena: str  # "required", "supported", "unsupported"
    zones: tuple[str, ...]  # zones that offer the type
    price_per_hour_usd: float | None
    bare_metal: bool
    current_generation: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The vCPUs of a kind that an account may run at once, and those in use. None: unknown, for `why_unknown`."""

    code: str
    name: str
    families: frozenset[str]  # the requested families that count against this quota
    limit_vcpus: int | None
    used_vcpus: int | None
    why_unknown: str = ""

    @property
    def left_vcpus(self) -> int | None:
        """The vCPUs that may still be started; None when the limit or the usage is unknown."""
        if self.limit_vcpus is None or self.used_vcpus is None:
            return None
        return max(self.limit_vcpus - self.used_vcpus, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BakedImage:
    """An image made from a host's disk. Its campaign name is `baked:NAME`, once a host made from it has passed."""

    ident: str
    name: str
    architecture: str  # as EC2 writes it; for images of ours an Architecture
    user: str  # login user
    base: str  # the image of the host whose disk was copied
    driver: str  # "distribution", or the release or archive that was installed
    run: str  # run of the host whose disk was copied
    proof: str | None  # run in which a host made from the image passed; None: not proven
    created: str  # UTC, ISO 8601
    state: str  # pending, available, failed, ...
    snapshots: tuple[str, ...]
    signed: bool = False  # id and tags are signed with our key: without it tags prove nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudOptions:
    """Options of a campaign for its hosts in a cloud, besides their types."""

    region: str | None = None  # None: the Region of the environment
    image: str | None = None  # None: the campaign names none, and DEFAULT_IMAGE is started
    user: str | None = None  # None: the image's own user
    placement: str = (
        PlacementKeyword.AUTO.value
    )  # or another keyword, or the name of an existing group, also group:NAME
    zones: tuple[str, ...] = ()  # in this order; empty: all zones that offer the type
    subnet: str | None = None  # None: each zone's default subnet
    access: Access = Access.SSH
    controller_cidr: str | None = None  # networks between commas; None: the public address of this machine
    instance_profile: str | None = None
    market: Market = Market.ON_DEMAND
    other_sizes: bool = False  # of the same family, where the requested size has no capacity
    volume_gib: int = 12
    owner: str | None = None
    lease_s: float = 7200.0

    @property
    def image_name(self) -> str:
        """The image that hosts start from."""
        return self.image or DEFAULT_IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTerms:
    """Images and prices of a campaign's hosts, known after preparation, and the longest life of a host."""

    images: tuple[str, ...]
    placement: str
    usd_per_hour: Mapping[str, float]  # by type; a type without an entry has no known price
    longest_life_s: float

"""What a cloud says of its instance types and of what an account may run of them: what tables and plans are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeInfo:
    """One instance type of one Region. `phc` is the API's claim: None where it says nothing, which is not "no"."""

    name: str
    family: str
    size: str
    architecture: str  # "x86_64" or "arm64"
    vcpus: int
    memory_mib: int
    phc: bool | None
    ena: str  # "required", "supported", "unsupported"
    zones: tuple[str, ...]  # those that offer it
    price_per_hour_usd: float | None
    bare_metal: bool
    current_generation: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many vCPUs of a kind an account may run at once, and how many it runs. None is unknown, for `why_unknown`."""

    code: str
    name: str
    families: frozenset[str]  # of the types asked about that count against it
    limit_vcpus: int | None
    used_vcpus: int | None
    why_unknown: str = ""

    @property
    def left_vcpus(self) -> int | None:
        """What may still be started; None as soon as one of both is unknown."""
        if self.limit_vcpus is None or self.used_vcpus is None:
            return None
        return max(self.limit_vcpus - self.used_vcpus, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BakedImage:
    """An image that we made of a host's disk. Campaigns call it `baked:NAME`, once a host made from it has passed."""

    ident: str
    name: str
    architecture: str  # "x86_64" or "arm64"
    user: str  # who logs in
    base: str  # the image that its host was made from
    driver: str  # "distribution", or the release or archive that was installed
    run: str  # that of the host whose disk it is
    proof: str | None  # the run in which a host made from it passed; None for one that nothing proves
    created: str  # UTC, ISO 8601
    state: str  # pending, available, failed, ...
    snapshots: tuple[str, ...]
    signed: bool = False  # by our key, with all that its tags tell: whoever may tag can write the tags of any image


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudOptions:
    """What a campaign wants of the hosts that it makes in a cloud, beside their types."""

    region: str | None = None  # None: as the environment has it
    image: str = "al2023"
    user: str | None = None  # None: whom the image is made for
    placement: str = "auto"
    zones: tuple[str, ...] = ()  # in this order; none: all that offer the type
    subnet: str | None = None  # None: the default one of each zone
    access: Literal["ssh", "ssm"] = "ssh"
    controller_cidr: str | None = None  # None: the address by which the internet knows us
    instance_profile: str | None = None
    market: Literal["on-demand", "spot"] = "on-demand"
    other_sizes: bool = False  # of the same family, where there is no room for the one that was asked for
    volume_gib: int = 12
    owner: str | None = None
    lease_s: float = 7200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTerms:
    """What a campaign's hosts are made from and cost, as is known once it is prepared, and how long one may last."""

    images: tuple[str, ...]
    placement: str
    usd_per_hour: Mapping[str, float]  # by type; one that is not in it has no price that is known
    lasts_s: float

"""Define the types of which the table of truths is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.model import Outcome, Reason

Bends = Mapping[str, int | bool | str]
"""Options of the emulated ENA device, or keys of its control socket (lab/ena_device/README.md)."""


class Kernel(StrEnum):
    """The kernels of guests. STABLE's ENA driver has no clock; BACKPORTS's has a clock that devlink switches on.

    GENERIC is BACKPORTS built for all machines, not for clouds alone, with other cards' drivers too. Only the wide
    image has it.
    """

    STABLE = "stable"
    BACKPORTS = "backports"
    GENERIC = "generic"


class Image(StrEnum):
    """The disk images of guests. LAB has all that the roles need, WIDE a compiler and many cards' drivers as well.

    DEBIAN_13 and DEBIAN_12 are like a cloud's images: cloud-init configures them at their first boot, and packages come
    from a mirror. Their kernel is that of BACKPORTS.
    """

    LAB = "image"
    WIDE = "image-wide"
    DEBIAN_13 = "image-debian-13"
    DEBIAN_12 = "image-debian-12"

    @property
    def by_cloud_init(self) -> bool:
        return self in (Image.DEBIAN_13, Image.DEBIAN_12)


class Mirror(StrEnum):
    """The answers of a cloud image's package mirror: the packages, nothing at all, or a page about an error."""

    SERVING = "serving"
    GONE = "gone"
    ERROR_PAGE = "error-page"


class Moment(StrEnum):
    """The moment of a fault, as a pattern of paths in the guest: the moment comes when a matching path exists."""

    CONFIGURING = "/var/lib/ptp-harness/*"
    MEASURING = "/run/ptp-harness-*.jsonl.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandedVerdict:
    """The verdict that a truth demands."""

    outcome: Outcome
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault during a host's run, `after_s` after the moment, with any of three actions.

    `device` bends the host's ENA device, `guest` is a script for root's shell in the guest, `ends` names a process of
    the host on this machine to kill: "guest", "device" or "ntp".
    """

    at: Moment
    after_s: float = 0.0
    device: Bends = field(default_factory=dict)
    guest: str = ""
    ends: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A lab type: the properties of its hosts, and the verdict that they demand.

    `bends` are options of the emulated device. `before` is a script for root's shell, run before the host is handed
    out. `other_card` are the options of a second ENA card, which the kernel finds before the first. `igb` adds an Intel
    card with a clock before the ENA card. With `connection_on_card` the ENA card is the host's only network, as on EC2;
    else it is beside the card for SSH, and carries nothing. `mirror` is the package mirror of a cloud's image.
    `campaign` are the settings that a campaign needs for the truth to show (keys as in its file); with `amazon_driver`
    the campaign must also name an archive of Amazon's driver. `demand_read_only` is the verdict demanded with
    `--read-only`, when no role switches the clock on or configures chronyd; None where it is not defined. `usual` types
    are checked by every test run, the others by `make truth`.
    """

    name: str
    summary: str
    kernel: Kernel = Kernel.BACKPORTS
    image: Image = Image.LAB
    mirror: Mirror = Mirror.SERVING
    memory_mib: int = 512
    bends: Bends = field(default_factory=dict)
    other_card: Bends | None = None
    igb: bool = False
    connection_on_card: bool = False
    amazon_driver: bool = False
    clock_on: bool = True
    ssh: bool = True
    before: str = ""
    faults: tuple[Fault, ...] = ()
    campaign: Mapping[str, object] = field(default_factory=dict)
    demand: DemandedVerdict
    demand_read_only: DemandedVerdict | None = None
    usual: bool = False

    @property
    def phc_supported(self) -> bool:
        """Whether the device has a PHC, as an API would claim."""
        return not self.bends.get("no_phc", False)

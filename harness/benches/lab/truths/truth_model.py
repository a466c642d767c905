"""What can a lab type be like? The words of which the table of truths is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.model import Outcome, Reason

Bends = Mapping[str, int | bool | str]
"""Options of the emulated ENA device, or keys of its control socket (lab/ena_device/README.md)."""


class Kernel(StrEnum):
    """The kernels of guests. STABLE's ENA driver knows no clock; BACKPORTS's has one, switched by devlink.

    GENERIC is BACKPORTS built for all machines, not for clouds alone: it has other cards' drivers too. It is in the
    wide image only.
    """

    STABLE = "stable"
    BACKPORTS = "backports"
    GENERIC = "generic"


class Moment(StrEnum):
    """What a fault waits for: a pattern of paths in the guest, of which one comes to exist then."""

    CONFIGURING = "/var/lib/ptp-harness/*"
    MEASURING = "/run/ptp-harness-*.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandedVerdict:
    """The verdict that the truth demands."""

    outcome: Outcome
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to a host while it is looked at, `after_s` after the moment: any of three things.

    `device` bends its ENA device, `guest` is run by root's shell in it, `ends` kills one of its processes on this
    machine: "guest", "device" or "ntp".
    """

    at: Moment
    after_s: float = 0.0
    device: Bends = field(default_factory=dict)
    guest: str = ""
    ends: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A lab type.

    `bends` are options of the emulated device; `before` is run by root's shell before anybody may enter; `other_card`
    are the options of a second ENA card, found before the first; with `igb` an Intel card with a clock is there before
    it. `wide` asks for the image with a compiler and headers. `campaign` is what a campaign must say for the truth
    to show (keys as in its file), and `amazon_driver` that it must name an archive of Amazon's driver; `read_only` is
    demanded where nothing may be changed.
    """

    name: str
    summary: str
    kernel: Kernel = Kernel.BACKPORTS
    memory_mib: int = 512
    bends: Bends = field(default_factory=dict)
    other_card: Bends | None = None
    igb: bool = False
    wide: bool = False
    amazon_driver: bool = False
    clock_on: bool = True
    ssh: bool = True
    before: str = ""
    faults: tuple[Fault, ...] = ()
    campaign: Mapping[str, object] = field(default_factory=dict)
    demand: DemandedVerdict
    read_only: DemandedVerdict | None = None

    @property
    def demand_read_only(self) -> DemandedVerdict | None:
        """What is demanded where nothing may be changed; None where that has not been thought through."""
        plain = not (self.before or self.faults or self.campaign or self.amazon_driver)
        return self.read_only or (self.demand if plain else None)

    @property
    def on_wide_image(self) -> bool:
        return self.wide or self.kernel is Kernel.GENERIC

    @property
    def phc_supported(self) -> bool:
        """Whether the device has the feature, which is what an API would claim."""
        return not self.bends.get("no_phc", False)

"""Define how long an instance of EC2 may take to start, boot, stop and end: every deadline that depends on this.

Bare metal is slow, because its firmware tests the machine at each boot and wipes it at its end: c5.metal was seen to be
shutting down for 19 minutes, i3.metal to be stopping for 10. Its deadlines are twice that.
"""

from dataclasses import dataclass

from harness.model.ec2_enums import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceDeadlines:
    """Deadlines in seconds."""

    runs_s: float  # from the request for an instance to its state `running`
    boots_s: float  # from there to the first answer of its SSH server
    reboots_s: float  # from a reboot to the return of SSH
    stops_s: float  # from the request to stop it to `stopped`
    ends_s: float  # from the request to terminate it to `terminated`


VIRTUAL = InstanceDeadlines(runs_s=300.0, boots_s=180.0, reboots_s=300.0, stops_s=600.0, ends_s=900.0)
METAL = InstanceDeadlines(runs_s=900.0, boots_s=900.0, reboots_s=1200.0, stops_s=1200.0, ends_s=2400.0)


SESSION_RETURNS_S = 420.0
"""Time for a login through Session Manager after a cut connection: its agent registers again within up to 300 s."""


def is_metal(instance_type: str) -> bool:
    """Whether a type is bare metal, by its name: m7i.metal-24xl."""
    return ".metal" in instance_type


def deadlines_of(*instance_types: str) -> InstanceDeadlines:
    """Return the deadlines of a type; of several types, those of the slowest."""
    return METAL if any(is_metal(name) for name in instance_types) else VIRTUAL


def returns_within_s(deadlines: InstanceDeadlines, access: Access) -> float:
    """Return the time for a host to answer again after a reboot, or after a reload of its network driver."""
    return max(deadlines.reboots_s, SESSION_RETURNS_S) if access is Access.SSM else deadlines.reboots_s

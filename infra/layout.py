"""Compute as plain data everything about the stack that can be decided before anything is made."""

from datetime import UTC, datetime, timedelta

from harness.model.controller_address import parse_networks
from harness.model.ec2_enums import Access, Architecture
from harness.model.ec2_placement import GroupChoice, choose_group
from harness.model.ownership import EXPIRES, HOST, OWNER, RUN, TOKEN
from infra.stack_settings import ProgramSettings, SettingsError

SSH_PORT = 22


def architecture(supported: list[str], instance_type: str) -> Architecture:
    """Choose the architecture from EC2's list for a type ("i386" may be first). Raises SettingsError when none fits."""
    for name in Architecture:
        if name in supported:
            return name
    raise SettingsError(
        f"{instance_type} runs on {', '.join(supported) or 'nothing known'}: neither {' nor '.join(Architecture)}"
    )


def group(settings: ProgramSettings, phc_support: str | None = None) -> GroupChoice:
    """The placement group. `phc_support`: EC2's word about the type, "supported", "unsupported" or none.

    Raises SettingsError for a group in which the type would show no clock.
    """
    phc = {"supported": True, "unsupported": False}.get(phc_support or "")
    choice = choose_group(settings.placement, settings.region, settings.instance_type, phc=phc)
    if choice.cluster_hides_clock:
        raise SettingsError(
            f"placement: in {settings.region} a {settings.instance_type} has its clock in a cluster only when that has "
            "a precision-time parent, which Pulumi cannot make yet: `aws ec2 create-placement-group --strategy cluster "
            "--group-name NAME --parent-group-id pg-...`, then `pulumi config set placement group:NAME`"
        )
    return choice


def tags(settings: ProgramSettings, now: datetime) -> dict[str, str]:
    """The tags of every resource. `sweep` finds resources by them."""
    expires = settings.expires or (now.astimezone(UTC) + timedelta(minutes=settings.lease_minutes)).isoformat(
        timespec="seconds"
    )
    return {
        "Name": f"ptp-harness {settings.host}",
        RUN: settings.run,
        HOST: settings.host,
        TOKEN: settings.token,
        OWNER: settings.owner,
        EXPIRES: expires,
    }


def ingress(settings: ProgramSettings) -> list[dict[str, object]]:
    """The rules for incoming connections: SSH from the controller's networks, or none."""
    if settings.access is Access.SSM:
        return []
    return [
        {
            "protocol": "tcp",
            "from_port": SSH_PORT,
            "to_port": SSH_PORT,
            "cidr_blocks": list(parse_networks(settings.controller_cidr)),
            "description": "SSH from the controller",
        }
    ]


EGRESS: list[dict[str, object]] = [
    {"protocol": "-1", "from_port": 0, "to_port": 0, "cidr_blocks": ["0.0.0.0/0"], "ipv6_cidr_blocks": ["::/0"]}
]
"""The rules for outgoing connections: anything, for packages, kernel headers and the driver's source."""

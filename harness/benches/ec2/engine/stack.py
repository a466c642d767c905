"""Define a stack's configuration and outputs: the interface between the harness and the Pulumi program in infra/."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.benches.bench import BenchError
from harness.model.ec2_enums import Access, Market

PROJECT = "ptp-harness"
"""The project's name in Pulumi.yaml, and the prefix of each of our configuration keys."""

OUTPUTS = ("instanceId", "address", "zone", "image", "architecture", "user")
OPTIONAL_OUTPUTS = ("placementGroup", "securityGroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigValue:
    """A value of a stack's configuration; Pulumi stores secret values encrypted."""

    value: str
    secret: bool = False

    def __repr__(self) -> str:
        return f"ConfigValue({'[secret]' if self.secret else repr(self.value)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """The settings of one host's stack. `host_key` is the OpenSSH private key that the host has until its rotation.

    `resource_name` names the key pair and the groups; None lets Pulumi choose the names. `placement` is as Pulumi.yaml
    describes it. `expires` is an ISO date and time; `lease_s` sets the shutdown timer in the host.
    """

    instance_type: str
    region: str
    zone: str | None
    subnet: str | None
    image: str
    placement: str
    access: Access
    controller_cidr: str | None
    public_key: str
    host_key: str
    market: Market
    lease_s: float
    expires: str
    run: str
    host: str
    token: str
    owner: str
    volume_gib: int
    user: str | None = None
    instance_profile: str | None = None
    resource_name: str | None = None

    def __repr__(self) -> str:
        return f"StackSettings(token={self.token!r}, instance_type={self.instance_type!r}, region={self.region!r})"

    def config(self) -> Mapping[str, ConfigValue]:
        """Make Pulumi's configuration with full keys. The program's defaults apply to settings that are None."""
        settings = {
            "instanceType": self.instance_type,
            "zone": self.zone,
            "subnetId": self.subnet,
            "image": self.image,
            "placement": self.placement,
            "access": self.access.value,
            "controllerCidr": self.controller_cidr,
            "publicKey": self.public_key,
            "hostKey": self.host_key,
            "market": self.market.value,
            "leaseMinutes": str(max(1, math.ceil(self.lease_s / 60))),
            "expires": self.expires,
            "run": self.run,
            "host": self.host,
            "token": self.token,
            "owner": self.owner,
            "volumeGib": str(self.volume_gib),
            "user": self.user,
            "instanceProfile": self.instance_profile,
            "resourceName": self.resource_name,
        }
        values = {
            f"{PROJECT}:{key}": ConfigValue(value=value, secret=key == "hostKey")
            for key, value in settings.items()
            if value is not None
        }
        return {"aws:region": ConfigValue(value=self.region), **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOutputs:
    """The host of a stack that is up. `address` is private where the subnet gives no public address."""

    instance_id: str
    address: str
    zone: str
    image: str
    architecture: str
    user: str
    placement_group: str | None
    security_group: str | None

    @classmethod
    def of(cls, stack: str, outputs: Mapping[str, Any]) -> "StackOutputs":
        """Read a stack's outputs and ignore unknown ones. Raises BenchError that names the missing or wrong outputs."""
        wrong = [name for name in OUTPUTS if not isinstance(outputs.get(name), str) or not outputs[name]]
        wrong += [name for name in OPTIONAL_OUTPUTS if not isinstance(outputs.get(name), str | None)]
        if wrong:
            details = ", ".join(f"{name}={outputs.get(name)!r}" for name in wrong)
            raise BenchError(
                f"stack {stack}: its outputs do not describe the host: {details}",
                next_step="was it made by another version? `ptp-harness sweep --yes` removes it",
            )
        return cls(
            instance_id=outputs["instanceId"],
            address=outputs["address"],
            zone=outputs["zone"],
            image=outputs["image"],
            architecture=outputs["architecture"],
            user=outputs["user"],
            placement_group=outputs.get("placementGroup") or None,
            security_group=outputs.get("securityGroup") or None,
        )

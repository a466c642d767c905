"""Declare one EC2 instance with a precision clock, and its firewall, key and placement group, all tagged."""

from datetime import UTC, datetime
from typing import Any

import pulumi
from pulumi_aws import ec2, ssm

from harness.model.ec2_deadlines import deadlines_of
from harness.model.ec2_enums import Architecture, Market
from harness.model.ec2_placement import GroupChoice
from harness.model.image_aliases import ALIASES
from harness.model.ownership import EXPIRES
from infra import layout
from infra.stack_settings import ProgramSettings
from infra.user_data import cloud_config, public_part

_EXPIRES = f'["{EXPIRES}"]'


class PrecisionHost(pulumi.ComponentResource):
    """A host from complete settings. `outputs` are the stack's outputs.

    Image, user data and the default expiry are fixed when the instance is made: a later `up` does not change them.
    """

    def __init__(self, name: str, settings: ProgramSettings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ptp:infra:PrecisionHost", name, None, opts)
        self._name, self._settings = name, settings
        self._tags = layout.tags(settings, datetime.now(UTC))
        type_info = ec2.get_instance_type(instance_type=settings.instance_type)
        group = layout.group(settings, type_info.phc_support)
        architecture = layout.architecture(list(type_info.supported_architectures), settings.instance_type)
        image, user = self._image(architecture)
        firewall = self._firewall()
        key = ec2.KeyPair(
            f"{name}-key",
            key_name=settings.resource_name or None,
            public_key=settings.public_key,
            tags=self._tags,
            opts=self._child("tags"),
        )
        group_name = self._placement_group(group)
        instance = self._instance(image, firewall, key, group_name)
        self.outputs: dict[str, pulumi.Input[Any]] = {
            "instanceId": instance.id,
            "address": pulumi.Output.all(instance.public_ip, instance.private_ip).apply(lambda ips: ips[0] or ips[1]),
            "zone": instance.availability_zone,
            "image": instance.ami,
            "architecture": architecture.value,
            "user": user,
            "placementGroup": group_name,
            "securityGroup": firewall.id,
        }
        self.outputs |= _ssh_outputs(settings, user, self.outputs["address"])
        self.register_outputs(self.outputs)

    def _child(self, *expiring: str, unchanged: tuple[str, ...] = (), **options: Any) -> pulumi.ResourceOptions:
        """Options of a child. `expiring` names properties with tags: their default expiry stays as first set."""
        fixed = [] if self._settings.expires else [f"{tags}{_EXPIRES}" for tags in expiring]
        return pulumi.ResourceOptions(parent=self, ignore_changes=[*fixed, *unchanged], **options)

    def _image(self, architecture: Architecture) -> tuple[str, str]:
        """The image's id, and the user who logs in to the image."""
        if self._settings.image_is_given:
            return self._settings.image, self._settings.user or "ec2-user"
        alias = ALIASES[self._settings.image]
        parameter = ssm.get_parameter(name=alias.parameters[architecture])
        return parameter.value, self._settings.user or alias.user

    def _firewall(self) -> ec2.SecurityGroup:
        subnet = self._settings.subnet_id
        return ec2.SecurityGroup(
            f"{self._name}-firewall",
            name=self._settings.resource_name or None,
            description="ptp-harness: SSH from its controller, nothing else",
            vpc_id=ec2.get_subnet(id=subnet).vpc_id if subnet else None,
            ingress=[ec2.SecurityGroupIngressArgs(**rule) for rule in layout.ingress(self._settings)],  # type: ignore[arg-type]
            egress=[ec2.SecurityGroupEgressArgs(**rule) for rule in layout.EGRESS],  # type: ignore[arg-type]
            tags=self._tags,
            opts=self._child("tags"),
        )

    def _placement_group(self, group: GroupChoice) -> pulumi.Input[str] | None:
        if group.makes is None:
            return group.joins
        placement_group = ec2.PlacementGroup(
            f"{self._name}-placement",
            name=self._settings.resource_name or None,
            strategy=group.makes.value,
            tags=self._tags,
            opts=self._child("tags"),
        )
        return placement_group.name

    def _instance(
        self, image: str, firewall: ec2.SecurityGroup, key: ec2.KeyPair, group_name: pulumi.Input[str] | None
    ) -> ec2.Instance:
        settings = self._settings
        # A named image is resolved when the instance is made. Its name is part of the resource's name: a new image name
        # makes a new host.
        name = self._name if settings.image_is_given else f"{self._name}-{settings.image}"
        ignored = ("userData",) if settings.image_is_given else ("userData", "ami")
        return ec2.Instance(
            name,
            instance_type=settings.instance_type,
            ami=image,
            availability_zone=settings.zone or None,
            subnet_id=settings.subnet_id or None,
            key_name=key.key_name,
            vpc_security_group_ids=[firewall.id],
            placement_group=group_name,
            iam_instance_profile=settings.instance_profile or None,
            user_data=pulumi.Output.secret(cloud_config(settings.host_key, settings.lease_minutes)),
            metadata_options=ec2.InstanceMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            root_block_device=ec2.InstanceRootBlockDeviceArgs(
                encrypted=True,
                volume_type="gp3",
                volume_size=settings.volume_gib,
                delete_on_termination=True,
            ),
            volume_tags=self._tags,  # part of the launch request; tags of root_block_device are written after it
            instance_initiated_shutdown_behavior="terminate",
            instance_market_options=_spot() if settings.market is Market.SPOT else None,
            tags=self._tags,
            opts=self._child(
                "tags",
                "volumeTags",
                unchanged=ignored,
                # The provider would stop the host, change the type and start the host again.
                replace_on_changes=["instanceType"],
                custom_timeouts=_timeouts(settings.instance_type),
            ),
        )


def _timeouts(instance_type: str) -> pulumi.CustomTimeouts:
    """How long the provider waits for the instance to run and to end."""
    deadlines = deadlines_of(instance_type)
    runs, ends = f"{2 * deadlines.runs_s / 60:.0f}m", f"{deadlines.ends_s / 60:.0f}m"
    return pulumi.CustomTimeouts(create=runs, update=runs, delete=ends)


def _spot() -> ec2.InstanceInstanceMarketOptionsArgs:
    spot_options = ec2.InstanceInstanceMarketOptionsSpotOptionsArgs(
        spot_instance_type="one-time", instance_interruption_behavior="terminate"
    )
    return ec2.InstanceInstanceMarketOptionsArgs(market_type=Market.SPOT.value, spot_options=spot_options)


def _ssh_outputs(settings: ProgramSettings, user: str, address: pulumi.Input[str]) -> dict[str, pulumi.Output[str]]:
    """An Ansible inventory with this host, and the host's line for known_hosts."""
    line = public_part(settings.host_key)
    inventory = "all:\n  hosts:\n    {}:\n      ansible_host: {}\n      ansible_user: {}\n"
    return {
        "inventory": pulumi.Output.from_input(address).apply(lambda ip: inventory.format(settings.host, ip, user)),
        "knownHosts": pulumi.Output.from_input(address).apply(lambda ip: f"{ip} {line}"),
    }

"""Turn each resource of our program into calls to EC2. One class per type: create, read, update, delete."""

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from botocore.exceptions import ClientError

Properties = dict[str, Any]
Client = Any


class CreationFailed(Exception):
    """EC2 created the resource and then gave it up: its id, and the real provider's message."""

    def __init__(self, ident: str, message: str) -> None:
        super().__init__(message)
        self.ident = ident


class Kind(Protocol):
    """A type of resource. `name_property` is generated when absent; a change of `fixed` properties needs a new one."""

    @property
    def name_property(self) -> str | None: ...

    @property
    def fixed(self) -> frozenset[str]: ...

    def create(self, ec2: Client, inputs: Properties) -> str:
        """Create the resource and return its id. Raises CreationFailed."""

    def read(self, ec2: Client, ident: str) -> Properties | None:
        """Read the resource's present properties; None when it does not exist."""

    def update(self, ec2: Client, ident: str, olds: Properties, news: Properties) -> None:
        """Change the resource from the old inputs to the new ones."""

    def delete(self, ec2: Client, ident: str) -> None:
        """Remove the resource and wait until it is gone; an absent one is success."""


def tag_list(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def tag_map(tags: list[dict[str, str]] | None) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in tags or []}


def retag(ec2: Client, ident: str, olds: Properties, news: Properties) -> None:
    before, after = olds.get("tags") or {}, news.get("tags") or {}
    removed = [{"Key": key} for key in before if key not in after]
    if removed:
        ec2.delete_tags(Resources=[ident], Tags=removed)
    if after and before != after:
        ec2.create_tags(Resources=[ident], Tags=tag_list(after))


def is_absent(error: ClientError) -> bool:
    return error.response["Error"]["Code"].endswith((".NotFound", ".Unknown", "NotFound"))


class Firewall:
    """aws:ec2/securityGroup:SecurityGroup, with its rules inline."""

    name_property = "name"
    fixed = frozenset({"name", "description", "vpcId"})

    def create(self, ec2: Client, inputs: Properties) -> str:
        vpc = (
            inputs.get("vpcId")
            or ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        )
        tags = [{"ResourceType": "security-group", "Tags": tag_list(inputs.get("tags"))}]
        created = ec2.create_security_group(
            GroupName=inputs["name"], Description=inputs["description"], VpcId=vpc, TagSpecifications=tags
        )
        ident = str(created["GroupId"])
        group = ec2.describe_security_groups(GroupIds=[ident])["SecurityGroups"][0]
        if group["IpPermissionsEgress"]:  # a new group has an "allow all" rule; the provider removes it first
            ec2.revoke_security_group_egress(GroupId=ident, IpPermissions=group["IpPermissionsEgress"])
        self._open(ec2, ident, inputs)
        return ident

    def read(self, ec2: Client, ident: str) -> Properties | None:
        try:
            group = ec2.describe_security_groups(GroupIds=[ident])["SecurityGroups"][0]
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        return {
            "name": group["GroupName"],
            "description": group["Description"],
            "vpcId": group["VpcId"],
            "ownerId": group["OwnerId"],
            "ingress": [_rule(each) for each in group["IpPermissions"]],
            "egress": [_rule(each) for each in group["IpPermissionsEgress"]],
            "tags": tag_map(group.get("Tags")),
        }

    def update(self, ec2: Client, ident: str, olds: Properties, news: Properties) -> None:
        retag(ec2, ident, olds, news)
        current = ec2.describe_security_groups(GroupIds=[ident])["SecurityGroups"][0]
        if current["IpPermissions"]:
            ec2.revoke_security_group_ingress(GroupId=ident, IpPermissions=current["IpPermissions"])
        if current["IpPermissionsEgress"]:
            ec2.revoke_security_group_egress(GroupId=ident, IpPermissions=current["IpPermissionsEgress"])
        self._open(ec2, ident, news)

    def delete(self, ec2: Client, ident: str) -> None:
        ec2.describe_network_interfaces(Filters=[{"Name": "group-id", "Values": [ident]}])
        ec2.delete_security_group(GroupId=ident)
        self.read(ec2, ident)

    def _open(self, ec2: Client, ident: str, inputs: Properties) -> None:
        if inputs.get("ingress"):
            permissions = [_permission(each) for each in inputs["ingress"]]
            ec2.authorize_security_group_ingress(GroupId=ident, IpPermissions=permissions)
        if inputs.get("egress"):
            permissions = [_permission(each) for each in inputs["egress"]]
            ec2.authorize_security_group_egress(GroupId=ident, IpPermissions=permissions)


def _permission(rule: Properties) -> dict[str, Any]:
    description = {"Description": rule["description"]} if rule.get("description") else {}
    permission: dict[str, Any] = {
        "IpProtocol": rule["protocol"],
        "IpRanges": [{"CidrIp": cidr, **description} for cidr in rule.get("cidrBlocks") or []],
        "Ipv6Ranges": [{"CidrIpv6": cidr, **description} for cidr in rule.get("ipv6CidrBlocks") or []],
    }
    if rule["protocol"] != "-1":
        permission |= {"FromPort": rule["fromPort"], "ToPort": rule["toPort"]}
    return permission


def _rule(permission: Mapping[str, Any]) -> Properties:
    ranges = [*permission.get("IpRanges", []), *permission.get("Ipv6Ranges", [])]
    rule: Properties = {
        "protocol": permission["IpProtocol"],
        "fromPort": permission.get("FromPort", 0),
        "toPort": permission.get("ToPort", 0),
        "cidrBlocks": [each["CidrIp"] for each in permission.get("IpRanges", [])],
        "ipv6CidrBlocks": [each["CidrIpv6"] for each in permission.get("Ipv6Ranges", [])],
    }
    description = next((each["Description"] for each in ranges if each.get("Description")), None)
    return {key: value for key, value in (rule | {"description": description}).items() if value not in (None, [])}


class Key:
    """aws:ec2/keyPair:KeyPair; its id is its name, as in the real provider."""

    name_property = "keyName"
    fixed = frozenset({"keyName", "publicKey"})

    def create(self, ec2: Client, inputs: Properties) -> str:
        tags = [{"ResourceType": "key-pair", "Tags": tag_list(inputs.get("tags"))}]
        ec2.import_key_pair(
            KeyName=inputs["keyName"], PublicKeyMaterial=inputs["publicKey"].encode(), TagSpecifications=tags
        )
        return str(inputs["keyName"])

    def read(self, ec2: Client, ident: str) -> Properties | None:
        pair = self._find(ec2, ident)
        if pair is None:
            return None
        return {
            "keyName": ident,
            "keyPairId": pair["KeyPairId"],
            "fingerprint": pair.get("KeyFingerprint", ""),
            "tags": tag_map(pair.get("Tags")),
        }

    def update(self, ec2: Client, ident: str, olds: Properties, news: Properties) -> None:
        pair = self._find(ec2, ident)
        assert pair is not None
        retag(ec2, pair["KeyPairId"], olds, news)

    def delete(self, ec2: Client, ident: str) -> None:
        ec2.delete_key_pair(KeyName=ident)

    def _find(self, ec2: Client, ident: str) -> Mapping[str, Any] | None:
        try:
            pair: list[Mapping[str, Any]] = ec2.describe_key_pairs(KeyNames=[ident])["KeyPairs"]
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        return pair[0] if pair else None


class Placement:
    """aws:ec2/placementGroup:PlacementGroup; its id is its name."""

    name_property = "name"
    fixed = frozenset({"name", "strategy"})

    def create(self, ec2: Client, inputs: Properties) -> str:
        tags = [{"ResourceType": "placement-group", "Tags": tag_list(inputs.get("tags"))}]
        ec2.create_placement_group(GroupName=inputs["name"], Strategy=inputs["strategy"], TagSpecifications=tags)
        return str(inputs["name"])

    def read(self, ec2: Client, ident: str) -> Properties | None:
        try:
            group = ec2.describe_placement_groups(GroupNames=[ident])["PlacementGroups"][0]
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        return {
            "name": ident,
            "strategy": group["Strategy"],
            "placementGroupId": group["GroupId"],
            "tags": tag_map(group.get("Tags")),
        }

    def update(self, ec2: Client, ident: str, olds: Properties, news: Properties) -> None:
        raise NotImplementedError("the program never changes a placement group's tags")

    def delete(self, ec2: Client, ident: str) -> None:
        ec2.delete_placement_group(GroupName=ident)
        self.read(ec2, ident)


class Instance:
    """aws:ec2/instance:Instance."""

    name_property = None
    fixed = frozenset({"ami", "availabilityZone", "subnetId", "keyName", "placementGroup", "instanceMarketOptions"})

    def create(self, ec2: Client, inputs: Properties) -> str:
        disk = inputs["rootBlockDevice"]
        (image,) = ec2.describe_images(ImageIds=[inputs["ami"]])["Images"]
        request: dict[str, Any] = {
            "ImageId": inputs["ami"],
            "InstanceType": inputs["instanceType"],
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": uuid.uuid4().hex,
            "KeyName": inputs["keyName"],
            "SecurityGroupIds": inputs["vpcSecurityGroupIds"],
            "UserData": inputs.get("userData", ""),
            "InstanceInitiatedShutdownBehavior": inputs["instanceInitiatedShutdownBehavior"],
            "MetadataOptions": {
                "HttpEndpoint": inputs["metadataOptions"]["httpEndpoint"],
                "HttpTokens": inputs["metadataOptions"]["httpTokens"],
                "HttpPutResponseHopLimit": inputs["metadataOptions"]["httpPutResponseHopLimit"],
            },
            "BlockDeviceMappings": [
                {
                    "DeviceName": image["RootDeviceName"],
                    "Ebs": {
                        "Encrypted": disk["encrypted"],
                        "VolumeType": disk["volumeType"],
                        "VolumeSize": disk["volumeSize"],
                        "DeleteOnTermination": disk["deleteOnTermination"],
                    },
                }
            ],
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": tag_list(inputs.get(name))}
                for kind, name in (("instance", "tags"), ("volume", "volumeTags"))
                if inputs.get(name)
            ],
        }
        placement = {"AvailabilityZone": inputs.get("availabilityZone"), "GroupName": inputs.get("placementGroup")}
        request["Placement"] = {key: value for key, value in placement.items() if value}
        if inputs.get("subnetId"):
            request["SubnetId"] = inputs["subnetId"]
        if inputs.get("iamInstanceProfile"):
            request["IamInstanceProfile"] = {"Name": inputs["iamInstanceProfile"]}
        if inputs.get("instanceMarketOptions"):
            options = inputs["instanceMarketOptions"]
            request["InstanceMarketOptions"] = {
                "MarketType": options["marketType"],
                "SpotOptions": {
                    "SpotInstanceType": options["spotOptions"]["spotInstanceType"],
                    "InstanceInterruptionBehavior": options["spotOptions"]["instanceInterruptionBehavior"],
                },
            }
        made = ec2.run_instances(**request)["Instances"][0]
        self._wait_until_running(ec2, made["InstanceId"])
        self._tag_disks(ec2, made["InstanceId"], disk.get("tags"))
        return str(made["InstanceId"])

    def read(self, ec2: Client, ident: str) -> Properties | None:
        instance = self._find(ec2, ident)
        if instance is None or instance["State"]["Name"] in ("shutting-down", "terminated"):
            return None
        options = instance.get("MetadataOptions", {})
        disks = self._read_more(ec2, ident, instance)
        return {
            "ami": instance["ImageId"],
            "instanceType": instance["InstanceType"],
            "instanceState": instance["State"]["Name"],
            "availabilityZone": instance["Placement"]["AvailabilityZone"],
            "placementGroup": instance["Placement"].get("GroupName", ""),
            "publicIp": instance.get("PublicIpAddress", ""),
            "privateIp": instance.get("PrivateIpAddress", ""),
            "subnetId": instance.get("SubnetId", ""),
            "keyName": instance.get("KeyName", ""),
            "vpcSecurityGroupIds": [each["GroupId"] for each in instance.get("SecurityGroups", [])],
            "metadataOptions": {
                "httpEndpoint": options.get("HttpEndpoint"),
                "httpTokens": options.get("HttpTokens"),
                "httpPutResponseHopLimit": options.get("HttpPutResponseHopLimit"),
            },
            "tags": tag_map(instance.get("Tags")),
            "volumeTags": {key: value for disk in disks for key, value in tag_map(disk.get("Tags")).items()},
        }

    def _read_more(self, ec2: Client, ident: str, instance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Make the other calls of the real provider's Read (provider_calls), and return the disks."""
        (info,) = ec2.describe_instance_types(InstanceTypes=[instance["InstanceType"]])["InstanceTypes"]
        ids = [each["Ebs"]["VolumeId"] for each in instance["BlockDeviceMappings"]]
        ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [ident, *ids]}])
        if instance.get("VpcId"):
            ec2.describe_vpcs(VpcIds=[instance["VpcId"]])
        for attribute in ("disableApiTermination", "userData", "instanceInitiatedShutdownBehavior"):
            ec2.describe_instance_attribute(InstanceId=ident, Attribute=attribute)
        if info.get("BurstablePerformanceSupported"):
            ec2.describe_instance_credit_specifications(InstanceIds=[ident])
        if request := instance.get("SpotInstanceRequestId"):
            ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])
        volumes: list[Mapping[str, Any]] = ec2.describe_volumes(VolumeIds=ids)["Volumes"] if ids else []
        return volumes

    def update(self, ec2: Client, ident: str, olds: Properties, news: Properties) -> None:
        retag(ec2, ident, olds, news)
        if olds.get("instanceType") != news.get("instanceType"):  # in place: stop, change, start
            ec2.stop_instances(InstanceIds=[ident])
            ec2.modify_instance_attribute(InstanceId=ident, InstanceType={"Value": news["instanceType"]})
            ec2.start_instances(InstanceIds=[ident])

    def delete(self, ec2: Client, ident: str) -> None:
        instance = self._find(ec2, ident)
        spot_request = (instance or {}).get("SpotInstanceRequestId")
        with suppress(ClientError):  # the real provider only logs that error
            ec2.modify_instance_attribute(InstanceId=ident, DisableApiTermination={"Value": False})
        if spot_request:
            ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[spot_request])
        ec2.terminate_instances(InstanceIds=[ident])
        while (instance := self._find(ec2, ident)) is not None and instance["State"]["Name"] != "terminated":
            time.sleep(0.05)

    def _find(self, ec2: Client, ident: str) -> Mapping[str, Any] | None:
        try:
            instance: Mapping[str, Any] = ec2.describe_instances(InstanceIds=[ident])["Reservations"][0]["Instances"][0]
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        return instance

    def _wait_until_running(self, ec2: Client, ident: str) -> None:
        while (instance := self._find(ec2, ident)) is not None and instance["State"]["Name"] == "pending":
            time.sleep(0.5)
        if instance is not None and instance["State"]["Name"] == "terminated":
            reason = instance.get("StateReason", {}).get("Message")
            state = "unexpected state 'terminated', wanted target 'running'"
            raise CreationFailed(ident, f"waiting for EC2 Instance ({ident}) create: {state}. last error: {reason}")

    def _tag_disks(self, ec2: Client, ident: str, tags: Mapping[str, str] | None) -> None:
        """Tag the disks as for `rootBlockDevice.tags`: after the launch, and an error is only logged."""
        if tags:
            disks = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [ident]}])["Volumes"]
            with suppress(ClientError):
                ec2.create_tags(Resources=[each["VolumeId"] for each in disks], Tags=tag_list(tags))


KINDS: dict[str, Kind] = {
    "aws:ec2/securityGroup:SecurityGroup": Firewall(),
    "aws:ec2/keyPair:KeyPair": Key(),
    "aws:ec2/placementGroup:PlacementGroup": Placement(),
    "aws:ec2/instance:Instance": Instance(),
}


def get_instance_type(clients: Mapping[str, Client], args: Properties) -> Properties:
    instance_type = clients["ec2"].describe_instance_types(InstanceTypes=[args["instanceType"]])["InstanceTypes"][0]
    return {
        "id": instance_type["InstanceType"],
        "instanceType": instance_type["InstanceType"],
        "supportedArchitectures": instance_type["ProcessorInfo"]["SupportedArchitectures"],
        "phcSupport": instance_type.get("PhcSupport", ""),
    }


def get_parameter(clients: Mapping[str, Client], args: Properties) -> Properties:
    parameter = clients["ssm"].get_parameter(Name=args["name"])["Parameter"]
    return {"id": args["name"], "name": args["name"], "value": parameter["Value"], "type": parameter["Type"]}


def get_subnet(clients: Mapping[str, Client], args: Properties) -> Properties:
    subnet = clients["ec2"].describe_subnets(SubnetIds=[args["id"]])["Subnets"][0]
    return {"id": args["id"], "vpcId": subnet["VpcId"], "availabilityZone": subnet["AvailabilityZone"]}


INVOKES = {
    "aws:ec2/getInstanceType:getInstanceType": get_instance_type,
    "aws:ssm/getParameter:getParameter": get_parameter,
    "aws:ec2/getSubnet:getSubnet": get_subnet,
}

"""Find running instances by a tag of their owner's, as hosts that are there already."""

from dataclasses import dataclass

from harness.benches.ec2.api.api import Api, exact_filter
from harness.untrusted import names


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedInstance:
    """A running instance. `addresses`: its public and private names and addresses, those first that reach farther."""

    instance: str
    instance_type: str
    zone: str
    addresses: tuple[str, ...]


def find_tagged(api: Api, key: str, value: str) -> list[TaggedInstance]:
    """Find the running instances of a Region with a tag, by their ids. Raises BenchError."""
    filters = [exact_filter(f"tag:{key}", value), exact_filter("instance-state-name", "running")]
    pages = api.pages("ec2", "describe_instances", "Reservations", Filters=filters, task=f"looking for the tag {key}")
    found = [
        TaggedInstance(
            instance=str(each["InstanceId"]),
            instance_type=str(each["InstanceType"]),
            zone=str(each["Placement"]["AvailabilityZone"]),
            addresses=tuple(
                str(each[name])
                for name in ("PublicDnsName", "PublicIpAddress", "PrivateDnsName", "PrivateIpAddress")
                if each.get(name) and names.fits(names.ADDRESS, str(each[name]))
            ),
        )
        for reservation in pages
        for each in reservation["Instances"]
    ]
    return sorted(found, key=lambda each: each.instance)

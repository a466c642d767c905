"""Write the end of a lease into the tags of the resources of one host."""

from collections.abc import Sequence

from harness.benches.ec2.account.tagged_resources import TaggedResource
from harness.benches.ec2.api.api import Api
from harness.model.ownership import EXPIRES, SIGNATURE, Signer


def write(api: Api, resources: Sequence[TaggedResource], expires: str, signer: Signer, *, host: str) -> None:
    """Set the end of the lease (ISO 8601) of resources that are proven to be ours.

    A resource's name is signed for the lease that it was made with. The changed tags are signed for its id instead, so
    that they prove the same. Raises BenchError.
    """
    for resource in resources:
        tags = {**resource.tags, EXPIRES: expires}
        signature = signer.sign_tags(resource.kind, resource.ident, tags)
        changed = [{"Key": EXPIRES, "Value": expires}, {"Key": SIGNATURE, "Value": signature}]
        task = f"extending the lease of {resource}"
        api.call("ec2", "create_tags", task=task, host=host, Resources=[resource.tagged_id], Tags=changed)

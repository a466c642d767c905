"""Write the end of a lease into the tags of an instance."""

from harness.benches.ec2.account.tagged_resources import TaggedResource
from harness.benches.ec2.api.api import Api
from harness.model.ownership import EXPIRES, SIGNATURE, Signer


def write(api: Api, instance: TaggedResource, expires: str, signer: Signer, *, host: str) -> None:
    """Set the end of the lease (ISO 8601) of an instance that is proven to be ours.

    The name that it was made with is signed for the lease that it was made with. The changed tags are signed for its id
    instead, so that they prove the same. What else is of the host keeps its tags: nothing of a token is removed while
    its instance is in use. Raises BenchError.
    """
    tags = {**instance.tags, EXPIRES: expires}
    signature = signer.sign_tags(instance.kind, instance.ident, tags)
    changed = [{"Key": EXPIRES, "Value": expires}, {"Key": SIGNATURE, "Value": signature}]
    task = f"extending the lease of {instance}"
    api.call("ec2", "create_tags", task=task, host=host, Resources=[instance.ident], Tags=changed)

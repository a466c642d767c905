"""EC2's limits of an account: each operation has a bucket of tokens, which all requests to a Region share.

Source: Amazon EC2 Developer Guide, "Request throttling for the Amazon EC2 API". An account may have been given more.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from harness.model.cloud import HostInUse


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket holds `size` tokens at most, and gets `per_s` back each second; a request takes one."""

    size: int
    per_s: float


class AccountLimits(Protocol):
    """What processes share, also those of other machines: buckets, by their names, and quotas."""

    def take(self, name: str, size: int, per_s: float) -> float:
        """Take a token; return how long to wait until it is there, s."""

    def empty(self, name: str, size: int, per_s: float, for_s: float) -> None:
        """Empty a bucket, and let no token come for so long: EC2 has refused a request."""

    def list_hosts_in_use(self) -> Collection[HostInUse]:
        """List the hosts in EC2 that one of these processes works on now."""


_READING = ("describe_", "get_", "list_", "search_")
_READS, _CHANGES = Bucket(100, 20.0), Bucket(50, 5.0)
_LAUNCHES = Bucket(5, 2.0)
_OTHERS = {"run_instances": _LAUNCHES, "start_instances": _LAUNCHES}


def find_bucket(operation: str) -> Bucket:
    """Find the bucket of an operation of EC2, by boto3's name of it."""
    return _OTHERS.get(operation) or (_READS if operation.startswith(_READING) else _CHANGES)

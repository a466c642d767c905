"""What carries our tags in a Region, and how is it removed when the stack cannot do that? EC2 is asked, nobody else.

Everything that a stack makes is tagged with its host's token. Nothing without such a tag is looked at, nor removed.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.bench import BenchError
from harness.benches.ec2.api import Api
from harness.model import Resource, Token

TOKEN_TAG = "ptp-harness:token"
EXPIRES_TAG = "ptp-harness:expires"

INSTANCE, VOLUME, GROUP, KEY, PLACEMENT = "instance", "volume", "security group", "key pair", "placement group"

ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
_REMOVE_DEADLINE_S = 300.0
_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One object in EC2 that carries our tags."""

    kind: str
    id: str
    token: str
    state: str
    expires: str

    @property
    def billed(self) -> bool:
        """Whether it still costs something or stands in the way: an instance on its way out does neither."""
        return not (self.kind == INSTANCE and self.state in ("shutting-down", "terminated"))


def tagged(api: Api, token: Token | None = None) -> list[Thing]:
    """All that exists with that token, or with any of ours, instances first. Raises BenchError."""
    where = [_filter(f"tag:{TOKEN_TAG}", str(token))] if token else [_filter("tag-key", TOKEN_TAG)]
    host = token.host if token else ""
    return [thing for look in _LOOKS for thing in look(api, where, host)]


def remove(api: Api, token: Token, *, pause: Callable[[float], None] = time.sleep) -> list[Thing]:
    """Delete all that carries the token, in the order that EC2 asks for; what is left at the deadline.

    A security group can go only after its instance is gone altogether, so this waits for that.
    """
    give_up = time.monotonic() + _REMOVE_DEADLINE_S
    while True:
        left = tagged(api, token)
        if not left or time.monotonic() > give_up:
            return left
        for thing in left:
            _delete(api, thing, token.host)
        pause(_EVERY_S)


def resource(thing: Thing) -> Resource:
    """A thing in the words that all benches share."""
    detail = ", ".join(words for words in (thing.state, thing.expires and f"expires {thing.expires}") if words)
    return Resource(token=thing.token, kind=thing.kind, name=thing.id, detail=detail)


def _delete(api: Api, thing: Thing, host: str) -> None:
    """Ask for one deletion. What cannot go yet is tried again by the next look."""
    if not thing.billed:
        return
    operation, parameters = _DELETIONS[thing.kind](thing.id)
    try:
        api.call("ec2", operation, what=f"removing the {thing.kind} {thing.id}", host=host, **parameters)
    except BenchError:
        return


_DELETIONS: Mapping[str, Callable[[str], tuple[str, dict[str, Any]]]] = {
    INSTANCE: lambda name: ("terminate_instances", {"InstanceIds": [name]}),
    VOLUME: lambda name: ("delete_volume", {"VolumeId": name}),
    GROUP: lambda name: ("delete_security_group", {"GroupId": name}),
    KEY: lambda name: ("delete_key_pair", {"KeyPairId": name}),
    PLACEMENT: lambda name: ("delete_placement_group", {"GroupName": name}),
}


def _filter(name: str, *values: str) -> dict[str, Any]:
    return {"Name": name, "Values": list(values)}


def _instances(api: Api, where: Sequence[Any], host: str) -> Iterator[Thing]:
    states = _filter("instance-state-name", *ALIVE)
    what = "looking for our instances"
    for group in api.pages(
        "ec2", "describe_instances", "Reservations", what=what, host=host, Filters=[*where, states]
    ):
        for one in group["Instances"]:
            yield _thing(INSTANCE, one["InstanceId"], one, one["State"]["Name"])


def _volumes(api: Api, where: Sequence[Any], host: str) -> Iterator[Thing]:
    """Those that no instance holds: the others go with theirs."""
    states = _filter("status", "available", "creating", "error")
    for one in api.pages(
        "ec2", "describe_volumes", "Volumes", what="looking for our volumes", host=host, Filters=[*where, states]
    ):
        yield _thing(VOLUME, one["VolumeId"], one, one["State"])


def _groups(api: Api, where: Sequence[Any], host: str) -> Iterator[Thing]:
    what = "looking for our security groups"
    for one in api.pages("ec2", "describe_security_groups", "SecurityGroups", what=what, host=host, Filters=where):
        yield _thing(GROUP, one["GroupId"], one, "")


def _keys(api: Api, where: Sequence[Any], host: str) -> Iterator[Thing]:
    for one in api.call("ec2", "describe_key_pairs", what="looking for our key pairs", host=host, Filters=where)[
        "KeyPairs"
    ]:
        yield _thing(KEY, one["KeyPairId"], one, "")


def _placements(api: Api, where: Sequence[Any], host: str) -> Iterator[Thing]:
    what = "looking for our placement groups"
    for one in api.call("ec2", "describe_placement_groups", what=what, host=host, Filters=where)["PlacementGroups"]:
        if one.get("State") != "deleted":
            yield _thing(PLACEMENT, one["GroupName"], one, one.get("State", ""))


_LOOKS = (_instances, _volumes, _groups, _keys, _placements)


def _thing(kind: str, name: str, said: Mapping[str, Any], state: str) -> Thing:
    tags = {tag["Key"]: tag["Value"] for tag in said.get("Tags", ())}
    return Thing(kind=kind, id=name, token=tags.get(TOKEN_TAG, ""), state=state, expires=tags.get(EXPIRES_TAG, ""))

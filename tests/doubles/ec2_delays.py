"""Make moto's EC2 as late as the real one, by a clock that a test moves, so that nothing waits.

- A new image is not found by its id, and listed by no filter, for its first seconds.
- A deleted group is listed once more.
- An instance is shutting down for as long as the test says (c5.metal was seen to need 19 minutes). Its groups are in
  use until it is terminated.
- What is gone is NotFound; with `tag_policy` it is UnauthorizedOperation: a policy that looks at tags finds none.
"""

import time
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError
from moto.ec2.models import EC2Backend
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import Instance
from moto.ec2.models.security_groups import SecurityGroup
from moto.ec2.responses import EC2Response

from tests.doubles import ec2_server
from tests.doubles.ec2_server import SetAttribute, show

IMAGE_SHOWS_AFTER_S = 5.0


class Clock:
    """The time of this EC2: the machine's, and whatever a test has added."""

    def __init__(self) -> None:
        self.added_s = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return time.monotonic() + self.added_s

    def advance(self, seconds: float) -> None:
        """Add time, and run what is due by then. A stand-in for `time.sleep`."""
        self.added_s += seconds
        due = [entry for entry in self._due if entry[0] <= self.now()]
        self._due = [entry for entry in self._due if entry not in due]
        for _, action in due:
            action()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._due.append((self.now() + seconds, action))


def install(
    clock: Clock, *, ends_s: float = 0.0, tag_policy: bool = False, set_attribute: SetAttribute = setattr
) -> None:
    """Install `ec2_server` and, over it, the delays. `ends_s`: how long an instance is shutting down."""
    ec2_server.install(set_attribute=set_attribute)
    _delay_images(clock, set_attribute)
    _delay_ends(clock, ends_s, set_attribute)
    _list_deleted_once_more(set_attribute)
    if tag_policy:
        _refuse_absent(set_attribute)


def _delay_images(clock: Clock, set_attribute: SetAttribute) -> None:
    create_image, describe_images = EC2Backend.create_image, EC2Backend.describe_images

    def create_image_late(self: EC2Backend, *args: Any, **kwargs: Any) -> Ami:
        image = create_image(self, *args, **kwargs)
        image.__dict__["shows_at"] = clock.now() + IMAGE_SHOWS_AFTER_S
        return image

    def describe_images_late(self: EC2Backend, ami_ids: list[str] | None = None, **kwargs: Any) -> list[Ami]:
        images = describe_images(self, ami_ids=ami_ids, **kwargs)
        shown = [image for image in images if image.__dict__.get("shows_at", 0.0) <= clock.now()]
        if ami_ids and len(shown) < len(images):
            raise InvalidAMIIdError(ami_ids)
        return shown

    set_attribute(EC2Backend, "create_image", create_image_late)
    set_attribute(EC2Backend, "describe_images", describe_images_late)


def _delay_ends(clock: Clock, ends_s: float, set_attribute: SetAttribute) -> None:
    terminate, delete_group = Instance.terminate, EC2Backend.delete_security_group

    def terminate_slowly(self: Instance) -> Any:
        if self.state == "shutting-down":
            return self._state
        previous = terminate(self)
        if ends_s:
            show(self, "shutting-down")
            clock.after(ends_s, lambda: show(self, "terminated"))
        return previous

    def delete_unused_group(self: EC2Backend, name: str | None = None, group_id: str | None = None) -> None:
        users = [each for each in ec2_server.list_instances(self) if each.state != "terminated"]
        if any(group.id == group_id for each in users for group in each.security_groups):
            raise EC2ClientError("DependencyViolation", f"resource {group_id} has a dependent object")
        delete_group(self, name=name, group_id=group_id)

    set_attribute(Instance, "terminate", terminate_slowly)
    set_attribute(EC2Backend, "delete_security_group", delete_unused_group)


def _list_deleted_once_more(set_attribute: SetAttribute) -> None:
    delete_group, describe_groups = EC2Backend.delete_security_group, EC2Backend.describe_security_groups
    delete_placement, describe_placements = ec2_server.delete_placement_group, ec2_server.describe_placement_groups
    ghosts: list[SecurityGroup] = []
    placement_ghosts: list[dict[str, Any]] = []

    def delete_security_group(self: EC2Backend, name: str | None = None, group_id: str | None = None) -> None:
        group = self.get_security_group_from_id(group_id) if group_id else None
        delete_group(self, name=name, group_id=group_id)
        if group is not None:
            ghosts.append(group)

    def describe_security_groups(
        self: EC2Backend, group_ids: Any = None, groupnames: Any = None, filters: Any = None
    ) -> list[SecurityGroup]:
        groups = describe_groups(self, group_ids, groupnames, filters)
        if group_ids or groupnames:
            return groups
        again = [group for group in ghosts if not filters or group.matches_filters(filters)]
        ghosts[:] = [group for group in ghosts if group not in again]
        return [*groups, *again]

    def delete_placement_group(self: EC2Response) -> ActionResult:
        group = ec2_server.placement_groups(self.ec2_backend).get(self._get_param("GroupName"))
        answer = delete_placement(self)
        if group is not None:
            placement_ghosts.append(group)
        return answer

    def describe_placement_groups(self: EC2Response) -> ActionResult:
        existing = ec2_server.placement_groups(self.ec2_backend)
        again = {group["GroupName"]: group for group in placement_ghosts}
        placement_ghosts.clear()
        existing.update(again)
        try:
            return describe_placements(self)
        finally:
            for name in again:
                del existing[name]

    set_attribute(EC2Backend, "delete_security_group", delete_security_group)
    set_attribute(EC2Backend, "describe_security_groups", describe_security_groups)
    set_attribute(EC2Response, "delete_placement_group", delete_placement_group)
    set_attribute(EC2Response, "describe_placement_groups", describe_placement_groups)


def _refuse_absent(set_attribute: SetAttribute) -> None:
    """Refuse to remove what does not exist with UnauthorizedOperation."""

    def refuse(operation: Callable[..., Any]) -> Callable[..., Any]:
        def refusing(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return operation(self, *args, **kwargs)
            except EC2ClientError as error:
                if str(error.code).endswith((".NotFound", ".Unknown")):
                    words = "You are not authorized to perform this operation."
                    raise EC2ClientError("UnauthorizedOperation", words) from None
                raise

        refusing.__name__ = operation.__name__
        return refusing

    for owner, name in (
        (EC2Backend, "delete_security_group"),
        (EC2Backend, "terminate_instances"),
        (EC2Backend, "delete_volume"),
        (EC2Response, "delete_placement_group"),
    ):
        set_attribute(owner, name, refuse(getattr(owner, name)))

"""Make an image from a host's disk: stop the host, so that its disk is consistent, and let EC2 copy the disk."""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.benches.bench import BenchError, Progress, TransientError
from harness.benches.ec2.account.tagged_resources import IMAGE
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api, exact_filter
from harness.benches.ec2.bench import Ec2Bench
from harness.benches.ec2.images import baked_images
from harness.benches.ec2.instances.launch_records import LaunchRecord
from harness.model import Token
from harness.model.cloud import BakedImage
from harness.model.ec2_deadlines import deadlines_of
from harness.model.ownership import EXPIRES, RUN, TOKEN, Signer

COPIED_WITHIN_S = 3600.0
"""EC2 needs some ten minutes to copy an ordinary root volume, longer for a large one."""

LISTED_WITHIN_S = 120.0
"""An image that EC2 does not list for so long is gone: a new one is listed after some seconds."""

_LOOK_S, _LOOK_AT_COPY_S = 1.0, 5.0
_TAKEN = "InvalidAMIName.Duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ec2ImageMaker:
    """Makes images of a bench's hosts. `pause` may raise, to end early."""

    bench: Ec2Bench
    pause: Callable[[float], None]

    @property
    def api(self) -> Api:
        return self.bench.region.api

    @property
    def signer(self) -> Signer:
        return self.bench.proofs.signer

    def make(self, token: Token, *, name: str, driver: str, progress: Progress) -> BakedImage:
        """Make an image of a running host, a candidate until it is published. The host is stopped and stays stopped.

        Raises BenchError; resources made by then carry the token that `image_token` returns.
        """
        host = self.bench.records.find(token)
        if host is None or host.instance_id is None or host.user is None:
            raise BenchError(f"{token} has no instance in EC2")
        progress(f"stopping {host.instance_id}, so that its disk is whole")
        self._stop(host)
        own_token, now = str(image_token(token)), datetime.datetime.now(datetime.UTC)
        title = f"ptp-harness-{name}-{host.token.run}-{now:%Y%m%d%H%M%S}"
        tags = {
            baked_images.NAME: name,
            baked_images.USER: host.user,
            baked_images.BASE: host.image or "",
            baked_images.DRIVER: driver,
            RUN: host.token.run,
            TOKEN: own_token,
            EXPIRES: host.expires_utc,
        }
        # At most 124 of the 128 characters that EC2 allows.
        signed_title = self.signer.sign_name(title, token=own_token, expires=host.expires_utc)
        image = self.wait_for_copy(host, self.create_image(host, signed_title, tags), progress)
        for snapshot in image.snapshots:  # a snapshot has no name that could prove it once its image is gone
            message = f"signing {snapshot}"
            baked_images.sign(self.api, "snapshot", snapshot, tags, self.signer, task=message)
        # The values that our tags were written with, even if somebody has changed the tags since.
        return replace(image, name=name, user=host.user, base=host.image or "", driver=driver, run=host.token.run)

    def publish(self, image: BakedImage, *, proof: str) -> None:
        """Allow campaigns to start from the image: a host that was made from it has passed in the run `proof`."""
        baked_images.publish(self.api, image, self.signer, proof=proof)

    def retire(self, image: BakedImage, *, older: int) -> list[BakedImage]:
        """Remove older proven images of the same name and architecture, but keep the newest `older` of them.

        Only images that our key signed are removed, no images that others published or that only carry such tags.

        Returns the removed images. Raises CleanupError, BenchError.
        """
        same = [
            candidate
            for candidate in baked_images.list_images(self.api, self.signer)
            if (candidate.name, candidate.architecture) == (image.name, image.architecture)
            and candidate.proof
            and candidate.signed
        ]
        predecessors = [
            candidate for candidate in same if candidate.created < image.created and candidate.ident != image.ident
        ]
        retired = predecessors[: len(predecessors) - older] if older else predecessors
        if retired:
            baked_images.remove(self.api, retired)
        return retired

    def drop(self, host: Token) -> None:
        """Remove the unpublished image of that host. Raises CleanupError."""
        self.bench.release(image_token(host))

    def _stop(self, host: LaunchRecord) -> None:
        instance_ids, host_name = [host.instance_id], host.token.host
        self.api.call(
            "ec2", "stop_instances", task=f"stopping {host.instance_id}", host=host_name, InstanceIds=instance_ids
        )

        def read_state() -> str:
            message = f"watching {host.instance_id} stop"
            answer = self.api.call("ec2", "describe_instances", task=message, host=host_name, InstanceIds=instance_ids)
            return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

        within_s = deadlines_of(host.launched_type or host.instance_type).stops_s
        final_state = self._wait_until(
            read_state, ("stopped", "terminated"), _LOOK_S, within_s, f"{host.instance_id} to stop"
        )
        if final_state != "stopped":
            raise BenchError(f"{host.instance_id} is {final_state}: its disk is gone", next_step="bake it again")

    def create_image(self, host: LaunchRecord, title: str, tags: Mapping[str, str]) -> str:
        """Request the image and return its id.

        After a lost answer the request is repeated, and EC2 refuses the title, which the first request took.
        """
        all_tags = {"Name": f"ptp-harness {tags[baked_images.NAME]}", **tags}
        tag_list = [{"Key": key, "Value": value} for key, value in all_tags.items()]
        try:
            answer = self.api.call(
                "ec2",
                "create_image",
                task=f"making an image of {host.instance_id}",
                host=host.token.host,
                InstanceId=host.instance_id,
                Name=title,
                Description=f"{tags[baked_images.NAME]} with a PTP hardware clock ready to use; "
                f"{tags[baked_images.BASE]} before",
                TagSpecifications=[{"ResourceType": kind, "Tags": tag_list} for kind in ("image", "snapshot")],
            )
            return str(answer["ImageId"])
        except BenchError as error:
            if api_errors.find_raised_code(error) != _TAKEN:
                raise
            filters, message = [exact_filter("name", title)], "looking for the requested image"
            images = self.api.call("ec2", "describe_images", task=message, Owners=["self"], Filters=filters)["Images"]
            matches = [candidate for candidate in images if candidate["Name"] == title]
            if not matches:
                raise
            return str(matches[0]["ImageId"])

    def wait_for_copy(self, host: LaunchRecord, ident: str, progress: Progress) -> BakedImage:
        """Wait until EC2 has copied the disk, and return the image."""
        progress(f"EC2 copies the disk into {ident}, which takes some minutes")
        description: dict[str, Any] = {}
        missed = 0

        def read_state() -> str:
            # By a filter: of a new image's id EC2 may say for seconds that there is none (InvalidAMIID.NotFound).
            nonlocal missed
            answer = self.api.call(
                "ec2",
                "describe_images",
                task=f"watching {ident}",
                host=host.token.host,
                Filters=[exact_filter("image-id", ident)],
            )
            missed = 0 if answer["Images"] else missed + 1
            if missed * _LOOK_AT_COPY_S > LISTED_WITHIN_S:
                return "deregistered"
            description.update(answer["Images"][0] if answer["Images"] else {})
            return str(description.get("State", "pending"))

        ends = ("available", "failed", "error", "invalid", "deregistered")
        final_state = self._wait_until(read_state, ends, _LOOK_AT_COPY_S, COPIED_WITHIN_S, f"{ident} to be copied")
        if final_state != "available":
            reason = description.get("StateReason", {}).get("Message") or "EC2 does not say why"
            raise BenchError(f"the image {ident} is {final_state}: {reason}", next_step="bake it again")
        return baked_images.parse_image(description, self.signer)

    def _wait_until(
        self, read_state: Callable[[], str], ends: tuple[str, ...], every_s: float, within_s: float, goal: str
    ) -> str:
        for _ in range(int(within_s / every_s)):
            if (current := read_state()) in ends:
                return current
            self.pause(every_s)
        raise TransientError(f"waited {within_s:g} s for {goal}", next_step="`ptp-harness sweep --bench ec2` looks")


def image_token(host: Token) -> Token:
    """Return the token of the image that is made of a host, and of the image's snapshots."""
    return Token(run=host.run, host=f"{IMAGE}{host.host}")

"""How does a host's disk become an image? The host is stopped, so that its disk is whole, and EC2 copies it."""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.benches.bench import BenchError, Progress, TransientError
from harness.benches.ec2.account.tagged_resources import IMAGE, RUN
from harness.benches.ec2.api import api_errors
from harness.benches.ec2.api.api import Api, exact_filter
from harness.benches.ec2.bench import Ec2Bench
from harness.benches.ec2.images import baked_images
from harness.benches.ec2.instances.launch_records import LaunchRecord
from harness.model import Token
from harness.model.cloud import BakedImage
from harness.model.ownership import EXPIRES, TOKEN, Signer

STOPPED_WITHIN_S = 300.0
COPIED_WITHIN_S = 3600.0
"""EC2 copies some ten minutes on an ordinary root volume, longer on a large one."""

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
        """An image of a running host, which is a candidate until it is published. The host is stopped, and stays so.

        Raises BenchError; what was made then carries the token that `image_token` tells.
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
        signed = self.signer.name(title, token=own_token, expires=host.expires_utc)  # 124 characters at most, of 128
        image = self._copied(host, self._create(host, signed, tags), progress)
        for snapshot in image.snapshots:  # it has no name for its proof once its image is gone
            what = f"signing {snapshot}"
            baked_images.sign(self.api, "snapshot", snapshot, tags, self.signer, what=what)
        # As we wrote the tags, whoever has changed them since.
        return replace(image, name=name, user=host.user, base=host.image or "", driver=driver, run=host.token.run)

    def publish(self, image: BakedImage, *, proof: str) -> None:
        """Let campaigns start from it: a host made from it has passed in the run `proof`."""
        baked_images.publish(self.api, image, self.signer, proof=proof)

    def retire(self, image: BakedImage, *, older: int) -> list[BakedImage]:
        """Remove the proven ones of the same name and architecture that are older, but for the newest `older` of them.

        Only those that we signed: neither what others published nor what only carries such tags.

        Returns those removed. Raises CleanupError, BenchError.
        """
        same = [
            one
            for one in baked_images.list_images(self.api, self.signer)
            if (one.name, one.architecture) == (image.name, image.architecture) and one.proof and one.signed
        ]
        before = [one for one in same if one.created < image.created and one.ident != image.ident]
        retired = before[: len(before) - older] if older else before
        if retired:
            baked_images.remove(self.api, retired)
        return retired

    def drop(self, host: Token) -> None:
        """Remove what became no published image of that host. Raises CleanupError."""
        self.bench.release(image_token(host))

    def _stop(self, host: LaunchRecord) -> None:
        idents, who = [host.instance_id], host.token.host
        self.api.call("ec2", "stop_instances", what=f"stopping {host.instance_id}", host=who, InstanceIds=idents)

        def state() -> str:
            what = f"watching {host.instance_id} stop"
            answer = self.api.call("ec2", "describe_instances", what=what, host=who, InstanceIds=idents)
            return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

        found = self._until(state, ("stopped", "terminated"), _LOOK_S, STOPPED_WITHIN_S, f"{host.instance_id} to stop")
        if found != "stopped":
            raise BenchError(f"{host.instance_id} is {found}: its disk is gone", next_step="bake it again")

    def _create(self, host: LaunchRecord, title: str, tags: Mapping[str, str]) -> str:
        """Ask for the image; its id. An answer that was lost is asked for again, and then the title is taken: by us."""
        named = {"Name": f"ptp-harness {tags[baked_images.NAME]}", **tags}
        told = [{"Key": key, "Value": value} for key, value in named.items()]
        try:
            answer = self.api.call(
                "ec2",
                "create_image",
                what=f"making an image of {host.instance_id}",
                host=host.token.host,
                InstanceId=host.instance_id,
                Name=title,
                Description=f"{tags[baked_images.NAME]} with a PTP hardware clock ready to use; "
                f"{tags[baked_images.BASE]} before",
                TagSpecifications=[{"ResourceType": kind, "Tags": told} for kind in ("image", "snapshot")],
            )
            return str(answer["ImageId"])
        except BenchError as error:
            if api_errors.find_raised_code(error) != _TAKEN:
                raise
            wanted, what = [exact_filter("name", title)], "looking for the image that was asked for"
            there = self.api.call("ec2", "describe_images", what=what, Owners=["self"], Filters=wanted)["Images"]
            same = [one for one in there if one["Name"] == title]
            if not same:
                raise
            return str(same[0]["ImageId"])

    def _copied(self, host: LaunchRecord, ident: str, progress: Progress) -> BakedImage:
        """The image, once EC2 has copied the disk."""
        progress(f"EC2 copies the disk into {ident}, which takes some minutes")
        seen: dict[str, Any] = {}

        def state() -> str:
            answer = self.api.call(
                "ec2", "describe_images", what=f"watching {ident}", host=host.token.host, ImageIds=[ident]
            )
            seen.update(answer["Images"][0] if answer["Images"] else {"State": "pending"})
            return str(seen["State"])

        ends = ("available", "failed", "error", "invalid", "deregistered")
        found = self._until(state, ends, _LOOK_AT_COPY_S, COPIED_WITHIN_S, f"{ident} to be copied")
        if found != "available":
            why = seen.get("StateReason", {}).get("Message") or "EC2 does not say why"
            raise BenchError(f"the image {ident} is {found}: {why}", next_step="bake it again")
        return baked_images.parse_image(seen, self.signer)

    def _until(
        self, state: Callable[[], str], ends: tuple[str, ...], every_s: float, within_s: float, goal: str
    ) -> str:
        for _ in range(int(within_s / every_s)):
            if (found := state()) in ends:
                return found
            self.pause(every_s)
        raise TransientError(f"waited {within_s:g} s for {goal}", next_step="`ptp-harness sweep --bench ec2` looks")


def image_token(host: Token) -> Token:
    """The token of the image that is made of a host, and of its snapshots."""
    return Token(run=host.run, host=f"{IMAGE}{host.host}")

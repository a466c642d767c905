"""The facts that a campaign needs about its Region: read once, before anything is made, and the same for all hosts."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from harness.benches.bench import NotOfferedError
from harness.benches.ec2.account import instance_profiles, networks, ssh_access
from harness.benches.ec2.account.networks import Subnet
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.images.boot_image import BootImage, BootImages
from harness.benches.ec2.market import catalogue, launch_places, placement_groups, prices
from harness.benches.ec2.market.catalogue import Catalogue
from harness.benches.ec2.market.launch_places import LaunchPlace
from harness.benches.ec2.market.placement_groups import GroupDecision, PlacementGroup
from harness.model.cloud import CloudOptions, TypeInfo
from harness.model.ec2_enums import Architecture
from harness.model.ownership import KEYLESS_SIGNER, Signer


class Region:
    """A Region and a campaign's options for it. Threads share it."""

    def __init__(self, api: Api, options: CloudOptions, cache_dir: Path, signer: Signer = KEYLESS_SIGNER) -> None:
        self.api, self.options = api, options
        self._cache_dir = cache_dir
        self._images = BootImages(api, signer)
        self._lock = threading.RLock()

    @cached_property
    def catalogue(self) -> Catalogue:
        """The types that the Region offers, not older than a day."""
        return catalogue.load(self.api, self._cache_dir)

    @cached_property
    def subnets(self) -> Mapping[str, Subnet]:
        """A subnet per zone in which hosts can be reached. Raises RequestError."""
        subnets = networks.load(self.api, self.options.subnet)
        return networks.usable_subnets(subnets, access=self.options.access, zones=self.options.zones)

    @cached_property
    def groups(self) -> Mapping[str, PlacementGroup]:
        """The placement groups that exist, by name."""
        return placement_groups.load(self.api)

    @cached_property
    def prices(self) -> Mapping[str, float]:
        """USD per hour by type, from recently cached prices only; see prices.cached."""
        return prices.cached(self.api, self._cache_dir, market=self.options.market)

    def check(self, types: Sequence[str]) -> None:
        """Read everything that hosts of these types need. Raises RequestError and BenchError for impossible options.

        A type that none of the campaign's zones offers is not an error here: it gets a verdict of its own.
        """
        with self._lock:
            infos = [self.info(name) for name in types if name in self.catalogue.types]
            for architecture in sorted({info.architecture for info in infos}):
                self.image(architecture)
            placement_groups.room_for(self.groups, [self.decision(info.name) for info in infos])
            _ = self.subnets  # read now: raises RequestError where no host could be reached
            self._check_profile(infos)

    def _check_profile(self, infos: Sequence[TypeInfo]) -> None:
        """Check the instance profile with the first type that a subnet here can have; it is the same for all types."""
        profile = self.options.instance_profile
        place = next((place for info in infos for place in self._list_places(info)), None)
        if profile is None or place is None:
            return
        image = self.image(self.info(place.instance_type).architecture)
        instance_profiles.check_profile(
            self.api, profile, image=image.ami, instance_type=place.instance_type, subnet=place.subnet
        )

    def _list_places(self, info: TypeInfo) -> Iterator[LaunchPlace]:
        try:
            yield from self.attempts(info)
        except NotOfferedError:  # the type gets a verdict of its own
            return

    def info(self, instance_type: str) -> TypeInfo:
        """Return the facts of a type. Raises NotOfferedError for a type that the Region does not offer."""
        with self._lock:
            info = self.catalogue.types.get(instance_type)
        if info is None:
            raise NotOfferedError(
                f"{self.api.region} does not offer {instance_type}",
                next_step=f"`ptp-harness types --region {self.api.region}` lists what it has",
            )
        return info

    def image(self, architecture: Architecture) -> BootImage:
        """Return the image for an architecture. Raises RequestError, BenchError."""
        return self._images.find_image(self.options.image_name, architecture, self.options.user)

    def remarks_on_agents(self) -> Sequence[str]:
        """Return a remark for each image that was looked up and has no SSM agent by its name."""
        remarks = [ssh_access.remark_on_agent(image.ami, image.title) for image in self._images.found()]
        return [remark for remark in remarks if remark is not None]

    def decision(self, instance_type: str) -> GroupDecision:
        """Return the decision about the placement group of a host."""
        with self._lock:
            info = self.catalogue.types.get(instance_type)
            return placement_groups.decide_placement(
                self.options.placement,
                self.api.region,
                instance_type,
                self.groups,
                phc=info.phc if info is not None else None,
            )

    def attempts(self, info: TypeInfo) -> Iterator[LaunchPlace]:
        """Return the places to try, in order. Raises NotOfferedError before the first."""
        with self._lock:
            types, subnets = self.catalogue.types, self.subnets
        return launch_places.list_attempts(
            info, types, subnets, zones=self.options.zones, other_sizes=self.options.other_sizes
        )

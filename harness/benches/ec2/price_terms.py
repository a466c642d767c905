"""Determine a campaign's terms: the images, the placement, the price per hour, and the longest lifetime of a host."""

from collections import Counter
from collections.abc import Sequence

from harness.benches.ec2.engine.engine import Deadlines
from harness.benches.ec2.images.boot_image import BootImage
from harness.benches.ec2.instances.region import Region
from harness.model.cloud import PriceTerms
from harness.model.ec2_deadlines import deadlines_of
from harness.model.ec2_enums import PlacementKeyword


def load_terms(region: Region, types: Sequence[str]) -> PriceTerms:
    """Return the terms, from facts read when the campaign was prepared and from cached prices. No call to AWS."""
    infos = [region.info(name) for name in types if name in region.catalogue.types]
    images = [region.image(architecture) for architecture in sorted({info.architecture for info in infos})]
    return PriceTerms(
        images=tuple(map(_describe_image, images)),
        placement=_describe_placement([region.decision(info.name).choice.setting for info in infos]),
        usd_per_hour=region.prices,
        longest_life_s=region.options.lease_s + Deadlines().for_up(deadlines_of(*types)),
    )


def _describe_image(image: BootImage) -> str:
    parts = [part for part in (image.ami, image.title) if part and part != image.name]
    return f"{image.name} ({', '.join(parts)})" if parts else image.name


def _describe_placement(settings: Sequence[str]) -> str:
    """Return the placement as text, with the number of hosts for each setting where the settings differ."""
    counts = Counter(settings)
    labels = {
        setting: "no placement group" if setting == PlacementKeyword.NONE else f"placement {setting}"
        for setting in counts
    }
    if len(counts) <= 1:
        return "".join(labels.values())
    return ", ".join(f"{labels[setting]} for {count}" for setting, count in counts.items())

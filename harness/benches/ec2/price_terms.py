"""On which terms are a campaign's hosts had? From which images, placed how, for how much, and for how long at most."""

from collections import Counter
from collections.abc import Sequence

from harness.benches.ec2.engine.engine import Deadlines
from harness.benches.ec2.images.boot_image import BootImage
from harness.benches.ec2.instances.region import Region
from harness.model.cloud import PriceTerms


def load_terms(region: Region, types: Sequence[str]) -> PriceTerms:
    """By what was asked when the campaign was prepared, and prices that were kept: nobody is asked anything more."""
    infos = [region.info(name) for name in types if name in region.catalogue.types]
    images = [region.image(architecture) for architecture in sorted({info.architecture for info in infos})]
    return PriceTerms(
        images=tuple(map(_image, images)),
        placement=_placement([region.decision(info.name).setting for info in infos]),
        usd_per_hour=region.prices,
        lasts_s=region.wishes.lease_s + Deadlines().up_s,
    )


def _image(image: BootImage) -> str:
    words = [word for word in (image.ami, image.title) if word and word != image.name]
    return f"{image.name} ({', '.join(words)})" if words else image.name


def _placement(settings: Sequence[str]) -> str:
    """In words; how many hosts, where not all are placed alike."""
    found = Counter(settings)
    words = {setting: "no placement group" if setting == "none" else f"placement {setting}" for setting in found}
    if len(found) <= 1:
        return "".join(words.values())
    return ", ".join(f"{words[setting]} for {times}" for setting, times in found.items())

"""What is said of a campaign before it begins: what is known, and no word that would have to be asked for."""

import datetime
from pathlib import Path

import pytest

from harness.benches.ec2 import price_terms
from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.images import boot_image
from harness.benches.ec2.images.boot_image import BootImage
from harness.benches.ec2.instances.region import Region
from harness.benches.ec2.market import prices
from harness.benches.ec2.market.catalogue import Catalogue
from harness.model.cloud import CloudOptions, PriceTerms, TypeInfo
from harness.model.ec2_enums import Architecture, Market


def image(architecture: str, title: str) -> BootImage:
    return BootImage(
        name="al2023",
        ami=f"ami-{architecture}",
        architecture=architecture,
        user="ec2-user",
        parameter=None,
        taken="2026-11-21",
        title=title,
        root_device=None,
        volume_gib=None,
    )


def kind(name: str, architecture: str) -> TypeInfo:
    family, _, size = name.partition(".")
    return TypeInfo(
        name=name,
        family=family,
        size=size,
        architecture=architecture,
        vcpus=2,
        memory_mib=8192,
        phc=True,
        ena="required",
        zones=("eu-west-1a",),
        price_per_hour_usd=None,
        bare_metal=False,
        current_generation=True,
    )


@pytest.fixture
def region(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Region:
    """One in which all was asked that a campaign asks for; nobody answers now."""
    found = Region(Api("eu-west-1", pause=lambda _seconds: None), CloudOptions(lease_s=3600.0), tmp_path)
    types = {one.name: one for one in (kind("m7i.large", Architecture.X86_64), kind("c8g.large", Architecture.ARM64))}
    found.__dict__["catalogue"] = Catalogue(region="eu-west-1", as_of=answer_cache.utc_now(), types=types)
    found.__dict__["groups"] = {}
    titles = {Architecture.X86_64: "al2023-ami-2023.9-x86_64", Architecture.ARM64: ""}

    def resolve(_api: Api, _name: str, architecture: Architecture, **_options: object) -> BootImage:
        return image(architecture, titles[architecture])

    monkeypatch.setattr(boot_image, "resolve", resolve)
    return found


def test_what_hosts_are_made_from_where_and_for_how_much(region: Region, tmp_path: Path) -> None:
    path = answer_cache.cache_file(tmp_path, "prices-on-demand", "eu-west-1", region.api.endpoint("ec2"))
    answer_cache.write(path, {"m7i.large": 0.1})
    assert price_terms.load_terms(region, ["m7i.large", "c8g.large", "x9z.large"]) == PriceTerms(
        images=("al2023 (ami-arm64)", "al2023 (ami-x86_64, al2023-ami-2023.9-x86_64)"),
        placement="no placement group for 1, placement precision-time for 1",
        usd_per_hour={"m7i.large": 0.1},
        longest_life_s=3600.0 + 900.0,
    )
    assert region.api.count_calls() == 0


def test_what_nobody_knows_is_left_out(region: Region) -> None:
    found = price_terms.load_terms(region, ["c8g.large"])
    assert (found.placement, found.usd_per_hour) == ("placement precision-time", {})
    assert price_terms.load_terms(region, []).placement == ""


def test_prices_that_are_too_old_are_no_prices(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for market in Market:
        answer_cache.write(
            answer_cache.cache_file(tmp_path, f"prices-{market}", api.region, api.endpoint("ec2")), {"m7i.large": 0.1}
        )
    begun, later_s = answer_cache.utc_now(), [0.0]
    monkeypatch.setattr(answer_cache, "utc_now", lambda: begun + datetime.timedelta(seconds=later_s[0]))
    for market, age_s in {Market.SPOT: prices.SPOT_MAX_AGE_S, Market.ON_DEMAND: prices.ON_DEMAND_MAX_AGE_S}.items():
        for later_s[0], known in ((age_s - 60, {"m7i.large": 0.1}), (age_s + 60, {})):
            assert prices.cached(api, tmp_path, market=market) == known

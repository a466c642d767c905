"""What a Region's facts decide for its hosts: the API's claim reaches the choice of a placement group."""

from pathlib import Path

import pytest

from harness.benches.ec2.api import answer_cache
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.instances.region import Region
from harness.benches.ec2.market.catalogue import Catalogue
from harness.model.cloud import CloudOptions, TypeInfo
from harness.model.ec2_enums import Architecture


@pytest.mark.parametrize(
    ("phc", "setting", "precise"),
    [(True, "precision-time", True), (None, "precision-time", True), (False, "none", False)],
)
def test_a_type_without_a_clock_is_launched_in_no_precision_time_group(
    api: Api, tmp_path: Path, phc: bool | None, setting: str, precise: bool
) -> None:
    info = TypeInfo(
        name="t3.micro",
        family="t3",
        size="micro",
        architecture=Architecture.X86_64,
        vcpus=2,
        memory_mib=1024,
        phc=phc,
        ena="required",
        zones=("eu-west-1a",),
        price_per_hour_usd=None,
        bare_metal=False,
        current_generation=True,
    )
    region = Region(Api("eu-west-1", pause=lambda _seconds: None), CloudOptions(), tmp_path)
    region.__dict__["catalogue"] = Catalogue(region="eu-west-1", as_of=answer_cache.utc_now(), types={info.name: info})
    region.__dict__["groups"] = {}
    decision = region.decision("t3.micro")
    assert (decision.choice.setting, decision.evidence.precise) == (setting, precise)

"""From a campaign to its outlook, every part real: the catalogue and what runs are moto's; what is unknown is said."""

import datetime
from dataclasses import replace
from pathlib import Path

from harness.benches.ec2.account import quotas
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.market import listing
from harness.campaign import ec2_forecast, run_plan, selection
from harness.campaign.campaign import from_yaml
from harness.model.ec2_enums import Market
from harness.report import forecast_text as rendered

REGION = "me-south-1"  # no legacy Region, and the fewest types
NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
CAMPAIGN = """
bench: ec2
region: me-south-1
instance_types: [m6g.large]
select: {phc: unsupported, family: [m5, c5], max_vcpus: 4, one_size_per_family: true}
parallel: 2
"""


def test_from_campaign_to_outlook(aws: str, tmp_path: Path) -> None:
    api = Api(REGION)
    campaign = from_yaml(CAMPAIGN, where="c.yaml")
    found = listing.load(api, tmp_path, market=Market.SPOT)
    types = found.catalogue.types
    names = selection.resolve_types(campaign.instance_types, campaign.select, types, where=REGION)
    made = run_plan.make_plan(replace(campaign, instance_types=names), types, now=NOW)
    limits = quotas.load(api, [types[name] for name in names], types, market=Market.SPOT)
    seen = ec2_forecast.forecast(
        made, types, limits, region=REGION, market=Market.SPOT, why_unpriced=found.prices.why_unknown
    )
    assert [(host.name, host.architecture, host.phc, host.precision_group, host.zones) for host in seen.hosts] == [
        ("m6g.large", "arm64", False, False, ("me-south-1a", "me-south-1b", "me-south-1c")),
        ("c5.large", "x86_64", False, False, ("me-south-1a", "me-south-1b", "me-south-1c")),
        ("m5.large", "x86_64", False, False, ("me-south-1a", "me-south-1b", "me-south-1c")),
    ]
    (quota,) = seen.quotas
    assert (quota.code, quota.limit_vcpus, quota.used_vcpus) == ("L-34B43A08", None, 0)
    assert seen.about_usd is not None
    assert 0 < seen.about_usd < 0.0001
    lines = rendered.lines(seen)
    assert "cost: about $0.0001, at most $0.0001" in "\n".join(lines)
    assert any(text.startswith("quota All Standard") and "is unknown" in text for text in seen.warnings)
    assert any("there is no PHC on m6g.large, c5.large, m5.large" in text for text in seen.warnings)

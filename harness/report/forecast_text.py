"""Write the forecast of a plan on EC2: as text for people, and as plain data."""

from dataclasses import asdict
from typing import Any

from harness.campaign.ec2_forecast import Ec2Forecast, HostForecast
from harness.model.cloud import Quota
from harness.report import table
from harness.units import usd

_HEAD = ("HOST", "ARCH", "VCPU", "PHC", "$/HOUR", "ZONES")
UNKNOWN = "unknown"


def document(forecast: Ec2Forecast) -> dict[str, Any]:
    """Build the forecast as JSON-ready data. Unknown values are null."""
    return {
        "region": forecast.region,
        "market": forecast.market,
        "hosts": [asdict(host) for host in forecast.hosts],
        "quotas": [_quota_document(quota) for quota in forecast.quotas],
        "cost": {
            "about_usd": _round_usd(forecast.about_usd),
            "at_most_usd": _round_usd(forecast.at_most_usd),
            "unpriced": list(forecast.unpriced),
        },
        "actions": list(forecast.actions),
        "warnings": list(forecast.warnings),
    }


def lines(forecast: Ec2Forecast) -> list[str]:
    """Write the hosts as a table, the reasons for their placement, the quotas, the cost, and the IAM actions needed."""
    rows = [_HEAD, *map(_row, forecast.hosts)]
    return [
        f"{forecast.region}, {forecast.market}:",
        *(f"  {line}" for line in table.align_rows(rows)),
        "placement:",
        *(f"  {', '.join(names)}: {why}" for why, names in _by_placement(forecast.hosts).items()),
        *(["quota:", *map(_describe_quota, forecast.quotas)] if forecast.quotas else []),
        f"cost: {describe_cost(forecast)}",
        *([f"IAM actions: {len(forecast.actions)}, those of docs/iam-policy.json"] if forecast.actions else []),
    ]


def describe_cost(forecast: Ec2Forecast) -> str:
    """Write the cost of the instances alone in one sentence."""
    about, at_most = usd(forecast.priced_about_usd), usd(forecast.priced_at_most_usd)
    cost_text = f"about {about}, at most {at_most} when every host stays for its whole lease"
    if not forecast.unpriced:
        return f"{cost_text} (instances; volumes and addresses add cents)"
    if len(forecast.unpriced) == len(forecast.hosts):
        return UNKNOWN
    return f"{UNKNOWN} for {', '.join(forecast.unpriced)}; the others {cost_text}"


def format_phc(claim: bool | None) -> str:
    """Write the API's claim about the PHC: yes, no, or "not told"."""
    return "not told" if claim is None else "yes" if claim else "no"


def format_price(usd_per_hour: float | None) -> str:
    """Write a price per hour in dollars, with four decimals: spot prices have more digits than cents."""
    return UNKNOWN if usd_per_hour is None else f"{usd_per_hour:.4f}"


def format_zones(names: tuple[str, ...]) -> str:
    """Write the zones of one Region, the first in full: `eu-north-1a b c`."""
    if not names:
        return "none"
    return " ".join([names[0], *(name[len(names[0]) - 1 :] for name in names[1:])])


def _row(host: HostForecast) -> tuple[str, ...]:
    price_text = format_price(host.price_per_hour_usd)
    return host.name, host.architecture, str(host.vcpus), format_phc(host.phc), price_text, format_zones(host.zones)


def _by_placement(hosts: tuple[HostForecast, ...]) -> dict[str, list[str]]:
    names_by_reason: dict[str, list[str]] = {}
    for host in hosts:
        names_by_reason.setdefault(host.placement_why, []).append(host.name)
    return names_by_reason


def _describe_quota(quota: Quota) -> str:
    limit, used = (UNKNOWN if vcpus is None else str(vcpus) for vcpus in (quota.limit_vcpus, quota.used_vcpus))
    left_vcpus = UNKNOWN if quota.left_vcpus is None else str(quota.left_vcpus)
    return f"  {quota.name} ({quota.code}): {left_vcpus} vCPUs left of {limit}, in use {used}"


def _quota_document(quota: Quota) -> dict[str, Any]:
    return {**asdict(quota), "families": sorted(quota.families), "left_vcpus": quota.left_vcpus}


def _round_usd(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 4)

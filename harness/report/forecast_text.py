"""Write the forecast of a plan on EC2: as text for people, and as plain data."""

from dataclasses import asdict
from typing import Any

from harness.campaign.ec2_forecast import Ec2Forecast, HostForecast
from harness.model.cloud import Quota
from harness.report import table
from harness.units import usd

_HEAD = ("HOST", "ARCH", "VCPU", "PHC", "$/HOUR", "ZONES")
UNKNOWN = "unknown"


def document(outlook: Ec2Forecast) -> dict[str, Any]:
    """Build the forecast as JSON-ready data. Unknown values are null."""
    return {
        "region": outlook.region,
        "market": outlook.market,
        "hosts": [asdict(host) for host in outlook.hosts],
        "quotas": [_quota_document(quota) for quota in outlook.quotas],
        "cost": {
            "about_usd": _cents(outlook.about_usd),
            "at_most_usd": _cents(outlook.at_most_usd),
            "unpriced": list(outlook.unpriced),
        },
        "actions": list(outlook.actions),
        "warnings": list(outlook.warnings),
    }


def lines(outlook: Ec2Forecast) -> list[str]:
    """Write the hosts as a table, the reasons for their placement, the quotas, the cost, and the IAM actions needed."""
    rows = [_HEAD, *map(_row, outlook.hosts)]
    return [
        f"{outlook.region}, {outlook.market}:",
        *(f"  {line}" for line in table.aligned(rows)),
        "placement:",
        *(f"  {', '.join(names)}: {why}" for why, names in _by_placement(outlook.hosts).items()),
        *(["quota:", *map(_quota, outlook.quotas)] if outlook.quotas else []),
        f"cost: {cost(outlook)}",
        *([f"IAM actions: {len(outlook.actions)}, those of docs/iam-policy.json"] if outlook.actions else []),
    ]


def cost(outlook: Ec2Forecast) -> str:
    """Write the cost of the instances alone in one sentence."""
    about, at_most = usd(outlook.priced_about_usd), usd(outlook.priced_at_most_usd)
    cost_text = f"about {about}, at most {at_most} when every host stays for its whole lease"
    if not outlook.unpriced:
        return f"{cost_text} (instances; volumes and addresses add cents)"
    if len(outlook.unpriced) == len(outlook.hosts):
        return UNKNOWN
    return f"{UNKNOWN} for {', '.join(outlook.unpriced)}; the others {cost_text}"


def phc(claim: bool | None) -> str:
    """Write the API's claim about the PHC: yes, no, or "not told"."""
    return "not told" if claim is None else "yes" if claim else "no"


def price(usd_per_hour: float | None) -> str:
    """Write a price per hour in dollars, with four decimals: spot prices have more digits than cents."""
    return UNKNOWN if usd_per_hour is None else f"{usd_per_hour:.4f}"


def zones(names: tuple[str, ...]) -> str:
    """Write the zones of one Region, the first in full: `eu-north-1a b c`."""
    if not names:
        return "none"
    return " ".join([names[0], *(name[len(names[0]) - 1 :] for name in names[1:])])


def _row(host: HostForecast) -> tuple[str, ...]:
    price_text = price(host.price_per_hour_usd)
    return host.name, host.architecture, str(host.vcpus), phc(host.phc), price_text, zones(host.zones)


def _by_placement(hosts: tuple[HostForecast, ...]) -> dict[str, list[str]]:
    names_by_reason: dict[str, list[str]] = {}
    for host in hosts:
        names_by_reason.setdefault(host.placement_why, []).append(host.name)
    return names_by_reason


def _quota(quota: Quota) -> str:
    limit, used = (UNKNOWN if vcpus is None else str(vcpus) for vcpus in (quota.limit_vcpus, quota.used_vcpus))
    left_vcpus = UNKNOWN if quota.left_vcpus is None else str(quota.left_vcpus)
    return f"  {quota.name} ({quota.code}): {left_vcpus} vCPUs left of {limit}, in use {used}"


def _quota_document(quota: Quota) -> dict[str, Any]:
    return {**asdict(quota), "families": sorted(quota.families), "left_vcpus": quota.left_vcpus}


def _cents(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 4)

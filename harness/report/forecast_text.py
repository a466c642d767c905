"""What a plan asks of EC2, for people and as plain data."""

from dataclasses import asdict
from typing import Any

from harness.campaign.ec2_forecast import Ec2Forecast, HostForecast
from harness.model.cloud import Quota

_HEAD = ("HOST", "ARCH", "VCPU", "PHC", "$/HOUR", "ZONES")
UNKNOWN = "unknown"


def document(outlook: Ec2Forecast) -> dict[str, Any]:
    """As JSON-ready data. What is unknown is null."""
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
    """A table of hosts, why they are placed so, the quotas, the cost, and what permission it takes."""
    rows = [_HEAD, *map(_row, outlook.hosts)]
    sizes = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    table = ["  " + "  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in rows]
    return [
        f"{outlook.region}, {outlook.market}:",
        *table,
        "placement:",
        *(f"  {', '.join(names)}: {why}" for why, names in _by_placement(outlook.hosts).items()),
        *(["quota:", *map(_quota, outlook.quotas)] if outlook.quotas else []),
        f"cost: {cost(outlook)}",
        *([f"IAM actions: {len(outlook.actions)}, those of docs/iam-policy.json"] if outlook.actions else []),
        *(f"warning: {words}" for words in outlook.warnings),
    ]


def cost(outlook: Ec2Forecast) -> str:
    """One sentence; the instances alone."""
    about, at_most = usd(outlook.priced_about_usd), usd(outlook.priced_at_most_usd)
    known = f"about {about}, at most {at_most} when every host stays for its whole lease"
    if not outlook.unpriced:
        return f"{known} (instances; volumes and addresses add cents)"
    if len(outlook.unpriced) == len(outlook.hosts):
        return UNKNOWN
    return f"{UNKNOWN} for {', '.join(outlook.unpriced)}; the others {known}"


def usd(amount: float) -> str:
    """Dollars, never rounded down to nothing."""
    return f"${max(amount, 0.0001):.4f}" if 0 < amount < 0.01 else f"${amount:,.2f}"


def phc(claim: bool | None) -> str:
    """The API's claim in one word."""
    return "not told" if claim is None else "yes" if claim else "no"


def price(usd_per_hour: float | None) -> str:
    """Per hour; spot prices have more digits than cents."""
    return UNKNOWN if usd_per_hour is None else f"{usd_per_hour:.4f}"


def zones(names: tuple[str, ...]) -> str:
    """Zones of one Region, the first in full: `eu-north-1a b c`."""
    if not names:
        return "none"
    return " ".join([names[0], *(name[len(names[0]) - 1 :] for name in names[1:])])


def _row(host: HostForecast) -> tuple[str, ...]:
    told = price(host.price_per_hour_usd)
    return host.name, host.architecture, str(host.vcpus), phc(host.phc), told, zones(host.zones)


def _by_placement(hosts: tuple[HostForecast, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for host in hosts:
        found.setdefault(host.placement_why, []).append(host.name)
    return found


def _quota(quota: Quota) -> str:
    limit, used = (UNKNOWN if one is None else str(one) for one in (quota.limit_vcpus, quota.used_vcpus))
    left = UNKNOWN if quota.left_vcpus is None else str(quota.left_vcpus)
    return f"  {quota.name} ({quota.code}): {left} vCPUs left of {limit}, in use {used}"


def _quota_document(quota: Quota) -> dict[str, Any]:
    return {**asdict(quota), "families": sorted(quota.families), "left_vcpus": quota.left_vcpus}


def _cents(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 4)

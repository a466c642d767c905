"""Forecast the demands of a plan on EC2: zones, placement, quotas, cost and permissions. None: unknown."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.campaign import run_plan
from harness.campaign.run_plan import Plan
from harness.model import ec2, ec2_placement
from harness.model.cloud import Quota, TypeInfo
from harness.model.ec2_enums import Architecture, GroupStrategy, Market, PlacementKeyword

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostForecast:
    """A planned host. `precision_group`: whether it is placed in a placement group of strategy precision-time."""

    name: str
    instance_type: str
    architecture: Architecture
    vcpus: int
    phc: bool | None
    zones: tuple[str, ...]  # in which the launch may be tried
    precision_group: bool | None  # None: the campaign names another placement
    placement_why: str
    price_per_hour_usd: float | None
    quota: str | None  # code of the quota that the host counts against


@dataclass(frozen=True, slots=True, kw_only=True)
class Ec2Forecast:
    """The forecast of all hosts. Costs are None when the price of any host is unknown; `priced_*` omit these hosts.

    `about`: costs of the estimated time of each host. `at_most`: costs of its whole lease. Costs of volumes, addresses
    and traffic are not included.
    """

    region: str
    market: Market
    hosts: tuple[HostForecast, ...]
    quotas: tuple[Quota, ...]
    about_usd: float | None
    at_most_usd: float | None
    priced_about_usd: float
    priced_at_most_usd: float
    unpriced: tuple[str, ...]
    actions: tuple[str, ...]
    warnings: tuple[str, ...]


def forecast(
    plan: Plan,
    types: Mapping[str, TypeInfo],
    quotas: Sequence[Quota],
    *,
    region: str,
    market: Market = Market.ON_DEMAND,
    zones: Sequence[str] = (),
    actions: Sequence[str] = (),
    why_unpriced: str = "",
) -> Ec2Forecast:
    """Forecast a plan whose types are all in `types` (`make_plan` checks that).

    `zones`: the zones that the campaign names, in its order; empty for all. `actions`: the IAM actions that the
    campaign needs.
    """
    hosts = tuple(_host(host.name, types[host.instance_type], plan, quotas, region, zones) for host in plan.hosts)
    prices = [host.price_per_hour_usd for host in hosts if host.price_per_hour_usd is not None]
    about_s = min(run_plan.estimate_host_s(plan.campaign), plan.campaign.cloud.lease_s)
    about, at_most = (sum(prices) * seconds / _HOUR_S for seconds in (about_s, plan.campaign.cloud.lease_s))
    unpriced = tuple(host.name for host in hosts if host.price_per_hour_usd is None)
    return Ec2Forecast(
        region=region,
        market=market,
        hosts=hosts,
        quotas=tuple(quotas),
        about_usd=None if unpriced else about,
        at_most_usd=None if unpriced else at_most,
        priced_about_usd=about,
        priced_at_most_usd=at_most,
        unpriced=unpriced,
        actions=tuple(sorted(actions)),
        warnings=(
            *_warn_about_types(hosts, types),
            *_warn_about_placement(hosts, region, plan.campaign.cloud.placement),
            *(warning for quota in quotas for warning in _warn_about_quota(quota, hosts, plan.parallel)),
            *([f"no price is known of {_join_names(unpriced)}{_in_brackets(why_unpriced)}"] if unpriced else []),
        ),
    )


def explain_placement(region: str, info: TypeInfo, placement: str) -> tuple[bool | None, str]:
    """Tell whether a host is placed in a precision-time group (None: the campaign names a placement), and why."""
    choice = ec2_placement.choose_group(placement, region, info.name, phc=info.phc)
    if choice.joins is not None or choice.makes is GroupStrategy.CLUSTER:
        return None, f"the campaign asks for placement {placement}"
    if placement != PlacementKeyword.AUTO:
        group = "in a precision-time placement group" if choice.makes else "in no placement group"
        return choice.makes is not None, f"{group}, as the campaign asks"
    if choice.needed and choice.makes is None:
        return False, f"in no precision-time placement group: the API says that there is no PHC on {info.name}"
    if choice.needed:
        return True, f"in a precision-time placement group: {region} shows the PHC of {info.family} only there"
    where = region if region in ec2.LEGACY_REGIONS else f"{info.family} in every Region"
    return False, f"no precision-time placement group needed: {where} shows its PHC without one"


def _host(
    name: str, info: TypeInfo, plan: Plan, quotas: Sequence[Quota], region: str, zones: Sequence[str]
) -> HostForecast:
    group, reason = explain_placement(region, info, plan.campaign.cloud.placement)
    return HostForecast(
        name=name,
        instance_type=info.name,
        architecture=info.architecture,
        vcpus=info.vcpus,
        phc=info.phc,
        zones=ec2_placement.order_zones(info.zones, requested_zones=zones),
        precision_group=group,
        placement_why=reason,
        price_per_hour_usd=info.price_per_hour_usd,
        quota=next((quota.code for quota in quotas if info.family in quota.families), None),
    )


def _warn_about_types(hosts: Sequence[HostForecast], types: Mapping[str, TypeInfo]) -> Iterator[str]:
    def names_where(condition: Callable[[TypeInfo], bool]) -> str:
        return _join_names(host.instance_type for host in hosts if condition(types[host.instance_type]))

    if unsupported := names_where(lambda info: info.phc is False):
        yield f"the API says that there is no PHC on {unsupported}: the measurement will be compared with this claim"
    if unclaimed := names_where(lambda info: info.phc is None):
        yield f"the API does not say whether there is a PHC on {unclaimed}"
    if without_ena := names_where(lambda info: info.ena == "unsupported"):
        yield f"there is no ENA card on {without_ena}: only this card provides a PHC"
    if bare_metal := names_where(lambda info: info.bare_metal):
        yield f"bare metal takes ten minutes and more to come up: {bare_metal}"
    if without_zone := _join_names(host.instance_type for host in hosts if not host.zones):
        yield f"no zone that may be used offers {without_zone}"


def _warn_about_placement(hosts: Sequence[HostForecast], region: str, placement: str) -> Iterator[str]:
    choices = {
        host.instance_type: ec2_placement.choose_group(placement, region, host.instance_type, phc=host.phc)
        for host in hosts
    }
    without_clock = {host.instance_type for host in hosts if host.phc is False}
    if refused := _join_names(name for name, choice in choices.items() if choice.cluster_hides_clock):
        yield (
            f"a run is refused: {region} shows the PHC of {refused} in a cluster only below a precision-time parent, "
            "which `placement: group:NAME` names"
        )
    elif hidden := _join_names(
        name for name, choice in choices.items() if choice.shows_clock is False and name not in without_clock
    ):
        yield f"outside a precision-time placement group {region} shows no PHC on {hidden}: placement auto makes one"


def _warn_about_quota(quota: Quota, hosts: Sequence[HostForecast], parallel: int) -> Iterator[str]:
    """Warn where a quota is too small. The hosts that run at once may be the largest of those counted against it."""
    needs = sorted((host.vcpus for host in hosts if host.quota == quota.code), reverse=True)
    at_once, free, limit = sum(needs[:parallel]), quota.left_vcpus, quota.limit_vcpus
    title = f"quota {quota.name} ({quota.code})"
    if limit is not None and (large := [host for host in hosts if host.quota == quota.code and host.vcpus > limit]):
        yield f"{title} allows {limit} vCPUs, too few for {_join_names(host.instance_type for host in large)}"
    elif free is None:
        yield f"{title} is unknown{_in_brackets(quota.why_unknown)}"
    elif at_once > free:
        yield (
            f"{title} leaves {free} of {limit} vCPUs, and up to {at_once} are needed at once: request more in Service "
            "Quotas, or run fewer at once (parallel)"
        )


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _in_brackets(reason: str) -> str:
    return f" ({reason})" if reason else ""

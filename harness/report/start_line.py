"""Write the first line of a run: its name and hosts; on a cloud also place, maximum cost and latest release."""

import datetime

from harness import units
from harness.campaign.run_plan import Plan
from harness.model.cloud import PriceTerms
from harness.units import usd

_HOUR_S = 3600.0


def line(run: str, plan: Plan, terms: PriceTerms | None, now: datetime.datetime) -> str:
    """Write one line for people. `terms` is None where hosts are free; `now` has the time zone of the times shown."""
    hosts = len(plan.hosts)
    if terms is None:
        at_once = f", up to {plan.parallel} at once" if hosts > plan.parallel else ""
        return f"run {run}: {hosts} host{'s' if hosts > 1 else ''} on the bench {plan.campaign.bench}{at_once}"
    batches = -(-hosts // plan.parallel)
    end = now + datetime.timedelta(seconds=terms.longest_life_s * batches)
    parts = (
        f"{hosts} host{'s' if hosts > 1 else ''}",
        *([" and ".join(terms.images)] if terms.images else []),
        terms.placement,
        _cost(plan, terms),
        f"every host off by {units.clock_time(end, now)} at the latest",
    )
    return f"run {run}: {', '.join(part for part in parts if part)}"


def _cost(plan: Plan, terms: PriceTerms) -> str:
    prices = [terms.usd_per_hour.get(host.instance_type) for host in plan.hosts]
    known_prices = [price for price in prices if price is not None]
    if len(known_prices) < len(prices):
        return "cost unknown (`ptp-harness plan` asks for prices)"
    return f"at most {usd(sum(known_prices) * plan.campaign.cloud.lease_s / _HOUR_S)}"

"""See whether the quotas of a namespace leave room for pods of a run: two coordinators and one pod of a suite."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from lightkube.models.core_v1 import ResourceQuotaSpec
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ResourceQuota
from lightkube.utils.quantity import parse_quantity

from harness.benches.bench import Check
from harness.cluster.connection import Connection, telling_errors
from harness.errors import HarnessError
from harness.untrusted.plain_text import one_line

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_OTHER_SCOPES = {"Terminating", "BestEffort"}
"""Scopes of pods that are not ours: ours have requests, and no deadline of their own."""

_MOST_CHARACTERS = 400


def check_quotas(connection: Connection, jobs: Sequence[Job]) -> Check:
    """Check whether the quotas of the namespace have room for these Jobs, with all pods that they run at once."""
    try:
        with telling_errors(connection, f"listing the quotas of namespace {connection.namespace}"):
            quotas = [*connection.client.list(ResourceQuota, namespace=connection.namespace)]
        return describe_room(quotas, sum_needs(jobs))
    except HarnessError as error:
        return Check(name="quota", ok=False, observed=error.message, remedy=error.next_step)


def sum_needs(jobs: Sequence[Job]) -> dict[str, Decimal | None]:
    """Sum up what Jobs take of a quota, by the names that quotas have for it.

    None: what some pod does not say, though a quota of this name demands that each pod does.
    """
    needs: dict[str, Decimal | None] = {"pods": Decimal(0), "count/pods": Decimal(0)}
    needs["count/jobs.batch"] = Decimal(len(jobs))
    for job in jobs:
        if job.spec is None or job.spec.template.spec is None:
            continue
        pod, number = job.spec.template.spec, Decimal(job.spec.parallelism or 1)
        _add(needs, "pods", number)
        _add(needs, "count/pods", number)
        resources = pod.containers[0].resources
        for kind, amounts in (
            ("requests", (resources and resources.requests) or {}),
            ("limits", (resources and resources.limits) or {}),
        ):
            for name in _COMPUTE:
                amount = amounts.get(name)
                _add(needs, f"{kind}.{name}", None if amount is None else number * _parse(amount))
    return needs | {name: needs[f"requests.{name}"] for name in _COMPUTE}


def describe_room(quotas: Sequence[ResourceQuota], needs: Mapping[str, Decimal | None]) -> Check:
    """Say what each quota lacks for these needs; where none lacks anything, how many there are."""
    lacks = [lack for quota in quotas for lack in _find_lacks(quota, needs)]
    if lacks:
        observed = one_line("; ".join(lacks), _MOST_CHARACTERS)
        remedy = "a larger quota, or `ptp-harness cluster clean` of ended runs"
        return Check(name="quota", ok=False, observed=observed, remedy=remedy)
    observed = f"{len(quotas)} leave room for two coordinators and a pod" if quotas else "none limits the namespace"
    return Check(name="quota", ok=True, observed=observed)


def _find_lacks(quota: ResourceQuota, needs: Mapping[str, Decimal | None]) -> Iterator[str]:
    if _is_of_other_pods(quota.spec):
        return
    name = quota.metadata and quota.metadata.name
    used = (quota.status and quota.status.used) or {}
    for what, most in ((quota.status and quota.status.hard) or (quota.spec and quota.spec.hard) or {}).items():
        if what not in needs:
            continue
        needed = needs[what]
        if needed is None:
            yield f"quota {name} demands {what} of each pod, and pods of runs have none"
        elif _parse(used.get(what, "0")) + needed > _parse(most):
            yield f"quota {name} has {used.get(what, '0')} of {most} {what} in use, and {_show(needed)} are needed"


def _is_of_other_pods(spec: ResourceQuotaSpec | None) -> bool:
    """Whether a quota counts no pods of ours, by its scopes. One of priorities may, and is left to Kubernetes."""
    scopes = {*((spec and spec.scopes) or ())}
    selector = spec and spec.scopeSelector
    scopes |= {each.scopeName for each in (selector and selector.matchExpressions) or ()}
    return bool(scopes & (_OTHER_SCOPES | {"PriorityClass", "CrossNamespacePodAffinity"}))


def _add(needs: dict[str, Decimal | None], name: str, amount: Decimal | None) -> None:
    before = needs.get(name, Decimal(0))
    needs[name] = None if before is None or amount is None else before + amount


def _parse(amount: Any) -> Decimal:
    return parse_quantity(str(amount)) or Decimal(0)


def _show(amount: Decimal) -> str:
    mebibytes = amount / 2**20
    return f"{mebibytes:.0f}Mi" if mebibytes >= 1 else f"{amount.normalize():f}"

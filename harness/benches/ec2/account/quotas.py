"""Find how many vCPUs the account may still start: quotas from Service Quotas, less the vCPUs of running instances."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.ec2.api.api import Api, exact_filter
from harness.model.cloud import Quota, TypeInfo
from harness.model.ec2 import family as family_of
from harness.model.ec2_enums import Market

_STANDARD = ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z")
_KINDS: Mapping[tuple[str, ...], tuple[str, str, str | None]] = {
    _STANDARD: ("Standard (A, C, D, H, I, M, R, T, Z)", "L-1216C47A", "L-34B43A08"),
    ("f",): ("F", "L-74FC7D96", "L-88CF9481"),
    ("g", "gr", "vt"): ("G and VT", "L-DB2E81BA", "L-3819A6DF"),
    ("p",): ("P", "L-417A185B", "L-7212CCBC"),
    ("x",): ("X", "L-7295265B", "L-E3A00192"),
    ("inf",): ("Inf", "L-1945791B", "L-B5D1601B"),
    ("trn",): ("Trn", "L-2C3B7624", "L-6B0D517C"),
    ("dl",): ("DL", "L-6E869C2A", "L-85EED4F7"),
    ("hpc",): ("HPC", "L-F7808C92", None),
    ("u",): ("High Memory", "L-43DA4232", None),
}
"""Key: the letters at the start of a family's name. Value: the kind's name, its on-demand quota code and its spot quota
code (Amazon EC2 service quotas). Each quota counts the vCPUs of all instances of the kind together."""

_COUNTED = ["pending", "running"]


def quota_kind(family: str, market: Market) -> tuple[str, str] | None:
    """Return code and name of a family's quota; None for families that no vCPU quota limits (Macs)."""
    letters = re.match(r"[a-z]+", family)
    for families, (name, on_demand, spot) in _KINDS.items():
        if letters and letters[0] in families:
            code = spot if market is Market.SPOT else on_demand
            title = (
                f"All {name} Spot Instance Requests" if market is Market.SPOT else f"Running On-Demand {name} instances"
            )
            return (code, title) if code else None
    return None


def load(
    api: Api, requested: Iterable[TypeInfo], types: Mapping[str, TypeInfo], *, market: Market
) -> tuple[Quota, ...]:
    """Read the quotas that the types in `requested` count against.

    `types` are the Region's types, which give the vCPUs of running instances. A missing permission never raises: a
    value that could not be read is unknown, with the reason.
    """
    families: dict[tuple[str, str], set[str]] = {}
    for info in requested:
        if (quota := quota_kind(info.family, market)) is not None:
            families.setdefault(quota, set()).add(info.family)
    if not families:
        return ()
    used, why_used = _count_used_vcpus(api, types, market)
    quotas = []
    for (code, name), quota_families in families.items():
        limit, why_limit = quota_limit(api, code)
        quotas.append(
            Quota(
                code=code,
                name=name,
                families=frozenset(quota_families),
                limit_vcpus=limit,
                used_vcpus=None if used is None else used.get(code, 0),
                why_unknown="; ".join(reason for reason in (why_limit, why_used) if reason),
            )
        )
    return tuple(quotas)


def quota_limit(api: Api, code: str) -> tuple[int | None, str]:
    """Read the account's own limit, else AWS's default: an account that never requested more may have no own limit."""
    reason = ""
    for operation in ("get_service_quota", "get_aws_default_service_quota"):
        try:
            answer = api.call("service-quotas", operation, task="asking for quotas", ServiceCode="ec2", QuotaCode=code)
            return int(answer["Quota"]["Value"]), ""
        except BenchError as error:
            reason = reason or error.message.splitlines()[0][:200]
            if "NoSuchResource" not in error.message:
                break
    return None, reason


def _count_used_vcpus(api: Api, types: Mapping[str, TypeInfo], market: Market) -> tuple[dict[str, int] | None, str]:
    """Count running vCPUs by quota code. Instances on dedicated hosts count against other quotas and are left out."""
    used: dict[str, int] = {}
    states = [exact_filter("instance-state-name", *_COUNTED)]
    try:
        for reservation in api.pages(
            "ec2", "describe_instances", "Reservations", task="counting what runs", Filters=states, MaxResults=1000
        ):
            for instance in reservation["Instances"]:
                instance_market = Market.SPOT if instance.get("InstanceLifecycle") == "spot" else Market.ON_DEMAND
                quota = quota_kind(family_of(instance["InstanceType"]), market)
                if quota and instance_market is market and instance.get("Placement", {}).get("Tenancy") != "host":
                    used[quota[0]] = used.get(quota[0], 0) + _count_vcpus(instance, types)
    except BenchError as error:
        return None, error.message.splitlines()[0][:200]
    return used, ""


def _count_vcpus(instance: Mapping[str, Any], types: Mapping[str, TypeInfo]) -> int:
    """Return the vCPUs of the instance's type; by its own CPU options if the Region no longer offers the type."""
    if instance["InstanceType"] in types:
        return types[instance["InstanceType"]].vcpus
    cpu = instance.get("CpuOptions", {})
    return int(cpu.get("CoreCount", 1)) * int(cpu.get("ThreadsPerCore", 1))

"""How many vCPUs may the account still start? The quota of each kind by Service Quotas, less what runs."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.benches.bench import BenchError
from harness.benches.ec2.api.api import Api, exact_filter
from harness.model.cloud import Quota, TypeInfo

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
"""By the letters that a family begins with: the kind's name, and the codes of its quotas on demand and of spot (Amazon
EC2 service quotas). All count vCPUs, of all instances of the kind together."""

_COUNTED = ["pending", "running"]
_SPOT = "spot"


def quota_kind(family: str, market: str) -> tuple[str, str] | None:
    """Code and name of the quota that a family counts against; None where vCPUs are not what is limited (Macs)."""
    letters = re.match(r"[a-z]+", family)
    for families, (name, on_demand, spot) in _KINDS.items():
        if letters and letters[0] in families:
            code = spot if market == _SPOT else on_demand
            words = f"All {name} Spot Instance Requests" if market == _SPOT else f"Running On-Demand {name} instances"
            return (code, words) if code else None
    return None


def load(api: Api, wanted: Iterable[TypeInfo], known: Mapping[str, TypeInfo], *, market: str) -> tuple[Quota, ...]:
    """The quotas that the wanted types count against; `known` are the Region's types, whose vCPUs are counted.

    Never raises for want of permission: what could not be asked is unknown, with the reason.
    """
    families: dict[tuple[str, str], set[str]] = {}
    for one in wanted:
        if (found := quota_kind(one.family, market)) is not None:
            families.setdefault(found, set()).add(one.family)
    if not families:
        return ()
    used, why_used = _used(api, known, market)
    quotas = []
    for (code, name), its in families.items():
        limit, why_limit = quota_limit(api, code)
        quotas.append(
            Quota(
                code=code,
                name=name,
                families=frozenset(its),
                limit_vcpus=limit,
                used_vcpus=None if used is None else used.get(code, 0),
                why_unknown="; ".join(why for why in (why_limit, why_used) if why),
            )
        )
    return tuple(quotas)


def quota_limit(api: Api, code: str) -> tuple[int | None, str]:
    """The account's own value, else AWS's default; an account that never asked for more may have none of its own."""
    why = ""
    for operation in ("get_service_quota", "get_aws_default_service_quota"):
        try:
            said = api.call("service-quotas", operation, what="asking for quotas", ServiceCode="ec2", QuotaCode=code)
            return int(said["Quota"]["Value"]), ""
        except BenchError as error:
            why = why or error.message.splitlines()[0][:200]
            if "NoSuchResource" not in error.message:
                break
    return None, why


def _used(api: Api, known: Mapping[str, TypeInfo], market: str) -> tuple[dict[str, int] | None, str]:
    """The vCPUs that run, by quota. Those on dedicated hosts count against other quotas."""
    used: dict[str, int] = {}
    states = [exact_filter("instance-state-name", *_COUNTED)]
    try:
        for reservation in api.pages(
            "ec2", "describe_instances", "Reservations", what="counting what runs", Filters=states, MaxResults=1000
        ):
            for instance in reservation["Instances"]:
                its_market = _SPOT if instance.get("InstanceLifecycle") == _SPOT else "on-demand"
                found = quota_kind(instance["InstanceType"].partition(".")[0], market)
                if found and its_market == market and instance.get("Placement", {}).get("Tenancy") != "host":
                    used[found[0]] = used.get(found[0], 0) + _vcpus(instance, known)
    except BenchError as error:
        return None, error.message.splitlines()[0][:200]
    return used, ""


def _vcpus(instance: Mapping[str, Any], known: Mapping[str, TypeInfo]) -> int:
    """Of its type; of one that the Region offers no more, as the instance itself has it."""
    if instance["InstanceType"] in known:
        return known[instance["InstanceType"]].vcpus
    cpu = instance.get("CpuOptions", {})
    return int(cpu.get("CoreCount", 1)) * int(cpu.get("ThreadsPerCore", 1))

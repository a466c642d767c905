"""Compare a report with the verdicts that the lab's truths demand; print the table of truths as Markdown."""

import json
from collections.abc import Mapping

from harness.benches.lab.truths.truth_model import Bends, DemandedVerdict, Fault, Image, Kernel, Mirror, Moment, Truth
from harness.benches.lab.truths.truths import TRUTHS

_KERNELS = {
    Kernel.STABLE: "Debian 13's own",
    Kernel.BACKPORTS: "Debian 13 backports",
    Kernel.GENERIC: "Debian 13 backports, for all machines",
}

_IMAGES = {
    Image.LAB: "",
    Image.WIDE: ", wide image",
    Image.DEBIAN_13: ", a cloud's image of Debian 13",
    Image.DEBIAN_12: ", a cloud's image of Debian 12",
}
_MIRRORS = {
    Mirror.SERVING: "cloud-init and a package mirror",
    Mirror.GONE: "cloud-init, and nobody listens where the package mirror was",
    Mirror.ERROR_PAGE: "cloud-init, and a package mirror that answers everything with a page about an error",
}


def as_markdown() -> str:
    """Make the table of docs/lab-truths.md."""
    rows = [
        f"| `{truth.name}` | {truth.summary} | {_kernel(truth)} | {_means(truth)} | {_demand(truth.demand)} | "
        f"{_describe_read_only_demand(truth)} |"
        for truth in TRUTHS.values()
    ]
    head = "| type | what it is like | kernel | how | demanded verdict | with `--read-only` |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows]) + "\n"


def table() -> list[tuple[str, str, str]]:
    """List each type, the verdict that its truth demands, and what it is like, below a heading."""
    rows = [(truth.name, f"{truth.demand.outcome} {truth.demand.reason}", truth.summary) for truth in TRUTHS.values()]
    return [("TYPE", "DEMANDED VERDICT", "WHAT IT IS LIKE"), *rows]


def _kernel(truth: Truth) -> str:
    return _KERNELS[truth.kernel] + _IMAGES[truth.image]


def _means(truth: Truth) -> str:
    """Describe the means by which a truth is produced."""
    parts = [f"device {_describe_bends(truth.bends)}"] if truth.bends else []
    parts += ["an Intel card (igb) before it"] if truth.igb else []
    parts += (
        [f"another card before it with {_describe_bends(truth.other_card)}"] if truth.other_card is not None else []
    )
    parts += ["the ENA card carries the connection"] if truth.connection_on_card else []
    parts += [_MIRRORS[truth.mirror]] if truth.image.by_cloud_init else []
    parts += ["a command before anybody enters"] if truth.before else []
    parts += [_describe_fault(fault) for fault in truth.faults]
    parts += [f"campaign `{key}: {value}`" for key, value in truth.campaign.items()]
    parts += ["campaign `driver: {archive: ...}`"] if truth.amazon_driver else []
    return "; ".join(parts) or "as it comes"


def _describe_bends(bends: Bends) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in bends.items())


def _describe_fault(fault: Fault) -> str:
    moment = "configuring" if fault.at is Moment.CONFIGURING else "measuring"
    actions = [f"device {_describe_bends(fault.device)}"] if fault.device else []
    actions += ["a command in the guest"] if fault.guest else []
    actions += [f"the end of its {fault.ends} process"] if fault.ends else []
    return f"{fault.after_s:g} s into {moment}: {', '.join(actions)}"


def _describe_read_only_demand(truth: Truth) -> str:
    demand = truth.demand_read_only
    return "-" if demand is None else "the same" if demand == truth.demand else _demand(demand)


def _demand(demand: DemandedVerdict) -> str:
    return f"{demand.outcome} `{demand.reason}`"


def differences(report: str, *, read_only: bool = False) -> list[str]:
    """List the differences between a run's JSON report and the demanded verdicts, one sentence per host."""
    hosts = json.loads(report)["hosts"]
    messages = [message for host in hosts if (message := _difference(host, read_only=read_only))]
    return messages or ([] if hosts else ["the report has no hosts"])


def _difference(host: Mapping[str, str], *, read_only: bool) -> str | None:
    truth = TRUTHS[host["instance_type"]]
    demand = truth.demand_read_only if read_only else truth.demand
    if demand is None:
        return None
    reported = f"{host['outcome']} {host['reason']}"
    demanded = f"{demand.outcome} {demand.reason}"
    return None if reported == demanded else f"{host['name']}: {reported}, but its truth demands {demanded}"

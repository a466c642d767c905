"""What a campaign's bench needs of pods: which campaigns no pod can carry out, and what pods with lab guests get.

A guest runs in the pod itself, by software emulation and without any right: QEMU comes with the lab's parts, which a
volume brings. It ends with the pod.
"""

from typing import Any

from harness.benches.lab.truths.truths import TRUTHS
from harness.campaign.campaign import Campaign
from harness.campaign.choices import Keep
from harness.errors import RequestError
from harness.model.bench_traits import BenchName, traits_of
from harness.system.settings import LAB_CACHE

LAB_FOLDER = "/var/lib/ptp-harness-lab"
"""Where the volume of the lab's parts is mounted."""

_POD_REQUEST_MIB, _POD_LIMIT_MIB = 128, 512
_GUEST_CPU, _GUEST_REQUEST_MIB, _GUEST_LIMIT_MIB, _GUEST_DISK_MIB = 1, 640, 1024, 512
"""Of the command in a pod, and of each guest beside it: docs/cluster.md has the figures that were measured."""

_BUILD_NEXT = "docs/cluster.md says how the claim is filled"


def require_bench(campaign: Campaign, *, claim: str | None, lab_in_image: bool) -> None:
    """Raise RequestError for a campaign whose hosts no pod can have.

    `claim`: that with the lab's parts; `lab_in_image`: whether an image of the user's own may have them.
    """
    if not traits_of(campaign.bench).makes_hosts:
        raise RequestError(
            f"no pod can reach hosts of the bench {campaign.bench}: their inventory and keys are here",
            next_step="`ptp-harness run` carries this campaign out from here",
        )
    if campaign.bench == BenchName.LAB:
        _require_lab(campaign, claim=claim, lab_in_image=lab_in_image)


def _require_lab(campaign: Campaign, *, claim: str | None, lab_in_image: bool) -> None:
    if claim is None and not lab_in_image:
        raise RequestError(
            "pods have no lab: no claim of a volume with its parts is named",
            next_step=f"--lab-cache CLAIM; {_BUILD_NEXT}",
        )
    if campaign.keep is not Keep.NONE:
        raise RequestError(
            "no lab host can be kept in a pod: it ends with the pod", next_step="leave out `keep`, or run it here"
        )
    cloud = [name for name in campaign.instance_types if name in TRUTHS and TRUTHS[name].image.by_cloud_init]
    if cloud:
        raise RequestError(
            f"no pod can have the type {cloud[0]}: its cloud's server needs a network namespace of its own",
            next_step="leave out types of a cloud's image; `ptp-harness run` has them, on a machine of yours",
        )


def add_lab(pod: dict[str, Any], claim: str, *, guests: int) -> None:
    """Add to a pod's description what `guests` lab guests at once need: their parts, processors and memory.

    Processors have no limit: a guest that is stopped for a while has a clock that stood still.
    """
    pod["volumes"].append({"name": "lab", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    container = pod["containers"][0]
    container["volumeMounts"].append({"name": "lab", "mountPath": LAB_FOLDER, "readOnly": True})
    container["env"] += [
        {"name": LAB_CACHE, "value": LAB_FOLDER},
        {"name": "PTP_HARNESS_LAB_GUESTS", "value": str(guests)},
    ]
    container["resources"] = {
        "requests": {
            "cpu": str(_GUEST_CPU * guests),
            "memory": f"{_POD_REQUEST_MIB + _GUEST_REQUEST_MIB * guests}Mi",
            "ephemeral-storage": f"{_GUEST_DISK_MIB * guests}Mi",
        },
        "limits": {"memory": f"{_POD_LIMIT_MIB + _GUEST_LIMIT_MIB * guests}Mi"},
    }

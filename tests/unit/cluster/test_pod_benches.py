"""Campaigns that no pod can carry out are refused; pods with lab guests get their parts, processors and memory."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import __version__
from harness.benches.lab.truths.truths import TRUTHS
from harness.campaign import campaign
from harness.cluster.jobs import (
    POD_ACCOUNT,
    STATE_FOLDER,
    USER,
    PodOptions,
    make_coordinator,
    make_suite_job,
)
from harness.cluster.pod_benches import LAB_FOLDER, require_bench
from harness.cluster.probe_jobs import ProbeKind, make_probe_job
from harness.errors import RequestError

LAB = Path(__file__).parents[3] / "deploy" / "cluster" / "lab"
OPTIONS = PodOptions(image="registry.example/ptp-harness:0.1.0", lab_cache="ptp-lab")
GOOD = {"bench": "lab", "instance_types": ["lab.phc", "lab.drifting"]}


@pytest.mark.parametrize(
    ("changes", "claim", "in_image", "told"),
    [
        ({}, None, False, "pods have no lab: no claim"),
        ({"keep": "supported"}, "ptp-lab", False, "no lab host can be kept in a pod"),
        ({"instance_types": ["lab.phc", "lab.cloud-debian-13"]}, "ptp-lab", False, "the type lab.cloud-debian-13"),
        ({"bench": "hosts", "inventory": "x.yaml", "instance_types": ["a"]}, "ptp-lab", True, "the bench hosts"),
    ],
)
def test_what_no_pod_can_have_is_refused(
    changes: dict[str, object], claim: str | None, in_image: bool, told: str
) -> None:
    with pytest.raises(RequestError, match=told) as refused:
        require_bench(campaign.from_mapping({**GOOD, **changes}), claim=claim, lab_in_image=in_image)
    assert refused.value.next_step


def test_what_pods_can_have_is_not_refused() -> None:
    types = [name for name, truth in TRUTHS.items() if not truth.image.by_cloud_init]
    lab = campaign.from_mapping({**GOOD, "instance_types": types})
    require_bench(lab, claim="ptp-lab", lab_in_image=False)
    require_bench(lab, claim=None, lab_in_image=True)
    cloud = {"bench": "ec2", "region": "eu-north-1", "instance_types": ["m7i.large"]}
    require_bench(campaign.from_mapping(cloud), claim=None, lab_in_image=False)


def pod_of(job: Any) -> dict[str, Any]:
    pod: dict[str, Any] = job.to_dict()["spec"]["template"]["spec"]
    return pod


def test_pods_with_guests_have_the_claim_and_room_for_each_guest() -> None:
    coordinator = make_coordinator("k3f9mq", campaign.from_mapping(GOOD), OPTIONS, hosts_per_pod=2)
    assert coordinator.metadata is not None
    coordinator.metadata.uid = "0f3a"
    suite = pod_of(make_suite_job("k3f9mq", "shared", 0, OPTIONS, pods=1, hosts_per_pod=2, owner=coordinator))
    probe = pod_of(make_probe_job(ProbeKind.SUITE, "ptp-smoke-a", OPTIONS))
    for pod in (suite, probe):
        volume = {"name": "lab", "persistentVolumeClaim": {"claimName": "ptp-lab", "readOnly": True}}
        assert volume in pod["volumes"]
        assert {"name": "lab", "mountPath": LAB_FOLDER, "readOnly": True} in pod["containers"][0]["volumeMounts"]
        assert {"name": "PTP_HARNESS_LAB_CACHE", "value": LAB_FOLDER} in pod["containers"][0]["env"]
    memory = [
        [int(resources[key]["memory"].removesuffix("Mi")) for key in ("requests", "limits")]
        for resources in (pod["containers"][0]["resources"] for pod in (probe, suite))
    ]
    assert all(guests_2 > guests_1 for guests_1, guests_2 in zip(*memory, strict=True))
    assert suite["containers"][0]["resources"]["requests"]["cpu"] == "2"
    assert "cpu" not in suite["containers"][0]["resources"]["limits"]
    assert all("persistentVolumeClaim" not in volume for volume in pod_of(coordinator)["volumes"])


def test_the_job_that_boots_golden_guests_is_a_pod_like_ours() -> None:
    job = yaml.safe_load((LAB / "golden-guests.yaml").read_text())
    claim = yaml.safe_load((LAB / "claim.yaml").read_text())
    pod, ours = job["spec"]["template"]["spec"], pod_of(make_probe_job(ProbeKind.SUITE, "ptp-smoke-a", OPTIONS))
    (container,), (our_container,) = pod["containers"], ours["containers"]
    assert pod["securityContext"] == ours["securityContext"]
    assert container["securityContext"] == our_container["securityContext"]
    assert (pod["serviceAccountName"], pod["securityContext"]["runAsUser"]) == (POD_ACCOUNT, USER)
    assert container["image"] == f"registry.example/ptp-harness:{__version__}"
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "HOME": STATE_FOLDER,
        "PTP_HARNESS_LAB_CACHE": LAB_FOLDER,
    }
    assert {each["mountPath"] for each in container["volumeMounts"]} == {LAB_FOLDER, STATE_FOLDER, "/tmp"}
    (volume,) = [each for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert volume["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
    assert set(container["args"][2:]) <= set(TRUTHS)

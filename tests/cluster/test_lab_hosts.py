"""Lab hosts in pods: QEMU by software emulation, under Pod Security `restricted`, with the verdicts of the truths."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import Client
from lightkube.codecs import from_dict
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from harness.benches.lab.parts import disk_image, qemu
from harness.cluster.jobs import JOB_NAME_LABEL, RUN_LABEL, SUITE_LABEL, USER, find_end, name_of
from harness.cluster.pod_benches import LAB_FOLDER
from harness.system import settings
from tests.cluster.conftest import ROOT, SPACE, CampaignRun, Team, create, serve_team
from tests.servers import containerd, kubernetes, lab_image

pytestmark = [pytest.mark.cluster, pytest.mark.lab, pytest.mark.timeout(1500), pytest.mark.xdist_group("guests")]

LAB = ROOT / "deploy" / "cluster" / "lab"
CLAIM, EMPTY = "ptp-lab", "ptp-empty"
FLAGS = ("--pull", "Never", "--image", lab_image.NAME)
_GOLDEN_WITHIN_S, _RUN_WITHIN_S = 600.0, 900.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with the image of this version, whose lab is the real one."""
    programs, folder = kubernetes.require_programs(), tmp_path_factory.mktemp("lab-image")
    lab_image.write_archive(folder / "lab.tar")
    with containerd.image_store(programs, folder / "store", [folder / "lab.tar"]) as store:
        (folder / "lab.tar").unlink()
        yield store


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with QEMU and the guest image of this machine, and without golden guests, for the user of pods."""
    folder = tmp_path_factory.mktemp("parts")
    cache, assets = settings.load().cache_dir / "lab", settings.assets_dir()
    for part in (qemu.ensure_private(cache, print).folders[0], disk_image.ensure(cache, assets, print).folder):
        subprocess.run(["cp", "--recursive", "--sparse=always", str(part), str(folder)], check=True)
    subprocess.run(["chown", "--recursive", f"{USER}:{USER}", str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def empty_team(images: Path, parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A namespace with the claim of these parts, and one of an empty volume."""
    folder = tmp_path_factory.mktemp("lab-team")
    (folder / "empty").mkdir()
    with serve_team(images, folder) as team:
        claim = yaml.safe_load((LAB / "claim.yaml").read_text())
        make_claim(team.admin, claim, CLAIM, parts)
        make_claim(team.admin, claim, EMPTY, folder / "empty")
        yield team


@pytest.fixture(scope="module")
def team(empty_team: Team) -> Team:
    """That namespace, after the Job that boots golden guests in it."""
    job = yaml.safe_load((LAB / "golden-guests.yaml").read_text())
    job["spec"]["template"]["spec"]["containers"][0] |= {"image": lab_image.NAME, "imagePullPolicy": "Never"}
    create(empty_team.admin, job)
    name = job["metadata"]["name"]

    def read_job_end() -> str | None:
        return find_end(empty_team.admin.get(Job, name, namespace=SPACE))

    empty_team.cluster.wait_for(lambda: read_job_end() is not None, "golden guests are booted", _GOLDEN_WITHIN_S)
    (pod, *_) = empty_team.admin.list(Pod, namespace=SPACE, labels={JOB_NAME_LABEL: name})
    assert read_job_end() == "", "".join(empty_team.admin.log(name_of(pod), namespace=SPACE))
    empty_team.clean()
    return empty_team


def make_claim(client: Client, claim: dict[str, Any], name: str, folder: Path) -> None:
    """Make a claim and, since this cluster makes no volumes, its volume: a folder of this machine."""
    spec = claim["spec"] | {"storageClassName": "", "volumeName": name}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": spec["resources"]["requests"],
            "claimRef": {"namespace": SPACE, "name": name},
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }
    described: Any = from_dict(volume)
    client.create(described)
    create(client, {**claim, "metadata": {"name": name}, "spec": spec})


def submit(team: Team, *words: str) -> CampaignRun:
    argv = [sys.executable, "-m", "harness", "cluster", "run", *words, "--bench", "lab", *FLAGS]
    return CampaignRun(argv, team.environ())


def require_truth(team: Team, run: CampaignRun, code: int) -> None:
    """The run has ended with the verdict that the truth of each type demands, and everything is released."""
    assert run.end(_RUN_WITHIN_S) == code, "\n".join(run.lines)
    environ = team.environ() | {"PTP_HARNESS_LEDGER_URL": team.ledger_url}
    report = team.folder / f"{run.name}.json"
    argv = [sys.executable, "-m", "harness"]
    shown = subprocess.run([*argv, "report", run.name, "--json"], env=environ, capture_output=True, check=True)
    report.write_bytes(shown.stdout)
    held = subprocess.run([*argv, "lab", "truths", "--check", str(report)], capture_output=True, text=True, check=False)
    assert held.stdout == "every verdict is the one that the lab's truth demands\n", "\n".join(run.lines)
    assert {state for _, state in team.verdicts(run.name).values()} == {"released"}


def list_guests(team: Team, run: str) -> dict[str, int]:
    """The process of each guest that pods of a run have: QEMU that was given a golden guest."""
    guests = {}
    for pod in team.admin.list(Pod, namespace=SPACE, labels={RUN_LABEL: run, SUITE_LABEL: "shared"}):
        try:
            guests[name_of(pod)] = team.find_process(name_of(pod).rpartition("-")[0], "-incoming defer")
        except AssertionError:
            continue
    return guests


def read_users(process: int) -> set[str]:
    """The users as whom a process runs: real, effective, saved, and of files."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {user for line in lines if line.startswith("Uid:") for user in line.split()[1:]}


def test_parts_that_are_missing_are_told_with_the_command_that_builds_them(empty_team: Team) -> None:
    done = empty_team.call("smoke", *FLAGS, "--lab-cache", EMPTY)
    assert done.returncode == 2, done.stdout
    assert re.search(r"MISSING  in a pod: lab +parts for no type", done.stdout), done.stdout
    run = submit(empty_team, "lab.phc", "--lab-cache", EMPTY)
    assert run.end() == 3, "\n".join(run.lines)
    told = "\n".join(run.lines)
    assert f"{LAB_FOLDER} has no private copy of QEMU for this machine, and cannot be written here" in told
    assert "`ptp-harness lab build lab.phc` fills it" in told
    empty_team.clean()


def test_two_lab_hosts_at_once_have_the_verdicts_of_their_truths(
    team: Team, record_property: Callable[[str, object], None]
) -> None:
    done = team.call("smoke", *FLAGS, "--lab-cache", CLAIM)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ok       in a pod: lab +parts for \d+ types: .*lab\.phc", done.stdout), done.stdout
    begun = time.monotonic()
    run = submit(team, "lab.phc", "lab.drifting", "--lab-cache", CLAIM)
    run.read_until("suite shared: 2 pods")
    team.cluster.wait_for(lambda: len(list_guests(team, run.name)) == 2, "a guest runs in each of two pods", 180)
    for process in list_guests(team, run.name).values():
        assert read_users(process) == {str(USER)}
    require_truth(team, run, code=1)
    record_property("counted", f"two lab hosts at once in two pods: {time.monotonic() - begun:.0f} s")
    team.clean()


@pytest.mark.parametrize("how", ["killed", "evicted"])
def test_a_pod_that_ends_in_the_middle_leaves_no_guest_and_another_one_begins_anew(team: Team, how: str) -> None:
    run = submit(team, "lab.phc", "--lab-cache", CLAIM)
    run.read_until("suite shared: 1 pods")
    team.cluster.wait_for(lambda: list_guests(team, run.name), "a guest runs in its pod", 180)
    ((pod, guest),) = list_guests(team, run.name).items()
    time.sleep(10)  # it is configured by then
    if how == "killed":
        os.kill(team.find_process(pod.rpartition("-")[0], "cluster pod"), signal.SIGKILL)
    else:
        path = f"/api/v1/namespaces/{SPACE}/pods/{pod}/eviction"
        document = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": SPACE}}
        team.cluster.request(path, document=document)
    team.cluster.wait_for(lambda: not Path(f"/proc/{guest}").exists(), "its guest has ended", 60)
    require_truth(team, run, code=0)
    ledger = team.open_ledger()
    try:
        (line,) = ledger.hosts(run.name)
    finally:
        ledger.close()
    assert line.attempt == 2, "\n".join(run.lines)
    team.clean()


def test_types_that_no_pod_can_have_are_refused_before_anything_is_made(empty_team: Team) -> None:
    for words, told in {
        ("lab.cloud-debian-13", "--lab-cache", CLAIM): "no pod can have the type lab.cloud-debian-13",
        ("lab.phc",): "pods have no lab",
    }.items():
        environ = {"PTP_HARNESS_IMAGE": "", "PTP_HARNESS_REGISTRY": "registry.example"}
        done = empty_team.call("run", *words, "--bench", "lab", **environ)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert told in done.stderr
    assert list(empty_team.admin.list(Job, namespace=SPACE)) == []

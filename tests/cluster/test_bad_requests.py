"""Requests that a real cluster cannot take: one clear sentence, exit code 2, and no pod that goes on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from tests.cluster.conftest import SPACE, VISITOR, CampaignRun, Team
from tests.cluster.test_smoke import changed_secret
from tests.servers import kubernetes
from tests.servers.kubernetes_files import Identity, write_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("guests")]

PULL = ("--pull", "Never")


def require_refused(team: Team, done: "subprocess.CompletedProcess[str]", *tells: str) -> None:
    """It ends with 2 and these words, and made nothing."""
    assert done.returncode == 2, done.stderr
    assert [words for words in tells if words not in done.stderr] == [], done.stderr
    assert "Traceback" not in done.stderr
    assert list(team.admin.list(Job, namespace="*")) == []


def run(team: Team, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return team.call("run", str(team.write_campaign()), *PULL, *words, **more)


def test_whoever_has_no_rights(team: Team) -> None:
    done = run(team, user=VISITOR)
    require_refused(team, done, f"context tests, namespace {SPACE}", 'User "visitor" cannot create resource "jobs"')


def test_the_namespace_of_somebody_else(team: Team) -> None:
    done = run(team, "--namespace", "kube-system")
    require_refused(team, done, "namespace kube-system", 'cannot create resource "jobs"', "`ptp-harness cluster smoke`")


def test_a_namespace_that_is_not_there(team: Team) -> None:
    done = run(team, "--namespace", "nowhere", user=kubernetes.ADMIN)
    require_refused(team, done, 'namespaces "nowhere" not found', "kubectl get namespace nowhere")


def test_credentials_that_have_expired(team: Team, tmp_path: Path) -> None:
    identity = Identity("ada", [], "expired")
    file = write_kubeconfig(tmp_path / "config", team.cluster.url, team.cluster.authority.certificate, identity)
    done = run(team, KUBECONFIG=str(file))
    require_refused(team, done, "does not know these credentials, or they have expired", "renew the credentials")


def require_ended(team: Team, name: str) -> None:
    """The coordinator's Job alone is there, which tells why; its pods have ended, and `cluster clean` removes it."""
    (job,) = team.admin.list(Job, namespace=SPACE)
    assert job.metadata is not None
    assert job.metadata.name == f"ptp-{name}"
    phases = {pod.status.phase for pod in team.admin.list(Pod, namespace=SPACE) if pod.status}
    assert phases <= {"Failed", "Succeeded"}
    assert team.call("clean", name).stdout == f"{name}\n"
    team.cluster.wait_for(lambda: not list(team.admin.list(Pod, namespace=SPACE)), "its pods are removed")


def test_an_image_of_another_version(team: Team) -> None:
    program = "import harness\nharness.__version__ = '9.9.9'\nfrom harness.cli import app\napp.main()"
    argv = [sys.executable, "-c", program, "cluster", "run", str(team.write_campaign()), *PULL]
    submitted = CampaignRun(argv, team.environ())
    assert submitted.end() == 2, "\n".join(submitted.lines)
    assert any("version '9.9.9' submitted this" in line for line in submitted.lines), "\n".join(submitted.lines)
    assert any("next: the image of the same version" in line for line in submitted.lines)
    require_ended(team, submitted.name)


def test_a_ledger_that_pods_do_not_reach(team: Team) -> None:
    with changed_secret(team, {"ledger-url": "postgresql://ptp@127.0.0.1:1/ptp", "evidence-url": "s3://evidence/team"}):
        submitted = team.submit()
        line = submitted.read_until("the ledger|127.0.0.1", within_s=60)
        assert "127.0.0.1" in line, "told at once, by the first pod"
        assert submitted.end(within_s=280) == 2, "\n".join(submitted.lines)
    assert any(f"run {submitted.name} has no result: BackoffLimitExceeded" in line for line in submitted.lines)
    require_ended(team, submitted.name)


def test_a_secret_that_is_not_there_is_told(team: Team) -> None:
    """Pods wait for it: the run begins when it is made."""
    with changed_secret(team, None):
        submitted = team.submit()
        assert 'secret "ptp-harness" not found' in submitted.read_until("not found", within_s=60)
        submitted.process.send_signal(signal.SIGINT)
        assert submitted.end() == 130
    assert team.call("cancel", submitted.name).returncode == 0

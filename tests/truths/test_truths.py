"""The command with real guests: every type of the lab gets the verdict that its truth demands."""

import hashlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.benches.lab.truths.truth_model import Truth
from harness.benches.lab.truths.truths import TRUTHS, USUAL
from harness.model import Reason

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600), pytest.mark.xdist_group("quiet")]

ROOT = Path(__file__).parents[2]
ARCHIVE = "PTP_HARNESS_ENA_ARCHIVE"

TOO_NOISY = (Reason.BOUND_REFUTED, Reason.READINGS_NOT_TAKEN, Reason.TOO_FEW_SAMPLES, Reason.NOT_OBSERVED)
"""What the ladder says of a good clock where other programs hold the guests up; the remedy is to measure again."""


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What a run reported, and where its evidence is."""

    report: dict[str, Any]
    runs: Path

    def host(self, name: str) -> dict[str, Any]:
        return next(host for host in self.report["hosts"] if host["name"] == name)

    def story(self, name: str) -> str:
        """What is needed to see why a verdict came out as it did: chronyd's states and figures, second by second."""
        host = self.host(name)
        lines = [f"{host['outcome']} {host['reason']}: {host['sentence']}"]
        for sample in self.runs.glob(f"*/{name}/samples.jsonl"):
            for line in sample.read_text().splitlines():
                said = json.loads(line).get("chronyc", {}).get("out", "").splitlines()
                tracking = next((words for words in said if words.count(",") == 13), "no tracking")
                sources = [words for words in said if words[:2] in ("#,", "^,")]
                lines.append(" | ".join([tracking, *sources]))
        return "\n".join(lines)


Campaigns = Callable[[Truth], Campaign]


@pytest.fixture(scope="module")
def campaign_of(tmp_path_factory: pytest.TempPathFactory) -> Campaigns:
    """One campaign, two hosts at a time, over all types that can share it; run when the first of them is asked for."""
    done: dict[str, Campaign] = {}

    def find(truth: Truth) -> Campaign:
        group = shared_by(truth)
        if group not in done:
            done[group] = run(truth, tmp_path_factory.mktemp("truths"))
        return done[group]

    return find


def shared_by(truth: Truth) -> str:
    """Types of which this is the same are looked at in one campaign."""
    return json.dumps([truth.name in USUAL, dict(truth.campaign), truth.amazon_driver])


def run(truth: Truth, folder: Path) -> Campaign:
    return measure(truth, [other.name for other in TRUTHS.values() if shared_by(other) == shared_by(truth)], folder)


def measure(truth: Truth, names: Sequence[str], folder: Path) -> Campaign:
    file = folder / "campaign.yaml"
    driver = {"driver": amazon_driver()} if truth.amazon_driver else {}
    file.write_text(json.dumps({"bench": "lab", "instance_types": names, "parallel": 2, **truth.campaign, **driver}))
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(folder)}
    command = [sys.executable, "-m", "harness", "run", str(file), "--json"]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=3500)
    assert done.returncode in (0, 1, 3), done.stderr
    return Campaign(report=json.loads(done.stdout), runs=folder / "runs")


def amazon_driver() -> dict[str, str]:
    """The archive of Amazon's driver that whoever runs the tests has given."""
    path = Path(os.environ[ARCHIVE])
    return {"archive": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def parameters() -> list[Any]:
    return [pytest.param(truth, id=name, marks=marks(truth)) for name, truth in TRUTHS.items()]


def marks(truth: Truth) -> list[Any]:
    if truth.amazon_driver:
        reason = f"{ARCHIVE} names no release archive of Amazon's ENA driver"
        return [pytest.mark.real_driver, pytest.mark.skipif(ARCHIVE not in os.environ, reason=reason)]
    return [] if truth.name in USUAL else [pytest.mark.truth]


@pytest.mark.parametrize("truth", parameters())
def test_the_verdict_is_the_one_that_the_truth_demands(campaign_of: Campaigns, truth: Truth, tmp_path: Path) -> None:
    campaign = campaign_of(truth)
    host = campaign.host(truth.name)
    demanded = (truth.demand.outcome, truth.demand.reason)
    if host["reason"] in TOO_NOISY and host["reason"] != truth.demand.reason:
        warnings.warn(f"measured again, alone: {truth.name} was {host['reason']}: {host['sentence']}", stacklevel=1)
        campaign = measure(truth, [truth.name], tmp_path)
        host = campaign.host(truth.name)
    assert (host["outcome"], host["reason"]) == demanded, campaign.story(truth.name)
    assert host["state"] == "released"
    assert host["sentence"]


@pytest.mark.parametrize("truth", parameters())
def test_judged_again_by_its_evidence_a_host_has_the_same_verdict_and_figures(
    campaign_of: Campaigns, truth: Truth
) -> None:
    campaign = campaign_of(truth)
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(campaign.runs.parent)}
    command = [sys.executable, "-m", "harness", "judge", campaign.report["run"], truth.name, "--json"]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1, 3), done.stderr
    (again,) = json.loads(done.stdout)["hosts"]
    assert again == campaign.host(truth.name)


def test_the_report_is_in_order_and_nothing_is_left(campaign_of: Campaigns) -> None:
    report = campaign_of(TRUTHS[USUAL[0]]).report
    assert [host["name"] for host in report["hosts"]] == list(USUAL)
    assert (report["schema"], report["bench"], report["leftovers"]) == (1, "lab", [])

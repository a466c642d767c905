"""The command with real guests: every type of the lab gets the verdict that its truth demands."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.benches.lab.truths import TRUTHS, Truth

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500), pytest.mark.xdist_group("quiet")]

ROOT = Path(__file__).parents[2]


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


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """One campaign over every type of the lab, two hosts at a time."""
    state = tmp_path_factory.mktemp("truths")
    command = [sys.executable, "-m", "harness", "run", *TRUTHS, "--parallel", "2", "--json"]
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(state)}
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=1400)
    assert done.returncode == 1, done.stderr
    return Campaign(report=json.loads(done.stdout), runs=state / "runs")


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
def test_the_verdict_is_the_one_that_the_truth_demands(campaign: Campaign, truth: Truth) -> None:
    host = campaign.host(truth.name)
    demanded = (truth.demand.outcome, truth.demand.reason)
    assert (host["outcome"], host["reason"]) == demanded, campaign.story(truth.name)
    assert host["state"] == "released"
    assert host["sentence"]


def test_the_report_is_in_order_and_nothing_is_left(campaign: Campaign) -> None:
    assert [host["name"] for host in campaign.report["hosts"]] == list(TRUTHS)
    assert (campaign.report["schema"], campaign.report["bench"], campaign.report["leftovers"]) == (1, "lab", [])

"""Requests of all kinds, made by schemathesis from the description of the API: no fault, no answer that is not in it.

What is left out, with reasons: that all that fits the schema is accepted, since campaigns, cron expressions, durations
and cursors are texts with grammars of their own; types of EC2 without credentials, which are answered with 503; and
/readyz, which answers 503 where a part did not answer within a second, as on a machine with much else to do.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.model import HostState
from harness.model.tasks import Scope
from harness.store.baselines import Baselines
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.servers.service import RunningService, running_service

ROOT = Path(__file__).parents[3]
EXAMPLES = os.environ.get("PTP_HARNESS_API_EXAMPLES", "8")
"""How many requests are made up for each operation, beside those that cover each parameter's schema."""

CONFIG = """
[checks]
positive_data_acceptance.enabled = false

[[operations]]
include-path = "/readyz"
checks.not_a_server_error.expected-statuses = [200, 400, 404, 405, 422, 503]

[[operations]]
include-path = "/v1/types"
checks.not_a_server_error.expected-statuses = [200, 400, 401, 404, 405, 422, 503]
"""
NAMES = {
    "body.campaign": ["instance_types: [lab.phc]\n", '{"instance_types": ["lab.no-phc"]}'],
    "body.cron": ["0 2 * * *", "*/5 * * * mon"],
    "body.zone": ["UTC", "Europe/Berlin"],
    "body.expires": ["90d", "8h"],
    "body.lease": ["8h"],
    "path.host": ["h0", "h1"],
    "path.path": ["h0/facts.json", "h0/samples.jsonl"],
    "query.since": ["7d", "2026-11-21"],
}
"""Values that have a grammar, or that are there, for most requests; the others are made up."""


def fill(service: RunningService) -> dict[str, list[str]]:
    """Tasks, runs with evidence, a kept host, a baseline, a schedule and a token; return the names of what is there."""
    tasks = [
        service.post("/v1/tasks", json={"campaign": f"instance_types: [{types}]\n"}).json()["task"]
        for types in ("lab.phc", "lab.phc, lab.no-phc")
    ]
    hosts = [MadeUpHost(offset_ns=50.0), MadeUpHost(offset_ns=70.0, state=HostState.KEPT)]
    runs = [add_run(service.ledger, hosts), add_run(service.ledger, hosts), add_run(service.ledger, ended=False)]
    Baselines(service.ledger.database).add("good", runs[:1])
    recorded = ROOT / "tests/data/earlier-run/runs/3a5r/lab.drifting"
    shutil.copytree(recorded, service.context.settings.runs_dir / runs[0] / "h0")
    schedule = {"name": "nightly", "cron": "0 2 * * *", "campaign": "instance_types: [lab.phc]\n"}
    service.post("/v1/schedules", Scope.OPERATE, json=schedule)
    service.post("/v1/tokens", Scope.ADMIN, json={"name": "somebody-else"})
    return {"path.run": runs, "path.task": tasks, "path.name": ["nightly", "good", "somebody-else"]}


def write_config(names: Mapping[str, list[str]]) -> str:
    """The configuration of schemathesis with these values; a string of JSON is one of TOML, too."""
    lines = ['hooks = "tests.programs.api_fuzz_hooks"']
    for number, (parameter, values) in enumerate(names.items()):
        lines += [f"[dictionaries.d{number}]", f"values = {json.dumps(values)}"]
        lines += [f"[parameters.{json.dumps(parameter)}]", f'dictionary = "d{number}"', "probability = 0.7"]
    return "\n".join(lines) + CONFIG


@pytest.mark.programs
@pytest.mark.slow
def test_no_request_finds_a_fault_or_an_answer_that_is_not_described(
    ledger_url: str, tmp_path: Path, record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with running_service(ledger_url, tmp_path / "state", most_waiting=10**6) as service:
        filled = fill(service)
        ended_run, *_, open_run = filled["path.run"]
        (tmp_path / "config.toml").write_text(write_config(NAMES | filled))
        argv = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "config.toml"), "run"]
        argv += [f"{service.url}/v1/openapi.json", "-H", f"Authorization: Bearer {service.tokens[Scope.ADMIN]}"]
        argv += [
            "--phases",
            "examples,coverage,fuzzing,stateful",
            "--max-examples",
            EXAMPLES,
            "--seed",
            "1",
            "--continue-on-failure",
            "--no-shrink",
            "--warnings",
            "off",
        ]
        environ = os.environ | {
            "PTP_HARNESS_OWN_TOKEN": service.names[Scope.ADMIN],
            "PTP_HARNESS_OPEN_RUN": open_run,
            "PTP_HARNESS_ENDED_RUN": ended_run,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'lab'}",
            "NO_COLOR": "1",
        }
        done = subprocess.run(
            argv, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=800
        )
        assert done.returncode == 0, done.stdout[-20_000:]
        lines = [line.strip() for line in done.stdout.splitlines()]
        counted = [line for line in lines if " generated" in line or line.startswith("API Links:")]
        assert service.get("/v1/tasks").status_code == 200, "the token is still there"
    record_property("counted", f"schemathesis: {'; '.join(counted)}")

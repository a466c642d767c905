"""A real Prometheus with our configuration reads a real service: every series of dashboard and alerts is there."""

import time
from pathlib import Path

import pytest

from harness.model import HostState, Outcome, Stage
from harness.model.tasks import Scope, TaskState
from harness.store.ledger import Ledger
from harness.store.tables import HOSTS
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from tests.doubles.records import make_host, make_verdict
from tests.servers import prometheus
from tests.servers.service import RunningService, running_service
from tests.unit.test_deploy import expressions

pytestmark = [pytest.mark.programs, pytest.mark.timeout(600)]

_WITHIN_S = 90.0
ALARMS = ('"5.."', "retaken_hosts[1h]", 'outcome="FAIL"', "troubled > 0", "oldest_waiting_seconds > ", "unless", "== 0")
"""Expressions that have a value when something is wrong."""


def carry_out_one(service: RunningService) -> None:
    """A task with a run of one host that passed, as a process would carry it out."""
    service.post("/v1/tasks", json={"campaign": "instance_types: [lab.phc]\n"})
    ledger, queue = Ledger(service.ledger.database.url.render_as_string(hide_password=False)), TaskQueue(service.ledger)
    try:
        task = queue.claim(QueueLimits(tasks=100, per_bench={}))
        assert task is not None
        run = service.ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"}, task=task.task)
        line = service.ledger.claim(run)
        assert line is not None
        for stage, result in ((Stage.PROVISION, "done"), (Stage.MEASURE, "SetupError: no")):
            service.ledger.end_step(service.ledger.begin_step(line.token, stage), result)
        record = make_host(verdict=make_verdict(outcome=Outcome.PASS), state=HostState.RELEASED)
        service.ledger.record_state(line.token, record)
        figures = HOSTS.update().where(HOSTS.c.run == run).values(offset_p99_ns=81.0, bound_p99_ns=950.0)
        ledger.database.write(lambda db: db.execute(figures))
        queue.finish(task, TaskState.ENDED, exit_code=0, outcome=Outcome.PASS)
    finally:
        ledger.close()


def test_every_expression_has_a_value_in_a_prometheus_that_reads_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = prometheus.find_programs()
    if programs is None:
        pytest.skip("needs Prometheus, which is not installed")
    monkeypatch.setattr("harness.service.metrics.FIGURES_FRESH_S", 0.0)
    with running_service(f"sqlite:///{tmp_path}/ledger.sqlite", tmp_path / "state") as service:
        carry_out_one(service)
        service.post("/v1/tasks", json={"campaign": "instance_types: [lab.phc]\n"})
        folder = tmp_path / "prometheus"
        folder.mkdir()
        target = service.url.removeprefix("http://")
        with prometheus.serve(programs, folder, target=target, token=service.tokens[Scope.READ]) as server:
            usual = [each for each in expressions() if not any(part in each for part in ALARMS)]
            assert len(usual) > 25
            give_up_at = time.monotonic() + _WITHIN_S
            while empty := [each for each in usual if not server.query(each)]:
                assert time.monotonic() < give_up_at, empty
                time.sleep(1)
            (offset,) = server.query("ptp_harness_service_clock_offset_p99_seconds")
            assert (offset["metric"]["instance_type"], float(offset["value"][1])) == ("lab.phc", 81e-9)
            (up,) = server.query('up{job="ptp-harness"}')
            assert up["value"][1] == "1"
            rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
            assert {(rule["health"], rule.get("state", "inactive")) for rule in rules} == {("ok", "inactive")}, rules


def test_a_prometheus_without_a_valid_token_reads_nothing_and_says_why(tmp_path: Path) -> None:
    programs = prometheus.find_programs()
    if programs is None:
        pytest.skip("needs Prometheus, which is not installed")
    with running_service(f"sqlite:///{tmp_path}/ledger.sqlite", tmp_path / "state") as service:
        folder = tmp_path / "prometheus"
        folder.mkdir()
        target = service.url.removeprefix("http://")
        with prometheus.serve(programs, folder, target=target, token="ptph_unknown") as server:
            give_up_at = time.monotonic() + _WITHIN_S
            errors: list[str] = []
            while not any("401" in error for error in errors):  # on a busy machine the first answers come too late
                assert time.monotonic() < give_up_at, errors
                time.sleep(0.5)
                errors = [each["lastError"] for each in server.get("targets")["activeTargets"]]

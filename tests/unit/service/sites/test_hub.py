"""A hub gives campaigns to a site, follows them, and brings what the site found into its own ledger."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.client.client import Client
from harness.model import HostState, Outcome
from harness.model.sites import Freshness
from harness.model.tasks import Scope, TaskState
from harness.store.tables import TASKS
from harness.store.task_lines import QueueLimits, TaskLine, TaskQuery
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.servers.cutting_proxy import cutting_proxy
from tests.servers.service import RunningService
from tests.unit.service.sites.conftest import wait_for, write_registry

CAMPAIGN = "instance_types: [lab.phc]\n"
LIMITS = QueueLimits(tasks=100, per_bench={})

MakeHub = Callable[..., AbstractContextManager[RunningService]]


def submit(hub: RunningService, campaign: str = CAMPAIGN, **more: Any) -> str:
    answer = hub.post("/v1/tasks", json={"campaign": campaign, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["task"])


def look(hub: RunningService, task: str) -> dict[str, Any]:
    document: dict[str, Any] = hub.get(f"/v1/tasks/{task}").json()
    return document


def state_of(hub: RunningService, task: str) -> str:
    return str(look(hub, task)["state"])


def claim(site: RunningService) -> TaskLine:
    """Begin the next task of the site, as one of its processes does."""
    line: TaskLine = wait_for(lambda: site.context.queue.claim(LIMITS))
    return line


def end(site: RunningService, line: TaskLine, *, kept: bool = False) -> str:
    """End a task of the site with a run of two hosts."""
    hosts = {"a": MadeUpHost(offset_ns=80.0), "b": MadeUpHost(outcome=Outcome.INCONCLUSIVE)}
    if kept:
        hosts = {"a": MadeUpHost(state=HostState.KEPT), "b": MadeUpHost(state=HostState.KEPT)}
    run = add_run(site.ledger, hosts, task=line.task)
    site.context.queue.finish(line, TaskState.ENDED, exit_code=3, outcome=Outcome.INCONCLUSIVE)
    return run


def list_of_site(site: RunningService) -> list[TaskLine]:
    return site.context.queue.list_lines(TaskQuery())


def test_a_campaign_goes_to_the_site_that_has_its_bench_and_its_run_comes_back(
    hub: RunningService, site: RunningService
) -> None:
    task = submit(hub, priority=7)
    assert look(hub, task)["site"] == "rack7"
    line = claim(site)
    assert (line.submitter, line.priority) == (site.names[Scope.OPERATE], 7)
    assert site.context.queue.document(line.task) == CAMPAIGN
    wait_for(lambda: state_of(hub, task) == "running")
    run = end(site, line)
    ended = wait_for(lambda: (now := look(hub, task))["state"] == "ended" and now)
    assert (ended["run"], ended["exit_code"], ended["outcome"], ended["problem"]) == (run, 3, "INCONCLUSIVE", None)
    for form in ("text", "json", "junit"):
        paths = f"/v1/runs/{run}/report?form={form}"
        assert hub.get(paths).content == site.get(paths).content
    item = hub.get(f"/v1/runs/{run}").json()
    assert (item["task"], item["submitter"]) == (task, hub.names[Scope.SUBMIT])
    assert hub.get(f"/v1/runs/{run}/events?form=json").json() == site.get(f"/v1/runs/{run}/events?form=json").json()
    assert len(list_of_site(site)) == 1


def test_a_run_that_goes_on_at_a_site_is_looked_at_through_the_hub(hub: RunningService, site: RunningService) -> None:
    task = submit(hub)
    line = claim(site)
    run = add_run(site.ledger, {"a": MadeUpHost(), "b": MadeUpHost(outcome=None)}, task=line.task, ended=False)
    wait_for(lambda: look(hub, task)["run"] == run)
    for path in (
        f"/v1/runs/{run}",
        f"/v1/runs/{run}/hosts/a",
        f"/v1/runs/{run}/events?form=json",
        f"/v1/runs/{run}/log",
    ):
        theirs, ours = site.get(path), hub.get(path)
        assert (ours.status_code, ours.content) == (200, theirs.content)
        assert ours.headers["content-type"] == theirs.headers["content-type"]
        assert "sandbox" in ours.headers["content-security-policy"]
    with hub.client() as client, client.stream("GET", f"/v1/runs/{run}/events") as stream:
        assert "id: 1" in "".join(part for part, _ in zip(stream.iter_text(), range(2), strict=False))
    assert hub.get(f"/v1/runs/{run}/report").status_code == 409
    assert hub.get(f"/v1/runs/{run}", None).status_code == 401
    missing = hub.get("/v1/runs/zzzz")
    assert (missing.status_code, missing.json()["detail"][:18]) == (404, "there is no run 'z")


def test_a_site_that_is_away_keeps_its_campaigns_and_says_since_when(
    hub: RunningService, site: RunningService, registry_file: Path
) -> None:
    with cutting_proxy(site.url) as proxy:
        write_registry(registry_file, rack7=(proxy.url, ["lab"]))
        wait_for(lambda: hub.get("/v1/sites").json()["sites"][0]["url"] == proxy.url)
        wait_for(lambda: hub.get("/v1/sites").json()["sites"][0]["state"] == "reachable")
        proxy.away = True
        task = submit(hub)
        waiting = wait_for(lambda: (now := look(hub, task))["problem"] and now)
        assert waiting["state"] == "queued"
        assert waiting["problem"].startswith("site rack7 is away since 20")
        listed = hub.get("/v1/sites").json()["sites"][0]
        assert (listed["state"], listed["waiting"], listed["running"]) == ("away", 1, 0)
        assert listed["problem"]
        since = listed["since"]
        again = submit(hub)
        wait_for(lambda: look(hub, again)["problem"])
        assert hub.get("/v1/sites/rack7").json()["since"] == since
        proxy.away = False
        end(site, claim(site))
        end(site, claim(site))
        wait_for(lambda: {state_of(hub, task), state_of(hub, again)} == {"ended"})
        assert look(hub, task)["problem"] is None
        assert len(list_of_site(site)) == 2


def test_answers_that_are_lost_double_no_campaign(
    hub: RunningService, site: RunningService, registry_file: Path
) -> None:
    with cutting_proxy(site.url) as proxy:
        proxy.lose_answers = 10**6
        write_registry(registry_file, rack7=(proxy.url, ["lab"]))
        wait_for(lambda: hub.get("/v1/sites").json()["sites"][0]["url"] == proxy.url)
        tasks = [submit(hub) for _ in range(5)]
        for _ in range(40):  # two answers of three are lost
            proxy.lose_answers = 2
            if len(list_of_site(site)) == len(tasks) and all(line.remote_task for line in hub_lines(hub, tasks)):
                break
            wait_for(lambda: proxy.lose_answers == 0)
        proxy.lose_answers = 0
        for _ in tasks:
            end(site, claim(site))
        wait_for(lambda: {state_of(hub, task) for task in tasks} == {"ended"})
    assert len(list_of_site(site)) == len(tasks)
    runs = [look(hub, task)["run"] for task in tasks]
    assert len({*runs}) == len(tasks)


def hub_lines(hub: RunningService, tasks: list[str]) -> list[TaskLine]:
    return [hub.context.queue.find(task) for task in tasks]


def test_a_hub_that_ends_goes_on_where_it_was(
    make_hub_service: MakeHub, site: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.store.owners.LEASE_S", 1.0)
    monkeypatch.setattr("harness.store.owners.HEARTBEAT_S", 0.2)
    with make_hub_service() as hub:
        wait_for(lambda: hub.get("/v1/sites").json()["freshness"] == "fresh")
        first = submit(hub)
        line = claim(site)
        wait_for(lambda: state_of(hub, first) == "running")
    run = end(site, line)
    with make_hub_service() as hub:
        wait_for(lambda: state_of(hub, first) == "ended")
        assert look(hub, first)["run"] == run
    assert len(list_of_site(site)) == 1


def test_a_cancel_is_passed_on(hub: RunningService, site: RunningService) -> None:
    runs = submit(hub)
    line = claim(site)
    waits = submit(hub)
    wait_for(lambda: state_of(hub, runs) == "running")
    wait_for(lambda: len(list_of_site(site)) == 2)
    wait_for(lambda: hub.context.queue.find(waits).remote_task)
    for task in (waits, runs):
        assert hub.post(f"/v1/tasks/{task}/cancel").status_code == 200
    wait_for(lambda: state_of(hub, waits) == "cancelled")
    wait_for(lambda: site.context.queue.is_cancelled(line.task))
    add_run(site.ledger, task=line.task)
    site.context.queue.finish(line, TaskState.CANCELLED, exit_code=130)
    wait_for(lambda: state_of(hub, runs) == "cancelled")
    assert look(hub, runs)["exit_code"] == 130
    assert look(hub, waits)["cancelled_by"] == hub.names[Scope.SUBMIT]


def test_what_the_site_refuses_is_the_problem_of_the_task(hub: RunningService, site: RunningService) -> None:
    unknown = submit(hub, "instance_types: [lab.fhc]\n")
    failed = wait_for(lambda: (now := look(hub, unknown))["state"] == "failed" and now)
    assert "site rack7 refuses it: 1 mistake in campaign campaign.yaml" in failed["problem"]
    assert "no type 'lab.fhc'" in failed["problem"]
    assert failed["exit_code"] == 2
    assert list_of_site(site) == []


def test_a_run_that_could_not_begin_at_the_site_is_told(hub: RunningService, site: RunningService) -> None:
    task = submit(hub)
    site.context.queue.finish(claim(site), TaskState.FAILED, exit_code=2, problem="no QEMU here")
    failed = wait_for(lambda: (now := look(hub, task))["state"] == "failed" and now)
    assert (failed["problem"], failed["exit_code"], failed["run"]) == ("site rack7: no QEMU here", 2, None)


def test_a_site_that_refuses_the_hub_keeps_its_campaigns_until_the_token_is_right(
    make_hub_service: MakeHub, site: RunningService, token_file: Path
) -> None:
    right = token_file.read_text()
    token_file.write_text("ptph_wrong\n")
    with make_hub_service() as hub:
        wait_for(lambda: hub.get("/v1/sites").json()["freshness"] == "fresh")
        task = submit(hub)
        waiting = wait_for(lambda: (now := look(hub, task))["problem"] and now)
        assert waiting["state"] == "queued"
        assert "site rack7 carries out nothing since" in waiting["problem"]
        assert "the token is not known" in waiting["problem"]
        assert hub.get("/v1/sites/rack7").json()["state"] == "unfit"
        token_file.write_text(right)
        end(site, claim(site))
        wait_for(lambda: state_of(hub, task) == "ended")


def test_a_token_with_too_small_a_scope_keeps_the_campaign(
    make_hub_service: MakeHub, site: RunningService, token_file: Path
) -> None:
    token_file.write_text(site.tokens[Scope.READ])
    with make_hub_service() as hub:
        wait_for(lambda: hub.get("/v1/sites").json()["freshness"] == "fresh")
        task = submit(hub)
        waiting = wait_for(lambda: (now := look(hub, task))["problem"] and now)
        assert waiting["state"] == "queued"
        assert "has the scope read, and this needs submit" in waiting["problem"]
        assert list_of_site(site) == []


def test_a_task_that_its_site_forgot_has_failed(hub: RunningService, site: RunningService) -> None:
    task = submit(hub)
    wait_for(lambda: hub.context.queue.find(task).remote_task)
    site.ledger.database.write(lambda db: db.execute(TASKS.delete()))
    failed = wait_for(lambda: (now := look(hub, task))["state"] == "failed" and now)
    assert "any more: was its ledger replaced?" in failed["problem"]


def test_a_run_of_a_name_that_the_hub_has_stays_at_the_site(hub: RunningService, site: RunningService) -> None:
    task = submit(hub)
    line = claim(site)
    run = end(site, line)
    other = look(hub, wait_for(lambda: state_of(hub, task) == "ended" and task))
    assert other["run"] == run
    # the next run of the site gets, by chance, the name of a run that the hub has
    again = submit(hub)
    line = claim(site)
    taken = add_run(hub.ledger)
    time.sleep(0.05)
    with pytest.MonkeyPatch.context() as patch:  # the only way to let chance draw a name twice
        patch.setattr("harness.store.ledger.draw_name", lambda _characters: taken)
        end(site, line)
    ended = wait_for(lambda: (now := look(hub, again))["state"] == "ended" and now)
    assert (ended["run"], ended["exit_code"]) == (None, 3)
    assert f"its run {taken} is at site rack7 alone: this ledger has another run of the name" in ended["problem"]


@pytest.mark.parametrize(
    ("submission", "status", "said"),
    [
        ({"site": "rack8"}, 400, "there is no site 'rack8' in the registry"),
        ({"site": "rack7", "campaign": "bench: ec2\nregion: eu-north-1\ninstance_types: [m7i.large]"}, 422, "bench"),
        ({"campaign": "bench: ec2\nregion: eu-north-1\ninstance_types: [m7i.large]"}, 422, "is ec2, and this service"),
        ({"site": "../x"}, 422, "site"),
    ],
)
def test_a_site_that_is_none_is_a_clear_error(
    hub: RunningService, submission: dict[str, str], status: int, said: str
) -> None:
    answer = hub.post("/v1/tasks", json={"campaign": CAMPAIGN, **submission})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json()["detail"]


def test_a_site_without_the_bench_is_a_clear_error(
    hub: RunningService, site: RunningService, registry_file: Path
) -> None:
    write_registry(registry_file, rack7=(site.url, ["lab"]), aws=("http://127.0.0.1:9", ["ec2"]))
    wait_for(lambda: len(hub.get("/v1/sites").json()["sites"]) == 2)
    answer = hub.post("/v1/tasks", json={"campaign": CAMPAIGN, "site": "aws"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "site aws has no bench lab")


def test_without_a_list_that_counts_no_campaign_is_given_to_a_site(make_hub_service: MakeHub, tmp_path: Path) -> None:
    with make_hub_service(registry=str(tmp_path / "nowhere.json")) as hub:
        wait_for(lambda: hub.get("/v1/sites").json()["problem"])
        listed = hub.get("/v1/sites").json()
        assert (listed["freshness"], listed["age_s"], listed["sites"]) == ("unavailable", None, [])
        answer = hub.post("/v1/tasks", json={"campaign": CAMPAIGN, "site": "rack7"})
        assert answer.status_code == 422  # no bench is known
        assert "this service has none" in answer.json()["detail"]
        parts = {part["name"]: part for part in hub.get("/readyz", None).json()["parts"]}
        assert not parts["registry"]["ready"]
        assert "there is no list of sites that counts" in parts["registry"]["reason"]


def test_the_registry_is_read_on_demand(make_hub_service: MakeHub, registry_file: Path, site: RunningService) -> None:
    with make_hub_service(every_s=3600.0) as hub:
        wait_for(lambda: hub.get("/v1/sites").json()["freshness"] == "fresh")
        write_registry(registry_file, rack7=(site.url, ["lab"]), rack8=(site.url, ["lab"]))
        assert hub.post("/v1/registry/sync", Scope.SUBMIT).status_code == 403
        synced = hub.post("/v1/registry/sync", Scope.OPERATE).json()
        assert [each["name"] for each in synced["sites"]] == ["rack7", "rack8"]
        registry_file.write_text("<html>")
        broken = hub.post("/v1/registry/sync", Scope.OPERATE)
        assert broken.status_code == 200
        assert "answers with HTML" in broken.json()["problem"]
        assert (broken.json()["freshness"], len(broken.json()["sites"])) == ("stale", 2)
        actions = [line.entry.action for line in hub.context.audit.list_lines()]
        assert actions.count("site.sync") == 2
        metrics = hub.get("/metrics").text.splitlines()
        assert 'ptp_harness_service_registry_syncs_total{result="succeeded"} 2.0' in metrics
        assert 'ptp_harness_service_registry_syncs_total{result="failed"} 1.0' in metrics
        assert 'ptp_harness_service_registry_list{freshness="stale"} 1.0' in metrics
        wait_for(lambda: 'ptp_harness_service_site_up{site="rack7"} 1.0' in hub.get("/metrics").text.splitlines())


def test_a_site_that_is_in_the_registry_no_more_keeps_its_campaigns(
    hub: RunningService, site: RunningService, registry_file: Path
) -> None:
    task = submit(hub)
    line = claim(site)
    write_registry(registry_file)
    waiting = wait_for(lambda: (now := look(hub, task))["problem"] and now)
    assert "the registry has no site rack7" in waiting["problem"]
    end(site, line)
    write_registry(registry_file, rack7=(site.url, ["lab"]))
    wait_for(lambda: state_of(hub, task) == "ended")


def test_a_service_without_sites_says_so(site: RunningService) -> None:
    answer = site.get("/v1/sites")
    assert (answer.status_code, answer.json()["detail"]) == (404, "this service has no sites")
    answer = site.post("/v1/tasks", json={"campaign": CAMPAIGN, "site": "rack7"})
    assert answer.status_code == 400
    assert "this service carries out its campaigns itself" in answer.json()["detail"]


def test_a_schedule_and_a_repeated_request_name_the_site_that_was_asked_for(hub: RunningService) -> None:
    first, again = (
        hub.post("/v1/tasks", json={"campaign": CAMPAIGN}, headers={"Idempotency-Key": "nightly"}) for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["task"] == again.json()["task"]


def test_hosts_that_stayed_at_a_site_are_told_and_what_becomes_of_them(
    hub: RunningService, site: RunningService
) -> None:
    task = submit(hub)
    run = end(site, claim(site), kept=True)
    wait_for(lambda: state_of(hub, task) == "ended")
    assert [kept["host"] for kept in hub.get("/v1/hosts").json()["items"]] == ["a", "b"]
    (a, _b) = site.ledger.hosts(run)
    assert a.record is not None
    site.ledger.own_host(run, "a")
    site.ledger.record_state(a.token, replace(a.record, state=HostState.RELEASED))
    wait_for(lambda: [kept["host"] for kept in hub.get("/v1/hosts").json()["items"]] == ["b"])
    refused = hub.post(f"/v1/hosts/{run}/b/keep", Scope.OPERATE, json={"lease": "5s"})
    assert refused.status_code == 422
    gone = hub.post(f"/v1/hosts/{run}/a/release", Scope.OPERATE)
    assert (gone.status_code, gone.json()["detail"]) == (409, f"site rack7: a of run {run} is not kept")


@pytest.mark.parametrize(
    ("schemas", "said"),
    [({"report": 1}, "of the older version 0.0.1"), ({"site": 99}, "of the newer version 0.0.1")],
)
def test_a_site_of_another_version_is_refused_with_clear_words(
    hub: RunningService, registry_file: Path, registry: Any, schemas: dict[str, int], said: str
) -> None:
    registry.body = json.dumps({"version": "0.0.1", "api": "v1", "benches": ["lab"], "schemas": schemas}).encode()
    url = registry.url.removesuffix("/sites.json")
    write_registry(registry_file, rack7=(url, ["lab"]))
    wait_for(lambda: hub.get("/v1/sites/rack7").json()["url"] == url)
    task = submit(hub)
    waiting = wait_for(lambda: (now := look(hub, task))["problem"] and now)
    assert said in waiting["problem"]
    assert "upgrade ptp-harness at the" in waiting["problem"]
    assert hub.post(f"/v1/tasks/{task}/cancel").json()["state"] == "cancelled"


def test_the_command_lists_the_sites_of_a_hub(hub: RunningService, site: RunningService) -> None:
    with Client(hub.url, hub.tokens[Scope.OPERATE]) as client:
        (listed,) = client.sites().sites
        assert (listed.name, listed.url, listed.benches) == ("rack7", site.url, ("lab",))
        wait_for(lambda: client.sites().sites[0].state == "reachable")
        assert client.sync_sites().freshness is Freshness.FRESH
        assert client.version().benches == ("lab",)

"""Pages as a client without a browser gets them: who may see them, what is escaped, which forms are taken."""

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from harness.model import HostState, Outcome, Rung, RungName, RungStatus, Token
from harness.model.tasks import Scope, TaskState
from harness.service.context import ServiceContext
from tests.doubles.clock_story import GOOD, add_run, add_task, recorded_host
from tests.doubles.records import make_host, make_verdict
from tests.doubles.scripted_bench import ScriptedBench
from tests.servers.service import RunningService, running_service

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> \x1b[31m \u202eevil {{ 7 * 7 }} javascript:alert(3)"
)
HTML = {"Accept": "text/html"}


@pytest.fixture
def page_service(tmp_path: Path) -> Iterator[RunningService]:
    """A service on SQLite that asks for tokens."""
    with running_service(f"sqlite:///{tmp_path / 'ledger.sqlite'}", tmp_path / "state") as running:
        yield running


@pytest.fixture
def open_service(tmp_path: Path) -> Iterator[RunningService]:
    """A service on SQLite that asks for no token."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with running_service(url, tmp_path / "state", is_open=True) as running:
        yield running


def asking_for_pages(service: RunningService) -> httpx2.Client:
    """A client that asks for pages, as a browser does."""
    client = service.client(None)
    client.headers.update(HTML)
    return client


def form_token(page: httpx2.Response) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


@contextmanager
def logged_in(service: RunningService, scope: Scope) -> Iterator[httpx2.Client]:
    """A client that keeps cookies and has logged in with a token of this scope."""
    with service.client(None) as client:
        token = form_token(client.get("/login"))
        done = client.post("/login", data={"form_token": token, "token": service.tokens[scope], "next": "/runs"})
        assert (done.status_code, done.headers["location"]) == (303, "/runs")
        yield client


def post(client: httpx2.Client, path: str, page: str = "/queue", **fields: Any) -> httpx2.Response:
    """Send a form of a page."""
    return client.post(path, data={"form_token": form_token(client.get(page)), **fields})


# -- who may see pages


@pytest.mark.parametrize("path", ["/", "/runs", "/runs/k3f9", "/compare", "/kept", "/queue", "/sites", "/submit"])
def test_a_page_without_a_login_leads_to_it_and_back(page_service: RunningService, path: str) -> None:
    with asking_for_pages(page_service) as client:
        told = client.get(f"{path}?a=1")
        assert (told.status_code, told.headers["location"]) == (303, f"/login?next={path.replace('/', '%2F')}%3Fa%3D1")
        assert 'name="next" value="' + f'{path}?a=1"' in client.get(told.headers["location"]).text


def test_a_program_without_a_login_gets_a_problem(page_service: RunningService) -> None:
    with page_service.client(None) as client:
        told = client.get("/runs")
        assert (told.status_code, told.headers["content-type"]) == (401, "application/problem+json")


def test_a_login_sets_a_cookie_without_the_secret_that_scripts_cannot_read(page_service: RunningService) -> None:
    with page_service.client(None) as client:
        token = form_token(client.get("/login"))
        told = client.post("/login", data={"form_token": token, "token": f" {page_service.tokens[Scope.READ]} "})
        cookie = told.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Secure" not in cookie
        assert page_service.tokens[Scope.READ] not in cookie
        assert told.headers["location"] == "/"
        page = client.get("/runs", headers=HTML)
        assert page.status_code == 200
        assert page_service.names[Scope.READ] in page.text
        assert client.get("/v1/info").status_code == 200, "whoever is logged in may read"
        assert client.post("/v1/tasks", json={"campaign": "x"}).status_code == 401, (
            "but not change anything by a cookie"
        )
    page_service.context.trail.stop()  # what is refused is written a moment later
    audit = [line.entry.action for line in page_service.context.audit.list_lines()]
    assert audit == ["POST /v1/tasks", "session.begin"], "the newest first"


def test_cookies_of_a_service_with_https_are_sent_by_https_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with (
        running_service(url, tmp_path / "state", proxies=("127.0.0.1",)) as service,
        service.client(None, headers={"X-Forwarded-Proto": "https"}) as client,
    ):
        page = client.get("/login")
        visitor = page.headers["set-cookie"]
        assert re.match(r"__Host-ptp-visitor-\w+=\w+; HttpOnly; Max-Age=\d+; Path=/; SameSite=strict; Secure$", visitor)
        fields = {"form_token": form_token(page), "token": service.tokens[Scope.READ]}
        done = client.post("/login", data=fields, headers={"Cookie": visitor.partition(";")[0]})
        session = done.headers["set-cookie"]
        assert re.match(r"__Host-ptp-session-\w+=[^;]+; HttpOnly; Max-Age=\d+; Path=/; SameSite=lax; Secure$", session)
        cookies = {"Cookie": session.partition(";")[0]}
        assert client.get("/runs", headers=cookies).status_code == 200
        with service.client(None, headers=cookies) as plain:
            assert plain.get("/runs").status_code == 401, "a cookie of HTTPS is none of a request without"


def test_a_client_that_is_no_proxy_does_not_choose_how_cookies_are_sent(page_service: RunningService) -> None:
    with page_service.client(None, headers={"X-Forwarded-Proto": "https"}) as client:
        assert "Secure" not in client.get("/login").headers["set-cookie"]


@pytest.mark.parametrize("secret", ["", "ptph_wrong", HOSTILE, "\0", "x" * 100_000])
def test_a_wrong_token_is_refused_with_a_reason(page_service: RunningService, secret: str) -> None:
    with page_service.client(None) as client:
        told = client.post("/login", data={"form_token": form_token(client.get("/login")), "token": secret})
        assert told.status_code == 401
        assert "the token is not known" in told.text
        assert len(told.text) < 10_000
        assert "session" not in told.headers.get("set-cookie", "")


def test_a_session_ends_with_its_token_and_by_logging_out(page_service: RunningService) -> None:
    with logged_in(page_service, Scope.READ) as client, logged_in(page_service, Scope.SUBMIT) as other:
        kept = dict(client.cookies)
        assert post(client, "/logout", "/runs").headers["location"] == "/login"
        assert client.get("/runs").status_code == 401
        with page_service.client(None, cookies=kept) as again:
            assert again.get("/runs").status_code == 401, "a copy of the cookie is of no use"
        page_service.context.tokens.revoke(page_service.names[Scope.SUBMIT])
        for _ in range(400):
            if other.get("/runs").status_code == 401:
                break
        else:
            pytest.fail("a revoked token still serves its session")


@pytest.mark.parametrize(
    "target",
    ["//elsewhere.example", "https://elsewhere.example", "/\\elsewhere.example", "\\\\x", "/a\nb", "javascript:1", ""],
)
def test_a_login_leads_to_no_other_site(page_service: RunningService, target: str) -> None:
    with page_service.client(None) as client:
        fields = {
            "form_token": form_token(client.get("/login")),
            "token": page_service.tokens[Scope.READ],
            "next": target,
        }
        assert client.post("/login", data=fields).headers["location"] == "/"
        assert 'name="next" value="/"' in client.get("/login", params={"next": target}).text


# -- forms


def test_a_form_without_its_token_changes_nothing(page_service: RunningService) -> None:
    task = add_task(page_service.ledger)
    with logged_in(page_service, Scope.ADMIN) as client, logged_in(page_service, Scope.ADMIN) as other:
        for wrong in ({}, {"form_token": ""}, {"form_token": "x"}, {"form_token": form_token(other.get("/queue"))}):
            told = client.post(f"/tasks/{task}/cancel", data=wrong, headers=HTML)
            assert told.status_code == 403
            assert "the form is not of a page that you got from here" in told.text
        assert page_service.context.queue.find(task).state is TaskState.QUEUED


def test_a_form_of_another_site_changes_nothing(open_service: RunningService) -> None:
    task = add_task(open_service.ledger)
    with open_service.client(None) as client:
        token = form_token(client.get("/queue"))
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}, {"Origin": "null"}):
            told = client.post(f"/tasks/{task}/cancel", data={"form_token": token}, headers=headers)
            assert told.status_code == 403
        assert open_service.context.queue.find(task).state is TaskState.QUEUED
        assert client.post(f"/tasks/{task}/cancel", data={"form_token": token}).status_code == 303
        assert open_service.context.queue.find(task).state is TaskState.CANCELLED


def test_a_login_form_of_another_site_logs_nobody_in(page_service: RunningService) -> None:
    with page_service.client(None) as client, page_service.client(None) as stranger:
        token = form_token(stranger.get("/login"))
        told = client.post("/login", data={"form_token": token, "token": page_service.tokens[Scope.READ]})
        assert told.status_code == 403
        assert "session" not in told.headers.get("set-cookie", "")


@pytest.mark.parametrize("path", ["/runs?after=x", "/runs?sort=best", "/runs?since=sometime", "/runs?outcome=GOOD"])
def test_a_wrong_filter_is_told_beside_the_form(open_service: RunningService, path: str) -> None:
    with asking_for_pages(open_service) as client:
        told = client.get(path)
        assert told.status_code == 400
        assert 'role="alert"' in told.text
        assert 'id="filter-type"' in told.text


# -- what hosts and people wrote


def test_what_a_host_says_is_text_on_every_page(open_service: RunningService, tmp_path: Path) -> None:
    good = recorded_host(GOOD)
    assert good.facts is not None
    assert good.facts.drivers is not None
    verdict = make_verdict(
        outcome=Outcome.FAIL,
        sentence=HOSTILE,
        remedy=HOSTILE,
        rungs=(Rung(name=RungName.OFFERED, status=RungStatus.FAILED, evidence=HOSTILE),),
        contradictions=(HOSTILE,),
        unobserved=(HOSTILE,),
        remarks=(HOSTILE,),
    )
    drivers = (replace(good.facts.drivers[0], name=HOSTILE, version=HOSTILE),)
    facts = replace(good.facts, kernel=HOSTILE, os=HOSTILE, drivers=drivers, chrony_version=HOSTILE)
    host = replace(good, verdict=verdict, facts=facts, image=HOSTILE, zone=HOSTILE, region=HOSTILE)
    runs_dir = open_service.context.settings.runs_dir
    run = add_run(open_service.ledger, [host], bench="lab", runs_dir=runs_dir, like={host.name: GOOD})
    other = add_run(open_service.ledger, [replace(host, state=HostState.KEPT)], bench="lab", days_ago=1)
    (runs_dir / run / host.name / "configure.log").write_text(HOSTILE + "\n")
    quoted = quote(HOSTILE, safe="")
    pages = (
        "/", "/?bench=lab", "/runs", f"/runs/{run}", f"/runs/{run}/log", f"/runs/{run}/hosts/lab.phc", "/kept",
        f"/runs/{run}/hosts/lab.phc/files/configure.log", f"/compare?runs={run}+{other}", "/compare?types=lab.phc",
        "/queue", f"/runs?type={quoted}", f"/compare?runs={quoted}", f"/submit?task={quoted}", f"/runs/{quoted}",
        f"/?bench={quoted}&region={quoted}&after={quoted}", f"/login?next=/{quoted}", f"/{quoted}",
    )  # fmt: skip
    with asking_for_pages(open_service) as client:
        for path in pages:
            text = client.get(path).text
            assert "<h1" in text, path
            for wrong in ("<script>alert", "<img src=x", "onerror=alert(2)>", "\x1b", "\u202e"):
                assert wrong not in text, (path, wrong)
            assert 'href="javascript:' not in text
        told = client.get(f"/runs/{run}/hosts/lab.phc").text
        assert html.escape("<script>alert(1)</script>") in told
        assert "{{ 7 * 7 }}" in told
        raw = client.get(f"/runs/{run}/hosts/lab.phc/files/configure.log?raw=1")
        assert raw.headers["content-type"] == "application/octet-stream"
        assert raw.headers["content-disposition"].startswith("attachment")


def test_what_a_submitter_says_is_text(open_service: RunningService) -> None:
    task = add_task(open_service.ledger, f"# {HOSTILE.replace(chr(27), '')}\nbench: lab\ninstance_types: [lab.phc]\n")
    with asking_for_pages(open_service) as client:
        for path in ("/queue", f"/tasks/{task}", f"/submit?task={task}"):
            assert "<script>alert" not in client.get(path).text


@pytest.mark.parametrize(
    "path",
    [
        "/runs/none", "/runs/none/hosts/a", "/tasks/none", "/nothing", "/kept/none/a", "/submit?task=none",
        "/runs/none/log", "/runs/none/hosts/a/files/b",
    ],
)  # fmt: skip
def test_a_name_that_nothing_has_gets_a_page_with_a_next_step(open_service: RunningService, path: str) -> None:
    with open_service.client(None) as client:
        told = client.get(path, headers=HTML)
        assert (told.status_code, told.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "Not Found" in told.text
        problem = client.get(path)
        assert (problem.status_code, problem.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "name", ["../../../../etc/passwd", "..%2f..%2fledger.sqlite", "/etc/passwd", ".hidden", "a/../../b", "x" * 500]
)
def test_no_file_of_another_place_is_shown(open_service: RunningService, name: str) -> None:
    runs_dir = open_service.context.settings.runs_dir
    host = replace(recorded_host(GOOD), name="lab.phc", instance_type="lab.phc")
    run = add_run(open_service.ledger, [host], bench="lab", runs_dir=runs_dir, like={"lab.phc": GOOD})
    with open_service.client(None) as client:
        assert client.get(f"/runs/{run}/hosts/lab.phc/files/{name}").status_code == 404
        (runs_dir / run / "lab.phc" / "link").symlink_to("/etc/passwd")
        assert client.get(f"/runs/{run}/hosts/lab.phc/files/link").status_code == 404


# -- scopes


def test_buttons_are_shown_to_whom_they_serve_and_refused_to_others(page_service: RunningService) -> None:
    task = add_task(page_service.ledger)
    kept = make_host(state=HostState.KEPT)
    run = add_run(page_service.ledger, [kept], bench="lab")
    with logged_in(page_service, Scope.READ) as reader, logged_in(page_service, Scope.OPERATE) as operator:
        assert f"/tasks/{task}/cancel" not in reader.get("/queue").text
        assert f"/tasks/{task}/cancel" in operator.get("/queue").text
        assert "/release" not in reader.get("/kept").text
        assert f"/kept/{run}/lab.phc/release" in operator.get("/kept").text
        assert reader.get("/submit").status_code == 403
        token = form_token(reader.get("/runs"))
        for path in (f"/tasks/{task}/cancel", f"/kept/{run}/lab.phc/release", f"/kept/{run}/lab.phc/keep", "/submit",
                     "/schedules/a/remove"):  # fmt: skip
            told = reader.post(path, data={"form_token": token}, headers=HTML)
            assert (told.status_code, "has the scope read" in told.text) == (403, True), path
        assert post(operator, f"/tasks/{task}/cancel").headers["location"] == "/queue"


def test_a_submitter_cancels_own_tasks_alone(page_service: RunningService) -> None:
    of_other = add_task(page_service.ledger)
    with logged_in(page_service, Scope.SUBMIT) as client:
        page = post(client, "/submit", "/submit", form="yaml", document="bench: lab\ninstance_types: [lab.phc]\n")
        own = page.headers["location"].removeprefix("/tasks/")
        assert f"/tasks/{own}/cancel" in client.get("/queue").text
        assert f"/tasks/{of_other}/cancel" not in client.get("/queue").text
        assert post(client, f"/tasks/{of_other}/cancel").status_code == 403
        assert post(client, f"/tasks/{own}/cancel").status_code == 303


# -- submitting


def test_a_campaign_is_submitted_by_the_form(open_service: RunningService) -> None:
    fields = {
        "key.bench": "lab",
        "key.instance_types": "lab.phc, lab.no-phc\nlab.drifting",
        "key.measure.duration": "90s",
        "key.limits.offset_ns.p99_abs": "20us",
        "key.expect": "lab.no-phc: no_phc",
        "priority": "7",
    }
    with open_service.client(None) as client:
        checked = post(client, "/submit", "/submit", do="check", **fields)
        assert "No mistake: 3 hosts on lab, depth standard, about" in checked.text
        written = post(client, "/submit", "/submit", do="write", **fields)
        assert "instance_types: [lab.phc, lab.no-phc, lab.drifting]" in html.unescape(written.text)
        assert 'id="document"' in written.text
        done = post(client, "/submit", "/submit", do="submit", **fields)
        task = done.headers["location"].removeprefix("/tasks/")
        line = open_service.context.queue.find(task)
        assert (line.hosts, line.priority, line.submitter) == (3, 7, "anybody")
        campaign = open_service.context.queue.campaign(task)
        assert (campaign["measure_duration_s"], campaign["expect"]) == (90.0, {"lab.no-phc": "no_phc"})


def test_a_form_that_is_sent_twice_makes_one_task(open_service: RunningService) -> None:
    with open_service.client(None) as client:
        page = client.get("/submit?form=yaml")
        key = re.search(r'name="key" value="(\w+)"', page.text)
        assert key is not None
        fields = {"form_token": form_token(page), "key": key[1], "form": "yaml",
                  "document": "bench: lab\r\ninstance_types: [lab.phc]\r\n"}  # fmt: skip
        one, other = (client.post("/submit", data=fields) for _ in range(2))
        assert one.headers["location"] == other.headers["location"]
    assert len(open_service.context.queue.list_lines()) == 1


def test_mistakes_of_the_form_stand_at_their_fields(open_service: RunningService) -> None:
    with open_service.client(None) as client:
        told = post(client, "/submit", "/submit", **{"key.depth": "deep", "key.lease": "long", "key.parallel": "many",
                    "key.limits.offset_ns.p99_abs": "fast", "key.instance_types": "lab.phcc"})  # fmt: skip
        assert told.status_code == 422
        for name in ("key.depth", "key.lease", "key.parallel", "key.limits.offset_ns.p99_abs"):
            assert f'href="#{name}"' in told.text
        assert len(re.findall(r'aria-invalid="true"', told.text)) == 4
        assert 'value="long"' in told.text, "what was written stays"
    assert open_service.context.queue.list_lines() == []


def test_mistakes_of_the_yaml_stand_at_their_lines(open_service: RunningService) -> None:
    document = "bench: lab\ninstance_types: [lab.phc]\ndpeth: quick\nmeasure:\n  duration: soon\n"
    with open_service.client(None) as client:
        told = post(client, "/submit", "/submit?form=yaml", form="yaml", document=document)
        assert told.status_code == 422
        shown = html.unescape(re.sub(r"<[^>]+>", " ", told.text))
        assert re.search(r"line 3\s+dpeth: quick\s+dpeth: \s*unknown key; did you mean 'depth'\?", shown)
        assert re.search(r"line 5\s+duration: soon\s+measure\.duration: ", shown)
        assert "<b>3</b>" in told.text
        assert "<b>5</b>" in told.text
        assert html.escape(document, quote=True).replace("&#x27;", "&#39;") in told.text
        broken = post(client, "/submit", "/submit?form=yaml", form="yaml", document="bench: [lab\ndepth: quick\n")
        assert re.search(r'data-line="\d"', broken.text)
        empty = post(client, "/submit", "/submit?form=yaml", form="yaml", document="")
        assert (empty.status_code, "the campaign is empty" in empty.text) == (422, True)
        long = post(client, "/submit", "/submit?form=yaml", form="yaml", document="a" * 500_001)
        assert (long.status_code, "the campaign is too long" in long.text) == (422, True)


def test_a_campaign_is_submitted_at_set_times(open_service: RunningService) -> None:
    document = "bench: lab\ninstance_types: [lab.phc]\n"
    with open_service.client(None) as client:
        wrong = post(
            client,
            "/submit",
            "/submit",
            form="yaml",
            do="schedule",
            document=document,
            schedule="Night ly",
            cron="0 2 * * *",
        )
        assert (wrong.status_code, "the name of the schedule is not one" in wrong.text) == (422, True)
        never = post(
            client, "/submit", "/submit", form="yaml", do="schedule", document=document, schedule="a", cron="0 0 31 2 *"
        )
        assert (never.status_code, "is no cron expression" in never.text) == (400, True)
        done = post(
            client,
            "/submit",
            "/submit",
            form="yaml",
            do="schedule",
            document=document,
            schedule="nightly",
            cron="0 2 * * *",
        )
        assert done.headers["location"] == "/queue#schedules"
        assert "nightly" in client.get("/queue").text
        assert post(client, "/schedules/nightly/pause").status_code == 303
        assert "paused" in client.get("/queue").text
        assert post(client, "/schedules/nightly/resume").status_code == 303
        assert post(client, "/schedules/nightly/run").status_code == 303
        assert len(open_service.context.queue.list_lines()) == 1
        assert post(client, "/schedules/nightly/explode").status_code == 404
        assert post(client, "/schedules/nightly/remove").status_code == 303
        assert "nightly" not in client.get("/queue").text.partition('id="schedules"')[2]


# -- tasks


def test_the_page_of_a_task_leads_to_its_run(open_service: RunningService) -> None:
    ledger = open_service.ledger
    task = add_task(ledger)
    with open_service.client(None) as client:
        assert "It waits for its turn: number 1" in client.get(f"/tasks/{task}").text
        line = open_service.context.queue.claim(open_service.context.options.limits)
        assert line is not None
        assert "Its run begins" in client.get(f"/tasks/{task}").text
        run = ledger.open_run(bench="lab", campaign={}, hosts={"lab.phc": "lab.phc"}, task=task)
        told = client.get(f"/tasks/{task}")
        assert (told.status_code, told.headers["location"]) == (303, f"/runs/{run}")
        page = client.get(f"/runs/{run}").text
        assert "under way" in page
        assert f"/tasks/{task}/cancel" in page


def test_a_task_that_could_not_begin_says_why(open_service: RunningService) -> None:
    task = add_task(open_service.ledger)
    queue = open_service.context.queue
    line = queue.claim(open_service.context.options.limits)
    assert line is not None
    queue.finish(line, TaskState.FAILED, exit_code=2, problem="no QEMU here <b>")
    with open_service.client(None) as client:
        for path in (f"/tasks/{task}", "/queue"):
            assert "no QEMU here &lt;b&gt;" in client.get(path).text


# -- kept hosts


@pytest.fixture
def bench(tmp_path: Path) -> ScriptedBench:
    return ScriptedBench(tmp_path / "bench", 1, refuses=0.0)


@pytest.fixture
def kept_service(tmp_path: Path, bench: ScriptedBench) -> Iterator[RunningService]:
    """A service whose bench has hosts that are files."""

    def change(context: ServiceContext) -> ServiceContext:
        return replace(context, make_bench=lambda _name: bench)

    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with running_service(url, tmp_path / "state", is_open=True, change=change) as running:
        yield running


def keep_one(service: RunningService, bench: ScriptedBench) -> str:
    """Record a run that keeps the host lab.phc, which its bench has."""
    run = add_run(service.ledger, [make_host(state=HostState.KEPT)], bench="lab")
    bench.provision(Token(run=run, host="lab.phc"), "good", lambda _text: None)
    return run


def test_a_kept_host_is_shown_with_its_holder_and_how_to_enter_it(
    kept_service: RunningService, bench: ScriptedBench
) -> None:
    run = keep_one(kept_service, bench)
    with kept_service.client(None) as client:
        text = html.unescape(re.sub(r"<[^>]+>", " ", client.get("/kept").text))
        assert re.search(r"lab\.phc\s+run\s+" + run, text)
        assert re.search(r"4 h 59 min|5 h", text)
        assert f"ptp-harness ssh {run} lab.phc" in text
        detail = client.get(f"/kept/{run}/lab.phc").text
        assert "ssh -p" in detail
        assert "<h2>SSH</h2>" in detail


def test_a_kept_host_is_released(kept_service: RunningService, bench: ScriptedBench) -> None:
    run = keep_one(kept_service, bench)
    with kept_service.client(None) as client:
        assert post(client, f"/kept/{run}/lab.phc/release", "/kept").headers["location"] == "/kept"
        assert "No host is kept" in client.get("/kept").text
        assert bench.list_made() == []
        again = post(client, f"/kept/{run}/lab.phc/release", "/submit")
        assert (again.status_code, "is not kept" in again.text) == (409, True)


@pytest.mark.parametrize(
    ("lease", "status", "words"),
    [("soon", 422, "it lasts from 1 minute to 30 days"), ("", 303, ""), ("40d", 422, "it lasts"), ("8h", 502, "")],
)
def test_a_kept_host_is_kept_longer_or_it_is_told_why_not(
    kept_service: RunningService, bench: ScriptedBench, lease: str, status: int, words: str
) -> None:
    """The host of this bench answers no SSH: its lease stays as it is."""
    run = keep_one(kept_service, bench)
    before = kept_service.ledger.hosts(run)[0].kept_until_ns
    with kept_service.client(None) as client:
        told = post(client, f"/kept/{run}/lab.phc/keep", "/kept", lease=lease)
        assert (told.status_code, words in told.text) == (status, True)
    assert kept_service.ledger.hosts(run)[0].kept_until_ns == before

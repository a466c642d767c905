"""Tasks by the client, against a real service, also where answers are lost on the way."""

from dataclasses import replace

import pytest

from harness.client.failures import UnavailableError
from harness.client.refusals import RefusedError
from harness.errors import RequestError, SetupError
from harness.model.tasks import Scope, TaskState
from tests.servers.cutting_proxy import CuttingProxy, cutting_proxy
from tests.servers.service import RunningService
from tests.unit.client.conftest import HASTY, MakeClient

CAMPAIGN = "instance_types: [lab.phc]\n"
FAILURE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
def proxy(service: RunningService):
    with cutting_proxy(service.url) as between:
        yield between


def test_a_campaign_is_submitted_looked_at_and_cancelled(service: RunningService, make_client: MakeClient) -> None:
    client = make_client(scope=Scope.SUBMIT)
    task = client.submit(CAMPAIGN, priority=3)
    assert (task.state, task.priority) == (TaskState.QUEUED, 3)
    assert task.submitter == service.names[Scope.SUBMIT]
    assert client.task(task.task) == replace(task, position=1)
    assert client.cancel(task.task).state is TaskState.CANCELLED


def test_the_list_of_tasks_goes_over_all_pages(make_client: MakeClient) -> None:
    client = make_client()
    submitted = [client.submit(CAMPAIGN).task for _ in range(130)]
    assert [task.task for task in client.tasks()] == submitted[::-1]
    client.cancel(submitted[7])
    assert [task.task for task in client.tasks(state=TaskState.CANCELLED)] == [submitted[7]]


def test_every_mistake_of_a_campaign_is_told_with_its_line(make_client: MakeClient) -> None:
    with pytest.raises(RefusedError) as refused:
        make_client().submit("instance_types: [lab.phc]\nkeep: ask\nparallel: 0\n")
    assert refused.value.status == 422
    assert [(mistake.line, mistake.key) for mistake in refused.value.mistakes] == [(3, "parallel")]
    assert refused.value.next_step


def test_what_is_refused_is_not_tried_again(make_client: MakeClient, proxy: CuttingProxy) -> None:
    notes: list[str] = []
    with pytest.raises(RefusedError, match="there is no task 'nobody'") as refused:
        make_client(proxy.url, notes=notes).task("nobody")
    assert (refused.value.status, notes, proxy.connections) == (404, [], 1)
    with pytest.raises(RefusedError, match="no token was sent"):
        make_client(scope=None).task("nobody")
    with pytest.raises(RefusedError, match="has the scope read, and this needs submit"):
        make_client(scope=Scope.READ).submit(CAMPAIGN)


@pytest.mark.parametrize("lost", [1, 3])
def test_a_lost_answer_makes_no_second_task(make_client: MakeClient, proxy: CuttingProxy, lost: int) -> None:
    notes: list[str] = []
    client = make_client(proxy.url, notes=notes)
    proxy.lose_answers = lost
    task = client.submit(CAMPAIGN)
    assert proxy.connections == lost + 1
    assert [each.task for each in client.tasks()] == [task.task]
    assert len(notes) == 1
    assert "lost the connection" in notes[0]


def test_two_calls_are_two_campaigns_and_one_key_is_one(make_client: MakeClient) -> None:
    client = make_client()
    first, second = client.submit(CAMPAIGN), client.submit(CAMPAIGN)
    assert first.task != second.task
    mine = client.submit(CAMPAIGN, idempotency_key="nightly-2026-11-29")
    assert client.submit(CAMPAIGN, idempotency_key="nightly-2026-11-29").task == mine.task
    with pytest.raises(RefusedError, match="came before, with another request"):
        client.submit("instance_types: [lab.drifting]", idempotency_key="nightly-2026-11-29")


def test_a_service_that_fails_or_is_silent_for_a_moment_is_asked_again(
    make_client: MakeClient, proxy: CuttingProxy
) -> None:
    proxy.answers, proxy.refuse = [FAILURE, FAILURE], 1
    assert make_client(proxy.url).submit(CAMPAIGN).state is TaskState.QUEUED
    assert proxy.connections == 4


def test_a_service_that_stays_away_is_given_up_at_the_deadline(make_client: MakeClient, proxy: CuttingProxy) -> None:
    client = make_client(proxy.url, retries=HASTY)
    proxy.answers = [FAILURE] * 1000
    with pytest.raises(UnavailableError, match="answers 503 Service Unavailable"):
        client.task("nobody")
    proxy.answers, proxy.silent = [], True
    with pytest.raises(UnavailableError, match="did not answer in time"):
        client.task("nobody")
    proxy.close()
    with pytest.raises(UnavailableError, match="refused the connection"):
        client.task("nobody")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", "that is no JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "does not understand what"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"task": "abc"}'[:-1], "that is no JSON"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://x.example/\r\nContent-Length: 0\r\n\r\n", "redirects to"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n<p/>", "not as a service of PTP Harness does"),
    ],
)
def test_an_answer_that_is_not_one_of_a_service_is_told(
    make_client: MakeClient, proxy: CuttingProxy, answer: bytes, said: str
) -> None:
    proxy.answers = [answer]
    with pytest.raises((RequestError, SetupError), match=said) as wrong:
        make_client(proxy.url).task("nobody")
    assert wrong.value.next_step
    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ptp.example.org", "not one of http:// or https://"),
        ("ftp://ptp.example.org", "not one of http:// or https://"),
        ("https://ada:secret@ptp.example.org", "has a user, a query or a fragment"),
        ("https://ptp.example.org:99999", "Port out of range"),
        ("http://ptp.example.org", "whoever is on the way could read it"),
        ("https://\x1b[31m", "no printable character"),
    ],
)
def test_a_url_that_is_none_is_refused_without_its_secrets(make_client: MakeClient, url: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as wrong:
        make_client(url)
    assert "secret" not in str(wrong.value)


def test_a_token_goes_over_plain_http_where_that_is_allowed(make_client: MakeClient) -> None:
    assert make_client("http://ptp.example.org/", allow_plain_http=True).url == "http://ptp.example.org"
    assert make_client("http://ptp.example.org", scope=None).url == "http://ptp.example.org"


def test_a_name_that_is_not_known_is_told_at_once(make_client: MakeClient) -> None:
    with pytest.raises(SetupError, match=r"no address of http://nowhere\.invalid is known"):
        make_client("http://nowhere.invalid", scope=None).task("nobody")

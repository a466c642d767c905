"""Bodies and addresses that nobody sends by mistake: each is refused as a problem, soon, and changes nothing."""

import json
import time
from collections.abc import Iterator

import pytest

from harness.model.tasks import Scope
from tests.servers.service import RunningService, running_service

JSON = {"Content-Type": "application/json"}
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    + ["instance_types: *a11"]
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("bodies")
    with running_service(f"sqlite:///{folder / 'ledger.sqlite'}", folder / "state") as running:
        yield running


@pytest.fixture
def service(shared: RunningService) -> Iterator[RunningService]:
    """A service whose queue is empty before and after each test."""
    yield shared
    assert shared.get("/v1/tasks").json()["items"] == []


def assert_refused(service: RunningService, content: bytes, headers: dict[str, str] | None = None) -> None:
    begun = time.monotonic()
    answer = service.post("/v1/tasks", content=content, headers=JSON if headers is None else headers)
    assert answer.status_code in (400, 413, 415, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["detail"]
    assert len(answer.content) < 20_000, "what was sent does not come back"
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"[" * 400_000,
        b'{"campaign":' * 70_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"campaign": "x", "priority": ' + b"9" * 100_000 + b"}",
        b'{"campaign": "x", "priority": 1e999999999}',
        b'{"campaign": "x", "priority": NaN}',
        b'{"campaign": "x", "priority": -Infinity}',
        b'{"campaign": "x", "priority": true}',
        b'{"campaign": "x", "priority": "1"}',
        b'{"campaign": "a\\u0000b"}',
        b'{"campaign": "\\ud800"}',
        b'{"campaign": "\\ud83d\\ude00"}',
        b'{"campaign": "\xff\xfe\xfd"}',
        b"\xff\xfe{\x00}\x00",
        b'\xef\xbb\xbf{"campaign": "x"}',
        b'{"campaign": ["x"]}',
        b'{"campaign": {"instance_types": ["lab.phc"]}}',
        b'{"campaign": "x", "site": "../../etc"}',
        b'{"campaign": "x", "site": "a\\u0000"}',
        b'{"campaign": "x", "' + b"k" * 900_000 + b'": 1}',
        b'{"campaign": "x"' + b', "k": 1' * 100_000 + b"}",
        b'{"__proto__": {"scope": "admin"}, "campaign": "x"}',
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_no_submission_is_refused(service: RunningService, body: bytes) -> None:
    assert_refused(service, body)


@pytest.mark.parametrize(
    "campaign",
    [
        BOMB,
        "a: &a [*a]\ninstance_types: *a\n",
        "instance_types: [lab.phc]\n<<: {inventory: /etc/passwd}\n",
        "instance_types: !!python/object/apply:os.system ['true']\n",
        "instance_types: !!python/name:os.system\n",
        "instance_types: !!binary aGVsbG8=\n",
        "[" * 200_000,
        "- " * 100_000,
        "? " * 100_000,
        "instance_types:\n" + "- a\n" * 60_000,
        "".join(f"k{number}: 1\n" for number in range(25_000)),
        "instance_types: [lab.phc]\ninstance_types: [lab.phc]\n",
        "instance_types: [lab.phc]\n---\ninstance_types: [lab.phc]\n",
        "instance_types: [" + "lab.phc, " * 1000 + '\'{{ lookup("file", "/etc/passwd") }}\']\n',
        "instance_types: [lab.phc]\nowner: '{% for x in y %}'\n",
        "instance_types: ['lab.phc\0']\n",
        "instance_types: ['lab.phc\x1b[31m']\n",
        "instance_types: ['\u202elab.phc']\n",
        "instance_types: [lab.phc]\nmeasure: {duration: 1e99d}\n",
        "instance_types: [lab.phc]\nmeasure: {duration: .nan}\n",
        "instance_types: 2026-11-21\n",
        "instance_types: [0x7fffffffffffffffffffff]\n",
        "\t",
        "%YAML 9.9\n---\na: 1\n",
    ],
    ids=lambda campaign: repr(campaign[:24]),
)
def test_a_campaign_that_is_none_is_refused(service: RunningService, campaign: str) -> None:
    assert_refused(service, json.dumps({"campaign": campaign}).encode())


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/yaml",
        "image/png",
        "application/json; charset=utf-16",
        "application/\xff",
        "a" * 5000,
    ],
)
def test_another_kind_of_content_is_refused(service: RunningService, kind: str | None) -> None:
    """A page of another site can have a browser send these kinds without asking first."""
    with service.client(Scope.SUBMIT) as client:
        headers = [] if kind is None else [(b"Content-Type", kind.encode("latin-1"))]
        content = b'{"campaign": "instance_types: [lab.none]"}'
        answer = client.request("POST", "/v1/tasks", content=content, headers=headers)
    assert answer.status_code in (400, 415, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tasks/%00",
        "/v1/tasks?submitter=%00",
        "/v1/tasks/%ff%fe",
        "/v1/tasks?submitter=%ff",
        "/v1/tasks/..%2f..%2fetc%2fpasswd",
        "/v1/tasks/../../etc/passwd",
        "/v1/tasks//",
        "/v1/tasks/%2e%2e",
        "/v1/tasks/" + "a" * 10_000,
        "/v1/tasks?limit=" + "9" * 5000,
        "/v1/tasks?limit=1&limit=2&limit=x",
        "/v1/tasks?cursor=" + "A" * 300,
        "/v1/tasks?since=9999999999d",
        "/v1/tasks?since=-5d",
        "/v1/tasks?since=0001-01-01T00:00:00%2B23:59",
        "/v1/tasks?state=QUEUED'--",
        "/v1/schedules/%00",
        "/v1/tokens/%F0%9F%92%A9",
        "/v1/audit?cursor=%00",
        "/v1/queue?cursor=e30",
    ],
)
def test_an_address_that_is_none_is_refused_or_finds_nothing(service: RunningService, path: str) -> None:
    with service.client(Scope.ADMIN) as client:
        answer = client.get(f"{service.url}{path}", follow_redirects=False)
    assert answer.status_code in (200, 307, 400, 404, 405, 414, 422), answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "root:" not in answer.text


@pytest.mark.parametrize("key", ["", "a" * 256, "é", "a b", "a\tb"])
def test_an_idempotency_key_that_is_none_is_refused(service: RunningService, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    with service.client(Scope.SUBMIT) as client:
        answer = client.post("/v1/tasks", json={"campaign": "instance_types: [lab.phc]\n"}, headers=headers)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Basic YTpi", "Bearer a b", "Bearer \xff\xff", "bearer null", "Bearer " + "x" * 9000],
)
def test_a_header_with_no_token_is_refused(service: RunningService, value: str) -> None:
    with service.client(None) as client:
        answer = client.get("/v1/tasks", headers=[(b"Authorization", value.encode("latin-1"))])
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert "ptph_" not in answer.text

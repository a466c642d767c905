"""What a page of another site sends changes nothing, and no answer runs, is framed, or is taken for something else."""

import pytest
from starlette.datastructures import Headers

from harness.service.browser_guards import is_of_other_page
from tests.servers.service import RunningService


@pytest.mark.parametrize(
    ("method", "headers", "refused"),
    [
        ("GET", {"sec-fetch-site": "cross-site", "origin": "https://elsewhere.example"}, False),
        ("HEAD", {"origin": "https://elsewhere.example"}, False),
        ("POST", {}, False),  # a program
        ("POST", {"sec-fetch-site": "same-origin"}, False),
        ("POST", {"sec-fetch-site": "none"}, False),
        ("POST", {"sec-fetch-site": "same-site"}, True),
        ("POST", {"sec-fetch-site": "cross-site"}, True),
        ("DELETE", {"sec-fetch-site": "cross-site"}, True),
        ("POST", {"host": "hub:8440", "origin": "http://hub:8440"}, False),
        ("POST", {"host": "hub:8440", "origin": "http://HUB:8440"}, False),
        ("POST", {"host": "hub:8440", "origin": "http://hub:8441"}, True),
        ("POST", {"host": "hub:8440", "origin": "null"}, True),
        ("POST", {"origin": "http://hub:8440"}, True),
        # behind a proxy that changes the name, the browser itself says that it is the same
        ("POST", {"host": "inside", "origin": "https://hub", "sec-fetch-site": "same-origin"}, False),
    ],
)
def test_whose_page_sends_a_request(method: str, headers: dict[str, str], refused: bool) -> None:
    assert is_of_other_page(method, Headers(headers)) is refused


def test_a_page_of_another_site_submits_nothing_even_with_a_token(file_service: RunningService) -> None:
    body = {"campaign": "instance_types: [lab.phc]\n"}
    told = file_service.post("/v1/tasks", json=body, headers={"Sec-Fetch-Site": "cross-site"})
    assert (told.status_code, told.headers["content-type"]) == (403, "application/problem+json")
    assert file_service.get("/v1/tasks").json()["items"] == []


@pytest.mark.parametrize("path", ["/", "/login", "/v1/info", "/v1/nothing", "/healthz", "/static/nothing.js"])
def test_every_answer_says_what_a_browser_may_do_with_it(file_service: RunningService, path: str) -> None:
    headers = file_service.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src" not in policy or "script-src 'self';" in policy

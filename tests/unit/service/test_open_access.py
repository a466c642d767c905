"""A service without tokens serves the user of its machine, and no web page of another site in the user's browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.service.open_access import why_refused
from tests.servers.service import RunningService, running_service


@pytest.fixture
def open_service(tmp_path: Path) -> Iterator[RunningService]:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with running_service(url, tmp_path / "state", is_open=True) as running:
        yield running


@pytest.mark.parametrize(
    ("host", "origin", "site", "served"),
    [
        ("127.0.0.1:8440", None, None, True),
        ("localhost:8440", None, "same-origin", True),
        ("[::1]:8440", "http://[::1]:8440", "same-origin", True),
        ("127.0.0.1:8440", "http://127.0.0.1:8440", None, True),
        ("127.0.0.1:8440", None, "none", True),  # typed into the address bar
        ("rebound.example:8440", None, None, False),
        ("127.0.0.1.rebound.example", None, None, False),
        ("", None, None, False),
        ("[::1", None, None, False),
        ("127.0.0.1:8440", "https://elsewhere.example", None, False),
        ("127.0.0.1:8440", "http://127.0.0.1:9000", None, False),
        ("127.0.0.1:8440", "null", None, False),
        ("127.0.0.1:8440", None, "cross-site", False),
        ("localhost:8440", None, "same-site", False),
    ],
)
def test_who_is_served(host: str, origin: str | None, site: str | None, served: bool) -> None:
    assert (why_refused(host, origin, site) is None) is served


def test_a_page_of_another_site_submits_nothing(open_service: RunningService) -> None:
    body = {"campaign": "instance_types: [lab.phc]\n"}
    with open_service.client(None) as client:
        refused = client.post("/v1/tasks", json=body, headers={"Origin": "https://elsewhere.example"})
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        assert client.get("/v1/tasks", headers={"Host": "rebound.example"}).status_code == 403
        assert client.get("/v1/tasks").json()["items"] == []
        assert client.post("/v1/tasks", json=body).json()["submitter"] == "anybody"

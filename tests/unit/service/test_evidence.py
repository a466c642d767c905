"""Evidence over HTTP: lists with checksums, files whole and in ranges, nothing of another place, samples as tables."""

import csv
import hashlib
import io
import os
from pathlib import Path

import pytest
from pyarrow import parquet

from harness.store.evidence_folder import SUMS, EvidenceFolder
from tests.doubles.campaign_of_six import leave_out_ssh
from tests.doubles.evidence_machine import Machine, content
from tests.doubles.ledger_runs import MadeUpHost, add_run
from tests.servers.service import RunningService, running_service

SECRET = "the secret of another place"


@pytest.fixture
def run(file_service: RunningService, tmp_path: Path) -> str:
    """A run that ended, with evidence of one host, beside a file that is none."""
    run = add_run(file_service.ledger, {"lab.phc": MadeUpHost()})
    folder = EvidenceFolder.create(tmp_path / "state" / "runs" / run)
    folder.write("report.json", "{}")
    host = folder.host("lab.phc")
    host.write("attempt", "1\n")
    host.write("page.html", "<script>alert(1)</script>")
    host.write("bytes.gz", bytes(range(256)) * 4)
    host.write("digits", "0123456789")
    host.write("deep/er/file.txt", "deep")
    folder.write_checksums()
    (tmp_path / "state" / "secret").write_text(SECRET)
    (tmp_path / "state" / "runs" / "secret").write_text(SECRET)
    (host.path / "link").symlink_to(tmp_path / "state" / "secret")
    (host.path / "links").symlink_to(tmp_path / "state", target_is_directory=True)
    (host.path / ".hidden").write_text(SECRET)
    return run


def test_the_files_are_listed_with_sizes_and_checksums(file_service: RunningService, run: str, tmp_path: Path) -> None:
    document = file_service.get(f"/v1/runs/{run}/evidence").json()
    expected = {
        name: digest
        for name, digest in content(tmp_path / "state" / "runs" / run).items()
        if "link" not in name and ".hidden" not in name
    }
    assert {item["path"]: item["sha256"] for item in document["items"]} == expected
    sizes = {item["path"]: item["size"] for item in document["items"]}
    assert (sizes["lab.phc/digits"], sizes["lab.phc/bytes.gz"], sizes["report.json"]) == (10, 1024, 2)
    assert (document["run"], document["missing"]) == (run, [])


def test_a_file_is_stored_by_a_browser_and_never_shown(file_service: RunningService, run: str) -> None:
    page = file_service.get(f"/v1/runs/{run}/evidence/lab.phc/page.html")
    assert (page.status_code, page.text) == (200, "<script>alert(1)</script>")
    assert page.headers["content-type"] == "text/plain; charset=utf-8"
    assert page.headers["content-disposition"] == "attachment; filename*=utf-8''page.html"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; sandbox")
    packed = file_service.get(f"/v1/runs/{run}/evidence/lab.phc/bytes.gz")
    assert (packed.headers["content-type"], packed.content) == ("application/octet-stream", bytes(range(256)) * 4)
    assert file_service.get(f"/v1/runs/{run}/evidence/lab.phc/deep/er/file.txt").text == "deep"


@pytest.mark.parametrize(
    ("asked", "status", "expected", "said"),
    [
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=4-", 206, "456789", "bytes 4-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-30", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=9-9", 206, "9", "bytes 9-9/10"),
        ("bytes=5-500", 206, "56789", "bytes 5-9/10"),
        ("bytes=0-0,2-3", 200, "0123456789", None),
        ("bytes=3-1", 200, "0123456789", None),
        ("bytes=-", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
        ("bytes=x-2", 200, "0123456789", None),
        ("bytes=" + "9" * 40 + "-", 200, "0123456789", None),
    ],
)
def test_a_range_is_a_part_of_the_file(
    file_service: RunningService, run: str, asked: str, status: int, expected: str, said: str | None
) -> None:
    answer = file_service.get(f"/v1/runs/{run}/evidence/lab.phc/digits", headers={"Range": asked})
    assert (answer.status_code, answer.text) == (status, expected)
    assert answer.headers.get("content-range") == said
    assert answer.headers["content-length"] == str(len(expected))


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_is_a_problem(file_service: RunningService, run: str, asked: str) -> None:
    answer = file_service.get(f"/v1/runs/{run}/evidence/lab.phc/digits", headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-type"]) == (416, "application/problem+json")
    assert answer.headers["content-range"] == "bytes */10"


def test_a_file_that_is_known_is_not_sent_again(file_service: RunningService, run: str) -> None:
    path = f"/v1/runs/{run}/evidence/lab.phc/digits"
    tag = file_service.get(path).headers["etag"]
    known = file_service.get(path, headers={"If-None-Match": tag})
    assert (known.status_code, known.content) == (304, b"")
    part = file_service.get(path, headers={"If-Range": tag, "Range": "bytes=1-2"})
    assert (part.status_code, part.text) == (206, "12")
    other = file_service.get(path, headers={"If-Range": '"other"', "Range": "bytes=1-2"})
    assert (other.status_code, other.text) == (200, "0123456789")


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "../../secret",
        "..%2f..%2fsecret",
        "%2e%2e/%2e%2e/secret",
        "lab.phc/../../secret",
        "lab.phc/..%2f..%2fsecret",
        "lab.phc/../report.json",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "lab.phc//etc/passwd",
        "lab.phc/link",
        "lab.phc/links/secret",
        "lab.phc/links",
        "lab.phc/.hidden",
        "lab.phc/",
        "lab.phc",
        ".",
        "..",
        "",
        "~/secret",
        "lab.phc/digits%00",
        "lab.phc\\..\\secret",
        "lab.phc/" + "a/" * 100,
        "a" * 400,
        SUMS + "/x",
    ],
)
def test_nothing_of_another_place_is_told(file_service: RunningService, run: str, path: str, tmp_path: Path) -> None:
    """Sent as it stands, without the tidying that clients do."""
    import http.client

    host, _, port = file_service.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.putrequest("GET", f"/v1/runs/{run}/evidence/{path}", skip_host=False)
    for name, value in file_service.headers().items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    assert answer.status in (400, 404, 422), body
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRET not in body
    assert "root:" not in body


def test_the_name_of_a_run_leads_nowhere(file_service: RunningService, run: str) -> None:
    for name in ("..", "%2e%2e", "..%2fruns", f"{run}%2f..%2f{run}"):
        assert file_service.get(f"/v1/runs/{name}/evidence/secret").status_code == 404


def test_a_run_under_way_shows_what_is_written_here_so_far(file_service: RunningService, tmp_path: Path) -> None:
    """A file that grows is sent as long as it was."""
    run = add_run(file_service.ledger, {"lab.phc": MadeUpHost(outcome=None)}, ended=False)
    answer = file_service.get(f"/v1/runs/{run}/evidence")
    assert (answer.status_code, "until the run has ended" in answer.json()["detail"]) == (409, True)
    host = EvidenceFolder.create(tmp_path / "state" / "runs" / run).host("lab.phc")
    with (host.path / "serial.log").open("ab", buffering=0) as file:
        file.write(b"x" * 1_000_000)
        with (
            file_service.client() as client,
            client.stream("GET", f"/v1/runs/{run}/evidence/lab.phc/serial.log") as sent,
        ):
            file.write(b"y" * 1_000_000)
            assert sent.read() == b"x" * 1_000_000
        tail = file_service.get(f"/v1/runs/{run}/evidence/lab.phc/serial.log", headers={"Range": "bytes=1999990-"})
        assert tail.content == b"y" * 10
    items = file_service.get(f"/v1/runs/{run}/evidence").json()["items"]
    assert items == [{"path": "lab.phc/serial.log", "size": 2_000_000, "sha256": None}]


def test_evidence_that_is_nowhere_is_a_problem_that_names_who_has_it(file_service: RunningService) -> None:
    run = add_run(file_service.ledger)
    answer = file_service.get(f"/v1/runs/{run}/evidence")
    assert answer.status_code == 404
    assert f"is not on this machine: {os.uname().nodename} has it" in answer.json()["detail"]


def test_evidence_of_another_machine_comes_from_the_store(
    evidence_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_ssh(monkeypatch)
    leader = Machine(tmp_path, "leader", evidence_url)
    run = leader.run().run
    with running_service(
        leader.settings.ledger_url, tmp_path / "service", settings={"evidence": evidence_url}
    ) as service:
        items = service.get(f"/v1/runs/{run}/evidence").json()["items"]
        expected = content(leader.folder(run))
        assert {item["path"]: item["sha256"] for item in items} == expected
        for name, digest in expected.items():
            answer = service.get(f"/v1/runs/{run}/evidence/{name}")
            assert hashlib.sha256(answer.content).hexdigest() == digest


def test_a_store_that_is_away_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.object_store.TRIES", 1)
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with running_service(url, tmp_path / "state", settings={"evidence": f"file://{tmp_path}/gone"}) as service:
        answer = service.get(f"/v1/runs/{add_run(service.ledger)}/evidence")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "there is no folder for evidence" in answer.json()["detail"]


# --- samples ----------------------------------------------------------------------------------------------------------


def test_samples_are_a_table(earlier: RunningService) -> None:
    answer = earlier.get("/v1/runs/3a5r/hosts/lab.drifting/samples")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''3a5r-lab.drifting-measured.csv"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert (len(rows), rows[0]["source"]) == (60, "PHC0")
    table = parquet.read_table(io.BytesIO(earlier.get("/v1/runs/3a5r/hosts/lab.drifting/samples?form=parquet").content))
    assert [str(value) for value in table["offset_ns"].to_pylist()] == [row["offset_ns"] for row in rows]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("lab.no-phc/samples", 404),
        ("lab.drifting/samples?part=rebooted", 404),
        ("lab.drifting/samples?part=all", 422),
        ("lab.drifting/samples?form=xls", 422),
    ],
)
def test_a_host_without_such_samples_is_a_problem(earlier: RunningService, path: str, status: int) -> None:
    answer = earlier.get(f"/v1/runs/3a5r/hosts/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_host_without_a_verdict_has_no_samples_yet(file_service: RunningService) -> None:
    run = add_run(file_service.ledger, {"a": MadeUpHost(outcome=None)}, ended=False)
    answer = file_service.get(f"/v1/runs/{run}/hosts/a/samples")
    assert (answer.status_code, answer.json()["detail"]) == (409, f"a of run {run} has no verdict yet")

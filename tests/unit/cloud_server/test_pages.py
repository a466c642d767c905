"""What a cloud guest gets over HTTP, and what it does not get."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cloud_server import pages


@contextmanager
def served(server: pages.Server) -> Iterator[str]:
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "served"
    (made / "pool").mkdir(parents=True)
    (made / "user-data").write_text("#cloud-config\n{}\n")
    (made / "pool/chrony_1%3a4.3_amd64.deb").write_bytes(b"package")
    (tmp_path / "secret").write_text("secret")
    return made


def test_a_seed_is_served_and_nothing_outside_it(folder: Path) -> None:
    with served(pages.serve_folder(0, pages.FolderPages, folder)) as url:
        assert urllib.request.urlopen(f"{url}/user-data", timeout=30).read() == b"#cloud-config\n{}\n"
        outside = ("/absent", "/../secret", "/%2e%2e/secret", "/pool/", "/")
        assert {path: status(url + path) for path in outside} == dict.fromkeys(outside, 404)


def test_a_mirror_is_served_below_the_path_of_its_guests_sources(folder: Path) -> None:
    with served(pages.serve_folder(0, pages.MirrorPages, folder)) as url:
        package = f"{url}/debian/pool/chrony_1%253a4.3_amd64.deb"  # apt quotes the percent sign of the file's name
        assert urllib.request.urlopen(package, timeout=30).read() == b"package"
        assert (status(f"{url}/user-data"), status(f"{url}/debian/../../secret")) == (404, 404)


def test_a_mirror_of_error_pages_answers_everything_with_a_page() -> None:
    with served(pages.serve_errors(0)) as url:
        answer = urllib.request.urlopen(f"{url}/debian/dists/trixie/InRelease", timeout=30)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html")
        assert answer.read() == pages.ERROR_PAGE

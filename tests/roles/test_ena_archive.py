"""Is an archive that is no driver, or another one than was meant, refused with words that help?"""

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

HEADER = "#define DRV_MODULE_GEN_MAJOR\t2\n#define DRV_MODULE_GEN_MINOR\t17\n#define DRV_MODULE_GEN_SUBMINOR\t0\n"
FILES = {
    "kernel/linux/ena/Makefile": "all:\n",
    "kernel/linux/ena/ena_netdev.h": HEADER,
    "kernel/linux/ena/ena_phc.c": "int ena_phc_enable;\n",
    "kernel/linux/common/ena_com/ena_com.c": "int ena_com;\n",
}


@pytest.fixture
def run(roles: Path, tmp_path: Path) -> "Run":
    return Run(roles / "ena_driver/files/ena_archive.py", tmp_path / "cache")


class Run:
    """The script as the role and the harness call it."""

    def __init__(self, script: Path, cache: Path) -> None:
        self.script, self.cache = script, cache

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(self.script), *words, "--cache", str(self.cache)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    def refusal(self, *words: str) -> str:
        done = self(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
        return done.stderr.strip()


def archive(path: Path, files: dict[str, str], top: str = "amzn-drivers-ena_linux_2.17.0/") -> Path:
    with tarfile.open(path, "w:gz") as out:
        for name, text in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(text)
            out.addfile(member, io.BytesIO(text.encode()))
    return path


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("top", ["amzn-drivers-ena_linux_2.17.0/", "", "./"])
def test_the_version_is_the_sources_own(run: Run, tmp_path: Path, top: str) -> None:
    path = archive(tmp_path / "whatever-9.9.9.tar.gz", FILES, top)
    said = json.loads(run("--archive", str(path), "--sha256", checksum(path).upper()).stdout)
    assert said == {"path": str(path), "sha256": checksum(path), "version": "2.17.0"}


def test_another_archive_than_was_meant(run: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "ena.tar.gz", FILES)
    said = run.refusal("--archive", str(path), "--sha256", "0" * 64)
    assert said == f"the driver archive {path} is another one: its sha256 is {checksum(path)}, not {'0' * 64}"


@pytest.mark.parametrize("without", ["kernel/linux/ena/Makefile", "kernel/linux/ena/ena_netdev.h"])
def test_an_archive_that_is_not_the_drivers(run: Run, tmp_path: Path, without: str) -> None:
    path = archive(tmp_path / "other.tar.gz", {name: text for name, text in FILES.items() if name != without})
    assert "is not a release of the ENA driver" in run.refusal("--archive", str(path))


def test_a_release_from_before_there_was_a_clock(run: Run, tmp_path: Path) -> None:
    files = {name: text for name, text in FILES.items() if not name.endswith("ena_phc.c")}
    path = archive(tmp_path / "old.tar.gz", files)
    assert run.refusal("--archive", str(path)) == f"ena 2.17.0 in {path} knows no clock: take a release >= 2.10"


def test_a_file_that_is_no_archive(run: Run, tmp_path: Path) -> None:
    (tmp_path / "page.tar.gz").write_text("<html>sign in</html>")
    said = run.refusal("--archive", str(tmp_path / "page.tar.gz"))
    assert said.startswith(f"the driver archive {tmp_path / 'page.tar.gz'} is no tar archive: ")
    assert "\n" not in said


def test_a_file_that_is_not_there(run: Run) -> None:
    assert run.refusal("--archive", "/nowhere") == "the driver archive /nowhere cannot be read: " + os.strerror(2)


# --- downloads


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server on this machine over a folder, and the paths that were asked of it."""
    asked: list[str] = []
    (tmp_path / "www").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "www"))  # type: ignore[arg-type]

        def log_message(self, form: str, *arguments: object) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_downloaded_once(run: Run, tmp_path: Path, served: tuple[str, list[str]]) -> None:
    url, asked = served
    path = archive(tmp_path / "www/ena.tar.gz", FILES)
    words = ("--archive", f"{url}/ena.tar.gz", "--sha256", checksum(path))
    first, second = run(*words), run(*words)
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert Path(json.loads(first.stdout)["path"]).read_bytes() == path.read_bytes()
    assert len([one for one in asked if one == "/ena.tar.gz"]) == 1


def test_what_is_in_the_cache_is_not_trusted_over_the_checksum(
    run: Run, tmp_path: Path, served: tuple[str, list[str]]
) -> None:
    url, _ = served
    path = archive(tmp_path / "www/ena.tar.gz", {**FILES, "README": "older"})
    assert run("--archive", f"{url}/ena.tar.gz").returncode == 0
    archive(path, FILES)
    said = json.loads(run("--archive", f"{url}/ena.tar.gz", "--sha256", checksum(path)).stdout)
    assert said["sha256"] == checksum(path)


def test_a_url_that_is_not_there_leaves_nothing(run: Run, served: tuple[str, list[str]]) -> None:
    url, _ = served
    said = run.refusal("--archive", f"{url}/nothing.tar.gz")
    assert said == f"{url}/nothing.tar.gz cannot be downloaded: File not found"
    assert [path.suffix for path in run.cache.iterdir()] == [".lock"]

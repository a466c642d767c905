"""Is an archive that is no driver, or another one than was meant, refused with words that help?"""

import contextlib
import gzip
import hashlib
import http.server
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.programs

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
        self.option: tuple[str, ...] = ()

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(self.script), *words, "--cache", str(self.cache), *self.option]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    def kept(self) -> list[str]:
        """What the cache holds beside locks."""
        return sorted(path.name for path in self.cache.glob("*") if path.suffix != ".lock")

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
def served(run: Run, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server on this machine over a folder, and the paths that were asked of it."""
    asked: list[str] = []
    (tmp_path / "www").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "www"))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            way, _, rest = self.path[1:].partition("/")
            if way == "to":
                self.send_response(302)
                self.send_header("Location", urllib.parse.unquote(rest))
                self.end_headers()
            elif way in ("drip", "flood"):
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while not ended.wait(0.05 if way == "drip" else 0):
                        self.wfile.write(b"x" if way == "drip" else bytes(1 << 20))
            else:
                super().do_GET()

        def log_message(self, form: str, *arguments: object) -> None:
            asked.append(self.path)

    ended = threading.Event()
    run.option = ("--from-this-machine",)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    ended.set()
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


def test_a_download_is_for_its_owner_alone(run: Run, tmp_path: Path, served: tuple[str, list[str]]) -> None:
    url, _ = served
    archive(tmp_path / "www/ena.tar.gz", FILES)
    run.cache.mkdir(mode=0o755)  # as an earlier version made it
    path = Path(json.loads(run("--archive", f"{url}/ena.tar.gz").stdout)["path"])
    assert (path.parent, path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (run.cache, 0o600, 0o700)


def test_a_wrong_download_does_not_stay(run: Run, tmp_path: Path, served: tuple[str, list[str]]) -> None:
    url, _ = served
    path = archive(tmp_path / "www/ena.tar.gz", FILES)
    said = run.refusal("--archive", f"{url}/ena.tar.gz", "--sha256", "0" * 64)
    assert said == f"the driver archive {url}/ena.tar.gz is another one: its sha256 is {checksum(path)}, not {'0' * 64}"
    (tmp_path / "www/page.tar.gz").write_text("<html>sign in</html>")
    assert "is no tar archive" in run.refusal("--archive", f"{url}/page.tar.gz")
    assert run.kept() == []


def test_a_broken_file_in_the_cache_is_downloaded_anew(run: Run, tmp_path: Path, served: tuple[str, list[str]]) -> None:
    url, _ = served
    path = archive(tmp_path / "www/ena.tar.gz", FILES)
    kept = Path(json.loads(run("--archive", f"{url}/ena.tar.gz").stdout)["path"])
    kept.write_bytes(path.read_bytes()[:100])
    assert json.loads(run("--archive", f"{url}/ena.tar.gz").stdout)["sha256"] == checksum(path)


# --- URLs of somebody else's


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/hostname", "comes by https:// or is a file at hand"),
        ("FILE:///etc/hostname", "comes by https:// or is a file at hand"),
        ("ftp://192.0.2.1/ena.tar.gz", "comes by https:// or is a file at hand"),
        ("data://text/plain,x", "comes by https:// or is a file at hand"),
        ("http://example.com/ena.tar.gz", "comes by https:// or is a file at hand"),
        ("https://", "names no host"),
        ("https://[::1/x", "cannot be understood"),
        ("https://example.com:port/x", "cannot be understood"),
        ("https://example.com/a b", "characters in it that no URL has"),
        ("https://example.com/\x1b[2J", "characters in it that no URL has"),
        ("https://example.com/" + "x" * 3000, "more than 2000 characters"),
        ("https://127.0.0.1:22/x", "its address 127.0.0.1 is not a public one"),
        ("https://127.1/x", "its address 127.0.0.1 is not a public one"),
        ("https://2130706433/x", "its address 127.0.0.1 is not a public one"),
        ("https://0/x", "its address 0.0.0.0 is not a public one"),
        ("https://[::1]/x", "its address ::1 is not a public one"),
        ("https://[::ffff:10.0.0.1]/x", "its address ::ffff:10.0.0.1 is not a public one"),
        ("https://[64:ff9b::a00:1]/x", "its address 64:ff9b::a00:1 is not a public one"),
        ("https://[2002:a00:1::]/x", "its address 2002:a00:1:: is not a public one"),
        ("https://169.254.169.254/latest/user-data", "its address 169.254.169.254 is not a public one"),
        ("https://[fd00:ec2::254]/x", "its address fd00:ec2::254 is not a public one"),
        ("https://10.0.0.1/x", "its address 10.0.0.1 is not a public one"),
        ("https://192.168.1.1/x", "its address 192.168.1.1 is not a public one"),
        ("https://100.64.0.1/x", "its address 100.64.0.1 is not a public one"),
        ("https://224.0.0.1/x", "its address 224.0.0.1 is not a public one"),
    ],
)
def test_what_is_not_fetched(run: Run, url: str, why: str) -> None:
    assert why in run.refusal("--archive", url)
    assert run.kept() == []


def test_a_name_whose_address_is_not_public_is_not_fetched(run: Run) -> None:
    refusal = run.refusal("--archive", "https://localhost/x")
    try:
        address = socket.getaddrinfo("localhost", 443)[0][4][0]
    except socket.gaierror:  # a bare root file system has no /etc/hosts
        assert "cannot be downloaded: " in refusal
    else:
        assert f"its address {address} is not a public one" in refusal
    assert run.kept() == []


def test_where_hosts_are_named_archives_come_from_them_alone(
    run: Run, tmp_path: Path, served: tuple[str, list[str]]
) -> None:
    url, _ = served
    archive(tmp_path / "www/ena.tar.gz", FILES)
    refusal = run.refusal("--archive", f"{url}/ena.tar.gz", "--host=files.corp", "--host=mirror.corp")
    assert refusal == f"{url}/ena.tar.gz is not downloaded: driver archives come from files.corp, mirror.corp alone"
    assert run("--archive", f"{url}/ena.tar.gz", "--host=127.0.0.1").returncode == 0
    to = urllib.parse.quote("https://example.com/x", safe="")
    redirected = run.refusal("--archive", f"{url}/to/{to}", "--host=127.0.0.1")
    assert "https://example.com/x is not downloaded: driver archives come from 127.0.0.1 alone" in redirected
    assert "cannot be downloaded" in run.refusal("--archive", "https://10.255.255.1:1/x", "--host=10.255.255.1")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.215.14", True),
        ("10.0.0.1", True),
        ("100.64.0.1", True),
        ("fd12::1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("224.0.0.1", False),
    ],
)
def test_a_host_that_is_named_may_be_near_but_not_this_machine(
    load: Callable[[str], ModuleType], address: str, expected: bool
) -> None:
    module = load("ena_driver/files/ena_archive_urls.py")
    assert module.may_connect(address, "Files.Corp", ["files.corp"], allow_local=False) is expected
    assert module.may_connect(address, address, [address], allow_local=False), "it is named itself"
    assert module.may_connect(address, "other.corp", ["files.corp"], allow_local=False) is (address[:3] == "93.")


def test_a_password_in_a_url_is_not_repeated(run: Run) -> None:
    said = run.refusal("--archive", "https://me:secret@example.com/ena.tar.gz")
    assert "has a user name or password in it" in said
    assert "secret" not in said


def test_by_a_proxy_private_addresses_are_refused_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert "its address 10.0.0.1 is not a public one" in run.refusal("--archive", "https://10.0.0.1/x")
    assert "cannot be downloaded: " in run.refusal("--archive", "https://example.com/x")  # the proxy itself may be near


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("http://169.254.169.254/latest/user-data", "its address 169.254.169.254 is not a public one"),
        ("http://10.0.0.1/x", "its address 10.0.0.1 is not a public one"),
        ("https://10.0.0.1/x", "its address 10.0.0.1 is not a public one"),
        ("file:///etc/hostname", "Redirection to url 'file:///etc/hostname' is not allowed"),
        ("ftp://127.0.0.1/x", "comes by https:// or is a file at hand"),
        ("https://me:secret@example.com/x", "has a user name or password in it"),
    ],
)
def test_a_redirect_leads_nowhere_else(run: Run, served: tuple[str, list[str]], to: str, why: str) -> None:
    url, _ = served
    assert why in run.refusal("--archive", f"{url}/to/{urllib.parse.quote(to, safe='')}")
    assert run.kept() == []


def test_a_redirect_is_followed(run: Run, tmp_path: Path, served: tuple[str, list[str]]) -> None:
    url, _ = served
    path = archive(tmp_path / "www/ena.tar.gz", FILES)
    to = urllib.parse.quote(f"{url}/ena.tar.gz", safe="")
    assert json.loads(run("--archive", f"{url}/to/{to}").stdout)["sha256"] == checksum(path)


def test_the_address_that_is_checked_is_the_one_that_is_connected_to(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads to a public address when it is looked up first and to this machine afterwards."""
    module = load("ena_driver/files/ena_archive_urls.py")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        taken_for_public = "127.0.0.2"
        answers = [
            [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]
            for address in (taken_for_public, "127.0.0.1")
        ]
        looked_up: list[str] = []

        def lookup(host: str, *more: object, **named: object) -> object:
            looked_up.append(host)
            return answers[min(len(looked_up), len(answers)) - 1]

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        monkeypatch.setattr(module, "is_public", lambda text, allow_local: text == taken_for_public)
        with pytest.raises(OSError):  # noqa: PT011 - nobody is there
            module.connector_to_public(False)(("rebinding.example", port), 0.2)
        with pytest.raises(module.Unusable, match=r"its address 127\.0\.0\.1 is not a public one"):
            module.connector_to_public(False)(("rebinding.example", port), 0.2)
        assert looked_up == ["rebinding.example"] * 2  # once for each connection
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("way", ["drip", "flood"])
def test_an_endless_answer_is_given_up(run: Run, served: tuple[str, list[str]], way: str) -> None:
    url, _ = served
    begun = time.monotonic()
    said = run.refusal("--archive", f"{url}/{way}/ena.tar.gz", "--deadline", "2" if way == "drip" else "30")
    expected = {"drip": "reading it took more than 2 s", "flood": "it has more than 67108864 bytes"}
    assert expected[way] in said
    assert time.monotonic() - begun < 20
    assert run.kept() == []


# --- archives of somebody else's


@pytest.mark.parametrize("path", ["/dev/zero", "/dev", "PIPE"])
def test_what_is_no_file_is_not_read(run: Run, tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "PIPE")
    said = run.refusal("--archive", str(tmp_path / path), "--deadline", "20")
    assert "cannot be read: it is not a regular file" in said or "cannot be read: Is a directory" in said


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


MEMORY = """
import resource, subprocess, sys
status = subprocess.run([sys.executable, *sys.argv[1:]]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""The most memory of a program, from a small process: the kernel counts that of whoever started it as its own."""


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (tarfile.XHDTYPE, 1 << 30),
        (tarfile.XGLTYPE, 1 << 30),
        (tarfile.GNUTYPE_LONGNAME, 1 << 30),
        (tarfile.GNUTYPE_LONGLINK, 1 << 30),
        (tarfile.XHDTYPE, -(1 << 40)),
        (tarfile.REGTYPE, -(1 << 40)),
    ],
)
def test_a_header_is_not_believed(run: Run, tmp_path: Path, kind: bytes, size: int) -> None:
    path = tmp_path / "ena.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(header("x", size, kind))
        for _ in range(256 if size > 0 else 1):
            out.write(bytes(1 << 20))
    assert path.stat().st_size < 2 << 20
    argv = [sys.executable, "-c", MEMORY, str(run.script), "--archive", str(path), "--cache", str(run.cache)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"a header in it claims {size} bytes" in done.stderr
    assert int(done.stdout) < 100 << 10  # KiB


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("MOST_BYTES", 100, "it has more than 100 bytes"),
        ("MOST_UNPACKED_BYTES", 2048, "it unpacks to more than 2048 bytes"),
        ("MOST_MEMBERS", 2, "it has more than 2 members"),
        ("MOST_HEADER_BYTES", 10, "its ena_netdev.h has 97 bytes"),
    ],
)
def test_each_bound_is_one(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, why: str
) -> None:
    module = load("ena_driver/files/ena_archive.py")
    path = str(archive(tmp_path / "ena.tar.gz", FILES))
    assert module.examine(path, None, path)["version"] == "2.17.0"
    monkeypatch.setattr(module, limit, value)
    with pytest.raises(module.Unusable, match=why):
        module.examine(path, None, path)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_whatever_it_is_packed_with(run: Run, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "ena.tar"
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for name, text in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            out.addfile(member, io.BytesIO(text.encode()))
    assert json.loads(run("--archive", str(path)).stdout)["version"] == "2.17.0"


def test_a_cut_archive(run: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "ena.tar.gz", FILES)
    path.write_bytes(path.read_bytes()[:-40])
    assert "is no tar archive: " in run.refusal("--archive", str(path))


@pytest.mark.parametrize("release", ["../../x", "2.17.0/../..", "2.17", "--help", "", "2.17.0\n", "99999.1.1"])
def test_what_is_no_release(run: Run, release: str) -> None:
    assert run.refusal(f"--release={release}") == (
        f"{release!r} is no release of the ENA driver: they are called like 2.17.0"
    )

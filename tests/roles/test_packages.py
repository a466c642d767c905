"""Do the roles install packages on a fresh image, and say why where they cannot? By a real apt with an empty state."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
ROLES = CHECKOUT / "roles"
NAME = "ptp-harness-no-such-program"
HEADERS = "linux-headers-6.12.48+deb13-cloud-amd64"


def _has_python_apt() -> bool:
    done = subprocess.run(["/usr/bin/python3", "-c", "import apt"], capture_output=True, check=False)
    return done.returncode == 0


needs_apt = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None or not _has_python_apt(), reason="this machine has no apt with python3-apt"
)


class Apt:
    """An apt with a state of its own, without any list; it downloads packages and never installs one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "apt.conf"
        for part in ("state/lists/partial", "cache/archives/partial", "repository"):
            (folder / part).mkdir(parents=True)
        (folder / "state/status").touch()
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "state/status",
            "Dir::Cache": folder / "cache",
            "APT::Get::Download-Only": "true",
            "APT::Sandbox::User": "root",
            "Acquire::Retries": "0",
        }
        self.config.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))

    def add_mirror(self, url: str) -> None:
        with (self.folder / "sources.list").open("a") as sources:
            sources.write(f"deb [trusted=yes] {url} ./\n")

    def add_repository_with(self, name: str) -> None:
        """Add a mirror on this disk that has one package."""
        control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: none\nDescription: a test\n"
        (self.folder / "package/DEBIAN").mkdir(parents=True)
        (self.folder / "package/DEBIAN/control").write_text(control)
        file = self.folder / "repository" / f"{name}.deb"
        subprocess.run(["dpkg-deb", "--build", self.folder / "package", file], check=True, capture_output=True)
        content = file.read_bytes()
        index = (
            f"{control}Filename: ./{file.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
        (self.folder / "repository/Packages").write_text(index)
        self.add_mirror(f"copy:{self.folder}/repository")

    def install(self, *names: str, role: str = "chrony_phc") -> tuple[int, str]:
        """Install packages as a role does; ansible-playbook's status and output."""
        given = {
            "ansible_python_interpreter": "/usr/bin/python3", "role": role, "wanted_packages": list(names),
            "apt_config": str(self.config),
        }  # fmt: skip
        program = Path(sys.executable).parent / "ansible-playbook"
        argv = [str(program), "-i", "localhost,", "-e", json.dumps(given), str(DATA / "packages.yml")]
        env = os.environ | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROLES)}
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=240, check=False, env=env | {"ANSIBLE_NOCOLOR": "1"}
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def apt(tmp_path: Path) -> Apt:
    return Apt(tmp_path)


@pytest.fixture
def error_page() -> Iterator[str]:
    """The address of a mirror that answers each request with a page, as a captive portal does."""

    class Portal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Please log in</html>")

        def log_message(self, format: str, *args: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@needs_apt
@pytest.mark.programs
@pytest.mark.parametrize("role", ["chrony_phc", "linuxptp", "ena_driver"])
def test_a_fresh_image_without_lists_gets_its_packages(apt: Apt, role: str) -> None:
    apt.add_repository_with(NAME)
    status, said = apt.install(NAME, role=role)
    assert status == 0, said
    assert [path.name for path in (apt.folder / "cache/archives").glob("*.deb")] == [f"{NAME}_1_all.deb"]


@needs_apt
@pytest.mark.programs
def test_a_mirror_that_is_gone_does_not_keep_a_package_of_another_away(apt: Apt) -> None:
    apt.add_repository_with(NAME)
    env = os.environ | {"APT_CONFIG": str(apt.config)}
    subprocess.run(["apt-get", "update"], env=env, check=True, capture_output=True)
    apt.add_mirror("http://127.0.0.1:1")
    status, said = apt.install(NAME)
    assert status == 0, said


@needs_apt
@pytest.mark.programs
def test_a_mirror_that_is_gone_or_answers_with_a_page_is_told_with_apts_words(apt: Apt, error_page: str) -> None:
    apt.add_mirror(error_page)
    apt.add_mirror("http://127.0.0.1:1")
    status, said = apt.install(NAME)
    assert status == 2
    assert "Say why packages could not be installed" in said
    sentence = said.partition("this test needs")[2].partition('"')[0]
    assert sentence.startswith(f" {NAME}, which could not be installed: (")
    assert "127.0.0.1" in sentence
    assert "; next: see whether the host reaches its package mirrors (`apt-get update` there), or use" in sentence


@pytest.fixture(scope="session")
def explain() -> Callable[..., str]:
    """The sentence of the roles about a package manager's answer."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.tests["search"] = lambda text, pattern: __import__("re").search(pattern, text) is not None
    environment.filters["regex_replace"] = lambda text, pattern, new: __import__("re").sub(pattern, new, text)
    template = environment.from_string((ROLES / "ena_driver/templates/packages.txt.j2").read_text())

    def render(result: dict[str, Any], *packages: str, by_apt: bool = True) -> str:
        return template.render(
            ptp_packages_result=result, ptp_packages=packages, ptp_packages_by_apt=by_apt, ptp_packages_for="the build"
        )

    return render


def test_each_cause_has_its_own_sentence_and_remedy(explain: Callable[..., str]) -> None:
    assert explain({"msg": f"No package matching '{HEADERS}' is available"}, "dkms", HEADERS) == (
        f"the build needs dkms, {HEADERS}, which could not be installed: the archive does not have the headers of the "
        f"running kernel, as where it has gone on to a newer one (No package matching '{HEADERS}' is available); "
        "next: use a newer image, or upgrade the host's kernel and reboot it, so that kernel and headers fit"
    )
    devel = "No package kernel6.12-devel-6.12.55-74.119.amzn2023.x86_64 available."
    assert "next: use a newer image" in explain({"msg": "Failed to install", "stderr": devel}, "x", by_apt=False)
    killed = explain({"msg": "MODULE FAILURE", "module_stderr": "Killed\n", "rc": 137}, "chrony", by_apt=False)
    assert (
        "the package manager was killed, as where memory runs out (MODULE FAILURE Killed); next: choose a size"
        in killed
    )
    held = "Failed to lock apt for exclusive operation: Failed to lock directory /var/lib/apt/lists/"
    assert "held the package manager's lock for ten minutes" in explain({"msg": held}, "chrony")
    gone = explain({"msg": "Error: Failed to download metadata"}, "chrony", by_apt=False)
    assert gone.endswith(
        "next: see whether the host reaches its package mirrors (`dnf makecache` there), or use an image that has them"
    )
    assert "\n" not in gone


def test_no_role_installs_packages_in_another_way() -> None:
    """So that each installation has fresh lists, waits for locks and tells why it failed."""
    for path in ROLES.glob("*/tasks/*.yml"):
        if path.name == "packages.yml":
            assert path.resolve() == ROLES / "ena_driver/tasks/packages.yml"
            continue
        text = path.read_text()
        assert [module for module in ("builtin.package:", "builtin.apt:", "builtin.dnf:") if module in text] == [], path


def test_apt_waits_ten_minutes_for_its_locks_and_has_lists_of_this_hour() -> None:
    tasks = yaml.safe_load((ROLES / "ena_driver/tasks/packages.yml").read_text())
    options = tasks[0]["block"][0]["ansible.builtin.apt"]
    assert (options["update_cache"], options["cache_valid_time"], options["lock_timeout"]) == (True, 3600, 600)

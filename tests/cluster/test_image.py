"""`cluster image` pushes the image of this version to a real registry, and tells what prevents it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import __version__
from tests.servers import registry
from tests.servers.containers import read_image

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.xdist_group("guests")]

ROOT = Path(__file__).parents[2]
ADA = "ada:$2y$05$G1Y.zDoLSLXyiDx/gQ1iYu3lGdkfL1dW7RhYBcqRJ95Uo3GBZMRTi\n"
"""A line of htpasswd; nobody here knows the password."""


def call(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "harness", "cluster", "image", *words]
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'lab'}"} | environ
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[registry.Registry]:
    read_image()
    with registry.serve(tmp_path) as served:
        yield served


@pytest.mark.parametrize("builder", ["buildah", "podman"])
def test_the_image_that_was_built_is_pushed_under_the_name_that_pods_use(
    server: registry.Registry, builder: str
) -> None:
    place = f"{server.address}/team"
    done = call("--registry", place, "--skip-build", "--insecure", "--builder", builder)
    assert done.returncode == 0, done.stderr
    name, _, digest = done.stdout.strip().partition("@")
    assert name == f"{place}/ptp-harness:{__version__}"
    by_digest, by_tag = (server.read(f"team/ptp-harness/manifests/{each}") for each in (digest, __version__))
    assert by_digest == by_tag
    config = server.read(f"team/ptp-harness/blobs/{by_tag['config']['digest']}")["config"]
    assert (config["User"], config["Entrypoint"]) == ("10001:10001", ["ptp-harness"])


def test_another_name_is_taken_as_it_is(server: registry.Registry) -> None:
    name = f"{server.address}/a/b:c"
    done = call("--image", name, "--skip-build", "--insecure")
    assert done.stdout.startswith(f"{name}@sha256:"), done.stderr
    assert server.read("a/b/tags/list")["tags"] == ["c"]


def test_a_registry_with_https_alone_is_needed_without_the_flag(server: registry.Registry) -> None:
    done = call("--registry", server.address, "--skip-build")
    assert done.returncode == 2
    assert f"pushing {server.address}/ptp-harness:{__version__}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_registry_that_demands_a_login_names_the_command(tmp_path: Path) -> None:
    read_image()
    (tmp_path / "users").write_text(ADA)
    with registry.serve(tmp_path, users=tmp_path / "users") as server:
        done = call("--registry", server.address, "--skip-build", "--insecure", "--builder", "buildah")
        assert done.returncode == 2
        assert f"`buildah login {server.address}` gives credentials" in done.stderr, done.stderr


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    read_image()
    done = call("--registry", "127.0.0.1:1", "--skip-build", "--insecure")
    assert (done.returncode, "connection refused" in done.stderr) == (2, True), done.stderr

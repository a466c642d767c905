"""Requests to `cluster` that are refused before any cluster is asked."""

import time
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call

IMAGE = ("--image", "registry.example/ptp-harness:1")
CRON = ("--cron", "0 3 * * 1")


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        ((), "a schedule needs a campaign and --cron"),
        (("lab.phc", "--name", "n", *IMAGE), "a schedule needs a campaign and --cron"),
        (("lab.phc", *CRON, *IMAGE), "a schedule of types needs a name"),
        (("lab.phc", *CRON, "--name", "Not this", *IMAGE), "is no name of a schedule of a cluster"),
        (("lab.phc", *CRON, "--name", "n"), "no image is named for the pods"),
        (("lab.phc", *CRON, "--name", "n", *IMAGE, "--queue", "A b"), "--queue 'A b' is no name of an object"),
        (("lab.phc", *CRON, "--name", "n", *IMAGE, "--priority-class", "-x"), "is no name of an object"),
        (
            ("lab.phc", *CRON, "--name", "n", *IMAGE, "--queue", "a", "--coordinator-queue", "a"),
            "is that of coordinators and that of suites",
        ),
        (("--remove", "n", *CRON), "--remove goes without a campaign"),
    ],
)
def test_a_schedule_that_cannot_be_made(call: Call, words: tuple[str, ...], tells: str) -> None:
    done = call("cluster", "schedule", *words, KUBECONFIG="/nowhere")
    assert (done.returncode, tells in done.stderr) == (2, True), done.stderr


def test_without_a_kubeconfig_nothing_is_tried(call: Call) -> None:
    begun = time.monotonic()
    done = call("cluster", "schedule", "lab.phc", *CRON, "--name", "n", *IMAGE, KUBECONFIG="/nowhere")
    assert done.returncode == 2
    assert "there is no kubeconfig /nowhere" in done.stderr
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        (("--skip-build",), "nothing is to be built, and no registry is named"),
        (("--registry", "-x"), "is no name of an image in a registry"),
        (("--registry", "https://registry.example"), "is no name of an image in a registry"),
        (("--image", "registry.example/Team/x:1"), "is no name of an image in a registry"),
        (("--image", "x"), "is no name of an image in a registry"),
        (("--registry", "registry.example", "--builder", "kaniko"), "--builder 'kaniko' is none that is known"),
    ],
)
def test_an_image_that_cannot_be_made(call: Call, words: tuple[str, ...], tells: str) -> None:
    done = call("cluster", "image", *words)
    assert (done.returncode, tells in done.stderr) == (2, True), done.stderr


def make_builder(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_without_a_builder_it_is_said_what_to_install(call: Call, tmp_path: Path) -> None:
    done = call("cluster", "image", "--registry", "registry.example", PATH=str(tmp_path))
    assert (done.returncode, "an image needs buildah, podman or docker" in done.stderr) == (2, True), done.stderr


def test_an_image_that_no_builder_has_is_not_pushed(call: Call, tmp_path: Path) -> None:
    make_builder(tmp_path / "bin", "podman", "exit 1")
    done = call("cluster", "image", "--registry", "registry.example", "--skip-build", PATH=str(tmp_path / "bin"))
    assert (done.returncode, "podman here has no image ptp-harness:" in done.stderr) == (2, True), done.stderr


def test_an_installed_package_builds_no_image(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_builder(tmp_path / "bin", "podman", "exit 0")
    monkeypatch.setattr("harness.cluster.image_build.assets_dir", lambda: tmp_path)
    done = call("cluster", "image", PATH=str(tmp_path / "bin"))
    assert (done.returncode, "and this is an installed package" in done.stderr) == (2, True), done.stderr
    assert "--skip-build pushes" in done.stderr


def test_a_program_to_come_along_has_to_be_one(call: Call, tmp_path: Path) -> None:
    make_builder(tmp_path / "bin", "podman", "exit 0")
    done = call("cluster", "image", "--with", "pulumi", PATH=str(tmp_path / "bin"))
    assert (done.returncode, "pulumi is no program" in done.stderr) == (2, True), done.stderr


def test_docker_has_no_flag_for_registries_without_https(call: Call, tmp_path: Path) -> None:
    make_builder(tmp_path / "bin", "docker", "exit 0")
    words = ("--registry", "registry.example", "--skip-build", "--insecure")
    done = call("cluster", "image", *words, PATH=str(tmp_path / "bin"))
    assert (done.returncode, "only where its daemon allows it" in done.stderr) == (2, True), done.stderr

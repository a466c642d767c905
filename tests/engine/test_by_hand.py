"""The chapter "By hand" of docs/ec2.md, run as it stands: in a copy of the repository, by the real pulumi."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, Double, left

PAGE = (ROOT / "docs/ec2.md").read_text()


def blocks() -> list[list[str]]:
    """The commands of the chapter's shell blocks, without comments."""
    chapter = PAGE.split("## By hand")[1].split("\n## ")[0]
    found = re.findall(r"^```sh\n(.*?)^```", chapter, re.MULTILINE | re.DOTALL)
    return [[re.sub(r"\s+#.*", "", line) for line in block.splitlines()] for block in found]


def elsewhere(lines: list[str], folder: Path) -> list[str]:
    """The same with the state in another folder than the home of whoever runs the tests, and with nothing fetched."""
    (folder.parent / "backend").mkdir(exist_ok=True)
    assert "pulumi login --local" in lines
    assert "pulumi install" in lines
    there = {"pulumi login --local": f"pulumi login file://{folder.parent}/backend", "pulumi install": "true"}
    return [there.get(line, line) for line in lines]


@pytest.fixture
def checkout(tmp_path: Path, double: Double, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, str]) -> Path:
    """A copy with what Pulumi needs, and a user's home with an SSH key. The network is left out: nothing is fetched."""
    folder = tmp_path / "checkout"
    for name in ("infra", "harness"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    (folder / ".venv").symlink_to(sys.prefix)
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home/.ssh/id_ed25519.pub").write_text(keys[1])
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "PTP_HARNESS_STATE_DIR": str(tmp_path / "state"),
        "PULUMI_HOME": str(tmp_path / "pulumi"),
        "PULUMI_SKIP_CONFIRMATIONS": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return folder


def shell(folder: Path, lines: list[str]) -> str:
    script = "set -eu\n" + "\n".join(lines)
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_chapter_works_as_it_stands(checkout: Path, double: Double) -> None:
    make, use, remove = blocks()
    offline = elsewhere(make, checkout)
    assert offline[-1] == "pulumi up"
    passphrase = [line for line in offline if line.startswith("export")]
    said = shell(checkout, [*offline[:-1], "pulumi config set controllerCidr 192.0.2.7/32", "pulumi up"])
    assert "+ 5 created" in said

    shell(checkout, [*passphrase, *use])
    told = yaml.safe_load((checkout / "inventory.yml").read_text())["all"]["hosts"]["m7i.large"]
    assert told["ansible_user"] == "ec2-user"
    known = (Path(os.environ["HOME"]) / ".ssh/known_hosts").read_text()
    assert known.startswith(f"{told['ansible_host']} ssh-ed25519 ")

    assert "5 unchanged" in shell(checkout, [*passphrase, "pulumi up"])
    assert len(left(double.ec2(), "by-hand")) == 4
    shell(checkout, [*passphrase, *remove])
    assert left(double.ec2(), "by-hand") == []


def test_a_mistake_is_one_sentence_and_no_traceback(checkout: Path, double: Double) -> None:
    make = elsewhere(blocks()[0], checkout)[:-1]
    shell(checkout, [*make, "pulumi config set controllerCidr 0.0.0.0/0"])
    argv = ["pulumi", "up", "--non-interactive", "--skip-preview", "--color", "never"]
    environ = {**os.environ, "PULUMI_CONFIG_PASSPHRASE": "choose-one"}
    done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, timeout=300, env=environ)
    assert done.returncode != 0
    assert "controllerCidr: '0.0.0.0/0' is not IPv4 networks such as 192.0.2.7/32" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert left(double.ec2(), "by-hand") == []

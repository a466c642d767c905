"""The recipes for pipelines: the page shows the files, checkers know them, and the script does what it promises."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "pipelines"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
PAGE = (ROOT / "docs" / "pipeline-recipes.md").read_text()
SCRIPT = FOLDER / "qualify-clocks.sh"


def named(path: Path) -> str:
    return str(path.relative_to(FOLDER))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_the_page_shows_each_file_as_it_is(path: Path) -> None:
    name = f"examples/pipelines/{named(path)}"
    shown = re.search(rf"^\[`{re.escape(name)}`\]\(\.\./{re.escape(name)}\):\n\n```\w*\n(.*?)^```$", PAGE, re.M | re.S)
    assert shown is not None, f"docs/pipeline-recipes.md does not show {name}"
    assert shown[1] == path.read_text()


def test_the_page_shows_nothing_that_is_not_there() -> None:
    shown = re.findall(r"^\[`examples/pipelines/([^`]+)`\]", PAGE, re.M)
    assert sorted(shown) == sorted(map(named, FILES))


def commands(node: Any) -> Iterator[str]:
    """The commands of ours in a file of YAML, each as a line of a shell."""
    for line in str(node).splitlines() if isinstance(node, str) else ():
        yield from re.findall(r"(ptp-harness [^|&>]+)", line.split(" || test")[0])
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from commands(inner)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".yml"], ids=named)
def test_every_command_in_a_recipe_parses(path: Path, parsed: Callable[[str], None]) -> None:
    found = [line for line in commands(yaml.safe_load(path.read_text())) if "pip install" not in line]
    assert {line.split()[1] for line in found} >= {"run", "diff", "sweep"}
    for line in found:
        parsed(line)


# --- what checkers say ------------------------------------------------------------------------------------------------


def check(*argv: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=120)


@pytest.mark.programs
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck")
def test_shellcheck_has_nothing_to_say_of_the_script(tmp_path: Path) -> None:
    done = check("shellcheck", SCRIPT)
    assert (done.returncode, done.stdout) == (0, "")
    bad = tmp_path / "bad.sh"
    bad.write_text("#!/bin/bash\nrm -r $1\n")
    assert check("shellcheck", bad).returncode == 1


@pytest.mark.programs
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("kind", ["service", "timer"])
def test_systemd_knows_the_units(tmp_path: Path, kind: str) -> None:
    """The programs are not installed here: an installed one stands for them."""
    for path in (FOLDER / "systemd").iterdir():
        (tmp_path / path.name).write_text(re.sub(r"/usr/local/bin/[\w-]+", "/usr/bin/env", path.read_text()))
    unit = tmp_path / f"ptp-harness-clocks.{kind}"
    done = check("systemd-analyze", "verify", unit)
    assert (done.returncode, done.stderr) == (0, "")
    wrong = {"service": ("KillMode=mixed", "KillMode=mixt"), "timer": ("02:17", "27:17")}[kind]
    unit.write_text(unit.read_text().replace(*wrong))
    assert unit.name in check("systemd-analyze", "verify", unit).stderr


def refused_by_schema(name: str, path: Path) -> str:
    """What check-jsonschema's copy of a published schema says against a file; empty if nothing."""
    argv = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", path)
    done = check(*argv)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.programs
@pytest.mark.parametrize(
    ("schema", "file", "wrong"),
    [
        ("github-workflows", "github/clocks.yml", ("runs-on:", "runs_on:")),
        ("gitlab-ci", "gitlab/clocks.gitlab-ci.yml", ("when: always", "when: allways")),
    ],
)
def test_the_published_schemas_know_the_files(tmp_path: Path, schema: str, file: str, wrong: tuple[str, str]) -> None:
    path = FOLDER / file
    assert refused_by_schema(schema, path) == ""
    bad = tmp_path / path.name
    bad.write_text(path.read_text().replace(*wrong))
    assert "validation errors" in refused_by_schema(schema, bad)


def kubernetes_mistakes(document: Mapping[str, Any]) -> list[str]:
    schema = json.loads((ROOT / "tests" / "data" / "kubernetes" / "schema-1.37.json").read_text())
    validator = jsonschema.Draft202012Validator(schema | {"$ref": f"#/$defs/{document['kind']}"})
    return [error.message for error in validator.iter_errors(document)]


def test_kubernetes_schema_knows_the_file() -> None:
    volume, job = yaml.safe_load_all((FOLDER / "kubernetes" / "clocks.yaml").read_text())
    assert [kubernetes_mistakes(document) for document in (volume, job)] == [[], []]
    assert kubernetes_mistakes(job | {"specs": {}}) == [
        "Additional properties are not allowed ('specs' was unexpected)"
    ]
    spec = job["spec"]
    assert (spec["concurrencyPolicy"], spec["jobTemplate"]["spec"]["backoffLimit"]) == ("Forbid", 0)
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    claims = [each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert claims == [volume["metadata"]["name"]]
    (container,) = pod["containers"]
    environ = {each["name"]: each["value"] for each in container["env"]}
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert environ["PTP_HARNESS_STATE_DIR"] == mounts["state"]
    assert {each["name"] for each in pod["volumes"]} == set(mounts)


def test_the_table_of_cron_has_lines_that_cron_reads() -> None:
    lines = [line for line in (FOLDER / "cron" / "ptp-harness-clocks").read_text().splitlines() if line.strip()]
    entries = [line for line in lines if not re.match(r"#|\w+=\S+$", line)]
    assert len(entries) == 1
    assert re.fullmatch(r"(?:[\d*/,-]+\s+){5}ptp-harness\s+qualify-clocks /\S+ /\S+", entries[0])
    assert "%" not in entries[0], "cron makes a line end of it"


# --- the script -------------------------------------------------------------------------------------------------------

Start = Callable[..., "subprocess.Popen[str]"]
UNKNOWN_HOST = "all: {hosts: {mine: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n"
"""A host that nobody can log in to, as its key is not known: a whole run without a guest, inconclusive at once."""


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the script with the real command behind a line that notes each call, as cron does."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "ptp-harness"
    command.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec {sys.executable} -m harness "$@"\n')
    command.chmod(0o755)
    (tmp_path / "hosts.yaml").write_text(UNKNOWN_HOST)
    (tmp_path / "campaign.yaml").write_text(
        "bench: hosts\ninventory: hosts.yaml\ninstance_types: [all]\nread_only: true\nmeasure: {duration: 30s}\n"
    )
    environ = {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": f"{ROOT}",
        "HOME": str(tmp_path),
        "PTP_HARNESS_STATE_DIR": str(tmp_path / "state"),
    }

    def run(campaign: str = "campaign.yaml", **more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [SCRIPT, campaign, "reports"],
            cwd=tmp_path,
            env=environ | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def verbs(folder: Path) -> list[str]:
    """The commands that the script called, in order."""
    return [line.split()[0] for line in (folder / "calls").read_text().splitlines()]


@pytest.mark.programs
def test_a_run_leaves_its_reports_and_a_sweep_follows(start: Start, tmp_path: Path) -> None:
    script = start(BASELINE="default")
    out, err = script.communicate(timeout=300)
    assert (script.returncode, out) == (3, "")
    assert "INCONCLUSIVE" in err
    assert "exit code 3; reports: reports/" in err
    latest = tmp_path / "reports" / "latest"
    assert {path.name for path in latest.iterdir()} == {"report.json", "report.xml", "report.html", "run.log"}
    assert json.loads((latest / "report.json").read_text())["exit_code"] == 3
    assert ElementTree.parse(latest / "report.xml").getroot().tag == "testsuites"
    assert verbs(tmp_path) == ["run", "sweep", "diff"]
    log = (latest / "run.log").read_text()
    assert "nothing to remove" in log
    assert "the baseline 'default' is empty" in log


@pytest.mark.programs
def test_a_later_run_is_compared_with_the_baseline(start: Start, tmp_path: Path) -> None:
    start().communicate(timeout=300)
    first = json.loads((tmp_path / "reports" / "latest" / "report.json").read_text())["run"]
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "harness", "baseline", "add", first], env=environ, check=True, timeout=120)
    script = start(BASELINE="default")
    script.communicate(timeout=300)
    suite = ElementTree.parse(tmp_path / "reports" / "latest" / "diff.xml").getroot()[0]
    assert str(suite.get("name")).endswith(f" against {first}")
    assert script.returncode == 3


@pytest.mark.programs
def test_a_campaign_that_is_wrong_ends_with_2_and_a_sweep(start: Start, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("bench: moon\n")
    script = start("wrong.yaml")
    _, err = script.communicate(timeout=300)
    assert script.returncode == 2
    assert "wrong.yaml" in err
    assert verbs(tmp_path) == ["run", "sweep"]
    assert [path.name for path in (tmp_path / "reports" / "latest").iterdir()] == ["run.log"]


@pytest.mark.programs
def test_two_are_never_at_work_at_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with (tmp_path / "state" / "qualify-clocks.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        script = start()
        out, err = script.communicate(timeout=60)
    assert (script.returncode, out) == (75, "")
    assert "is at work: nothing was done" in err
    assert not (tmp_path / "calls").exists()
    assert list((tmp_path / "reports").iterdir()) == []


@pytest.mark.programs
def test_a_script_that_is_asked_to_stop_stops_its_run_and_sweeps(start: Start, tmp_path: Path) -> None:
    """The host's key is known, and nobody listens: the run tries again and again."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceholderPlaceholderPlaceholderPlaceholder"
    (tmp_path / "hosts.yaml").write_text(UNKNOWN_HOST)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:1 {key}\n")
    script = start(PTP_HARNESS_SSH_TRIES="100", PTP_HARNESS_SSH_BACKOFF="600")
    ends = time.monotonic() + 120
    while not any((tmp_path / "state").glob("runs/*")) and time.monotonic() < ends:
        time.sleep(0.2)
    script.send_signal(signal.SIGTERM)
    _, err = script.communicate(timeout=300)
    assert script.returncode == 130
    assert "exit code 130; reports: reports/" in err
    assert verbs(tmp_path) == ["run", "sweep"]


@pytest.mark.programs
def test_a_script_without_its_arguments_says_how_it_is_called(tmp_path: Path) -> None:
    done = subprocess.run([SCRIPT, "campaign.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "CAMPAIGN REPORTS" in done.stderr

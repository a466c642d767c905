"""What deploy/ holds: checkers know each file, nothing is open that need not be, figures have the names that we give.

The image, the units and Prometheus are tried for real in tests/packaging.
"""

import inspect
import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import __version__
from harness.cli import watch_worker
from tests.servers import prometheus

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SCRIPTS = [DEPLOY / "image" / "build", DEPLOY / "compose" / "make-secrets"]
WORKER = "ptp-harness-watch-worker@.service"
MOST_EXPOSED = {"ptp-harness-serve.service": 15, "ptp-harness-work.service": 20, WORKER: 15}
"""Tenths of the points that systemd-analyze gives for what a unit may do; 100 is everything."""


def check(*argv: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=120, check=False)


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text()))


# --- compose ----------------------------------------------------------------------------------------------------------


@pytest.mark.programs
def test_the_published_schema_knows_the_compose_file(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    done = check(*argv, COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("healthcheck:", "health_check:"))
    assert check(*argv, wrong).returncode == 1


def test_each_service_has_few_rights_a_check_of_its_health_and_no_port_beyond_loopback() -> None:
    for name, service in compose()["services"].items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("cap_drop") == ["ALL"] or name == "database", name  # its first start changes owners
        assert service.get("healthcheck") or name == "service", name  # the image has one
        assert service["restart"] == "unless-stopped", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert not {"privileged", "pid", "network_mode", "devices"} & set(service), name
    ours = [compose()["services"][name] for name in ("service", "worker")]
    assert all(service["read_only"] and service["init"] for service in ours)
    assert compose()["networks"]["database"] == {"internal": True}


def test_every_secret_is_a_file_that_the_script_makes(tmp_path: Path) -> None:
    document = compose()
    used = {secret for service in document["services"].values() for secret in service.get("secrets", ())}
    assert used == set(document["secrets"])
    settings = {**compose()["services"]["database"]["environment"], **compose()["services"]["grafana"]["environment"]}
    passwords = {name: value for name, value in settings.items() if "PASSWORD" in name}
    assert all(name.endswith("_FILE") and value.startswith("/run/secrets/") for name, value in passwords.items())
    assert len(passwords) == 2
    script = tmp_path / "make-secrets"
    shutil.copy(SCRIPTS[1], script)
    assert check(script).returncode == 0
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert {f"secrets/{name}" for name in made} == {entry["file"] for entry in document["secrets"].values()}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    password = made["database-password"]
    assert re.fullmatch(r"[0-9a-f]{48}", password)
    assert made["ledger-url"] == f"postgresql://ptp:{password}@database/ptp\n"
    assert "is there already" in check(script).stdout
    assert (tmp_path / "secrets" / "database-password").read_text() == password


def test_every_file_that_a_container_sees_is_here() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (COMPOSE.parent / source).exists(), volume


def test_every_command_of_compose_parses(parsed: Callable[[str], None]) -> None:
    services = compose()["services"]
    for name in ("service", "worker"):
        parsed(f"ptp-harness {' '.join(services[name]['command'])}")
    parsed(" ".join(services["worker"]["healthcheck"]["test"][1:]))


def test_no_file_names_the_host_of_a_registry() -> None:
    images = [service["image"] for service in compose()["services"].values()]
    defaults = [re.fullmatch(r"\$\{\w+:-(.+)\}", image)[1] for image in images]  # type: ignore[index]
    containerfile = (DEPLOY / "image" / "Containerfile").read_text()
    defaults += re.findall(r"^ARG BASE=(\S+)$", containerfile, re.MULTILINE)
    assert len(defaults) == 6
    assert [image for image in defaults if "." in image.rpartition("/")[0] or image.count("/") > 1] == []
    assert f"ptp-harness:{__version__}" in defaults
    assert not re.search(r"index-url|extra-index|https?://(?!127\.0\.0\.1)", containerfile)


@pytest.mark.programs
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say_of_the_scripts(script: Path) -> None:
    done = check("shellcheck", script)
    assert (done.returncode, done.stdout) == (0, "")


def test_without_a_builder_the_script_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    argv = [tmp_path / "bash", SCRIPTS[0], "dist/x.whl"]
    done = subprocess.run(argv, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "needs buildah, podman or docker, and none is on PATH" in done.stderr


# --- systemd ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with all drop-ins; the program is not installed here: an installed one stands for it."""
    for path in (DEPLOY / "systemd").iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/local/bin/ptp-harness", "/usr/bin/env"))
    for unit in UNITS:
        folder = tmp_path / f"{unit.name}.d"
        folder.mkdir()
        for dropin in ("postgresql.conf", "tls.conf") if "serve" in unit.name else ("postgresql.conf",):
            shutil.copy(tmp_path / dropin, folder)
    return tmp_path


@pytest.mark.programs
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("name", MOST_EXPOSED)
def test_systemd_knows_the_units_of_the_service_and_they_may_do_little(units: Path, name: str) -> None:
    unit = units / name
    done = check("systemd-analyze", "verify", unit)
    assert (done.returncode, done.stderr) == (0, "")
    exposed = ("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED[name]}", unit)
    assert check(*exposed).returncode == 0, check(*exposed).stdout
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystem=strickt"))
    assert "strickt" in check("systemd-analyze", "verify", unit).stderr
    loose = "\n".join(line for line in unit.read_text().splitlines() if not line.startswith(("System", "Capab")))
    unit.write_text(loose)
    assert check(*exposed).returncode == 1


def test_campaigns_outlive_their_unit() -> None:
    work = (DEPLOY / "systemd" / "ptp-harness-work.service").read_text()
    settings = dict(line.split("=", 1) for line in work.splitlines() if re.match(r"\w+=", line))
    assert (settings["KillMode"], settings["OOMPolicy"], settings["Restart"]) == ("process", "continue", "always")
    assert "PrivateTmp" not in settings, "it would be emptied under them"
    # A process in another space of users or processes is hidden from the next one, which would take it for dead.
    for unit in UNITS:
        assert not re.search(r"^(PrivateUsers|DynamicUser|PrivatePIDs|ProcSubset)=", unit.read_text(), re.MULTILINE)


def test_every_command_of_a_unit_parses(parsed: Callable[[str], None]) -> None:
    lines = [
        line
        for path in (DEPLOY / "systemd").iterdir()
        for line in re.findall(r"^ExecStart=/usr/local/bin/(\S.*)$", path.read_text(), re.MULTILINE)
    ]
    assert len(lines) == 4
    for line in lines:
        plain = line.replace("${LISTEN}", "127.0.0.1:0").replace("%d", "/run").replace("%l-%i", "rack7-1")
        parsed(re.sub(r" \$\w+_FLAGS", "", plain))


def test_a_worker_of_the_watch_has_time_to_give_its_streams_to_others_before_anything_of_it_is_ended() -> None:
    worker = (DEPLOY / "systemd" / WORKER).read_text()
    settings = dict(line.split("=", 1) for line in worker.splitlines() if re.match(r"\w+=", line))
    assert (settings["KillMode"], settings["Restart"]) == ("mixed", "always")
    drain_s = inspect.signature(watch_worker.worker).parameters["drain_s"].default
    assert float(settings["TimeoutStopSec"]) >= 2 * drain_s


# --- Prometheus and Grafana -------------------------------------------------------------------------------------------


def dashboard() -> dict[str, Any]:
    return dict(json.loads((DEPLOY / "grafana" / "ptp-harness.json").read_text()))


def expressions() -> Iterator[str]:
    """Every expression of the dashboard and of the alerts, with each variable replaced by what chooses all."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield re.sub(r"\$(bench|type)\b", ".*", target["expr"])
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            series = re.fullmatch(r"label_values\((.+), \w+\)", variable["definition"])
            assert series is not None
            yield series[1].replace("$bench", ".*")
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_the_dashboard_has_each_panel_once_and_reads_the_source_that_is_provisioned() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert titles == ["Clocks", "Queue", "Stages", "HTTP and ledger"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert max(columns) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    chosen = dashboard()["templating"]["list"][0]["current"]["value"]
    assert [source["uid"] for source in sources] == [chosen]
    used = {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", ())}
    assert used == {"${datasource}"}


def test_the_addresses_between_the_programs_are_those_of_compose() -> None:
    services = compose()["services"]
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (target,) = scraped[0]["static_configs"][0]["targets"]
    assert target == "service:8440"
    assert services["service"]["command"][-1].endswith(":8440")
    assert scraped[0]["authorization"]["credentials_file"] == "/run/secrets/metrics-token"
    assert services["prometheus"]["secrets"] == ["metrics-token"]
    for first, second in (("service", "prometheus"), ("prometheus", "grafana"), ("service", "database")):
        assert set(services[first]["networks"]) & set(services[second]["networks"])


@pytest.mark.programs
def test_prometheus_knows_its_files_and_every_expression(tmp_path: Path) -> None:
    programs = prometheus.find_programs()
    if programs is None:
        pytest.skip("needs Prometheus' promtool, which is not installed")
    config = prometheus.write_config(tmp_path, target="127.0.0.1:1", token="x")
    done = check(programs / "promtool", "check", "config", config)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = [{"record": f"each:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    assert len(rules) > 30
    (tmp_path / "all.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = check(programs / "promtool", "check", "rules", tmp_path / "all.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "all.yml").write_text("groups: [{name: all, rules: [{record: x, expr: 'sum(('}]}]\n")
    assert check(programs / "promtool", "check", "rules", tmp_path / "all.yml").returncode != 0


ALARMS = {
    "ServiceAway": {'up{job="ptp-harness", instance="a"}': "0x20"},
    "LedgerUnread": {'up{job="ptp-harness", instance="a"}': "1x20"},
    "CampaignsWait": {"ptp_harness_service_oldest_waiting_seconds": "20000x30"},
    "HostsBegunAgain": {"ptp_harness_service_retaken_hosts": "0+1x30"},
    "ScheduleFails": {"ptp_harness_service_schedules_troubled": "1x30"},
    "ClockFails": {
        'ptp_harness_service_clock_outcome{bench="ec2", instance_type="m7i.large", outcome="FAIL"}': "0x10 1x20"
    },
    "RequestsFail": {
        'ptp_harness_service_requests_total{route="/v1/tasks", status="200"}': "0+90x30",
        'ptp_harness_service_requests_total{route="/v1/tasks", status="500"}': "0+10x30",
    },
}
"""What each alert is about, one value a minute."""

FINE = {
    'up{job="ptp-harness", instance="a"}': "1x30",
    'ptp_harness_service_ledger_figures_age_seconds{instance="a"}': "10x30",
    "ptp_harness_service_oldest_waiting_seconds": "60x30",
    "ptp_harness_service_retaken_hosts": "1x30",
    "ptp_harness_service_schedules_troubled": "0x30",
    'ptp_harness_service_clock_outcome{bench="ec2", instance_type="m7i.large", outcome="FAIL"}': "0x30",
    'ptp_harness_service_requests_total{route="/v1/tasks", status="200"}': "0+90x30",
}


def firing(folder: Path, programs: Path, series: dict[str, str], alerts: dict[str, bool]) -> str:
    """What promtool says against this claim about which alerts fire after half an hour; empty if nothing."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["annotations"], rule["expr"] = {}, f"count({rule['expr']})"
            rule["labels"] = {}
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    tests = [
        {"eval_time": "25m", "alertname": name, "exp_alerts": [{"exp_labels": {}}] if fires else []}
        for name, fires in alerts.items()
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": inputs, "alert_rule_test": tests}
    (folder / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}))
    done = check(programs / "promtool", "test", "rules", folder / "test.yml")
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.programs
def test_each_alert_fires_for_what_it_is_about_and_for_nothing_else(tmp_path: Path) -> None:
    programs = prometheus.find_programs()
    if programs is None:
        pytest.skip("needs Prometheus' promtool, which is not installed")
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == set(ALARMS)
    assert firing(tmp_path, programs, FINE, dict.fromkeys(ALARMS, False)) == ""
    assert firing(tmp_path, programs, FINE, {"ClockFails": True}) != ""
    for name, series in ALARMS.items():
        assert firing(tmp_path, programs, series, {name: True}) == "", name

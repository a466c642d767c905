"""The alerts about watched clocks: each fires for what it is about, and ends by hysteresis; and the dashboard."""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import prometheus

pytestmark = pytest.mark.programs

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
PREFIX = "ptp_harness_watch"
HOST = 'stream="host-1"'
UNKNOWN, SILENT = f'{PREFIX}_streams{{state="unknown"}}', f'{PREFIX}_workers{{state="silent"}}'
BEYOND = f'{PREFIX}_clock_beyond_limit_ratio{{{HOST}, quantity="phc_offset_ns", statistic="p99_abs"}}'
MEDIAN = BEYOND.replace("p99_abs", "median_abs")
UNSENT = f'{PREFIX}_unsent_age_seconds{{target="http://store", lane="live"}}'

FINE = {
    f'{PREFIX}_clock_state{{{HOST}, state="ok"}}': "1x200",
    f'{PREFIX}_clock_state{{{HOST}, state="degraded"}}': "0x200",
    f'{PREFIX}_clock_state{{{HOST}, state="broken"}}': "0x200",
    f'{PREFIX}_clock_state{{{HOST}, state="unknown"}}': "0x200",
    BEYOND: "0.001x200",
    MEDIAN: "0.05x200",
    BEYOND.replace("p99_abs", "max"): "0x200",
    f'{PREFIX}_streams{{state="ok"}}': "100x200",
    UNKNOWN: "1x200",
    f"{PREFIX}_led": "1x200",
    SILENT: "0x200",
    f"{PREFIX}_streams_unassigned": "0x200",
    f"{PREFIX}_streams_unowned": "0x200",
    f"{PREFIX}_worker_local_mode": "0x200",
    f"{PREFIX}_worker_spool_dropped_chunks_total": "7x200",
    UNSENT: "30x200",
    f"{PREFIX}_incidents_untold": "0x200",
    f"{PREFIX}_oldest_chunk_age_seconds": "200000x200",
}
"""A good watch, one value each half minute."""

ALARMS: dict[str, dict[str, str]] = {
    "WatchClockBroken": {f'{PREFIX}_clock_state{{{HOST}, state="broken"}}': "1x200"},
    "WatchClockDegraded": {f'{PREFIX}_clock_state{{{HOST}, state="degraded"}}': "1x200"},
    "WatchClockUnseen": {f'{PREFIX}_clock_state{{{HOST}, state="unknown"}}': "1x200"},
    "WatchClockNearLimit": {BEYOND: "0.008x200"},
    "WatchManyClocksUnseen": {UNKNOWN: "20x200"},
    "WatchIncident": {f'{PREFIX}_incidents{{kind="kernel"}}': "1x200"},
    "WatchLeaderless": {f"{PREFIX}_led": "0x200"},
    "WatchWorkersSilent": {SILENT: "1x200"},
    "WatchStreamsLeftOut": {f"{PREFIX}_streams_unassigned": "3x200", f"{PREFIX}_streams_unowned": "3x200"},
    "WatchStreamsUnowned": {f"{PREFIX}_streams_unowned": "3x200"},
    "WatchLocalMode": {f"{PREFIX}_worker_local_mode": "1x200"},
    "WatchSpoolOverflows": {f"{PREFIX}_worker_spool_dropped_chunks_total": "0+1x200"},
    "WatchSendingLags": {UNSENT: "700x200"},
    "WatchIncidentsUntold": {f"{PREFIX}_incidents_untold": "1x200"},
    "WatchArchiveLags": {f"{PREFIX}_oldest_chunk_age_seconds": "400000x400"},
}
"""What each alert is about."""

AFTER = {"WatchArchiveLags": "90m"}


@pytest.fixture
def promtool() -> Path:
    program = prometheus.find_program("promtool")
    if program is None:
        pytest.skip("needs promtool, which is not installed")
    return program


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "watch.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def write_rules(folder: Path) -> None:
    """Write our rules without what promtool would compare beside the alert's name: labels, annotations."""
    document = yaml.safe_load((FOLDER / "watch.yml").read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["annotations"], rule["labels"] = {}, {}
                rule["expr"] = rule["expr"] if "ALERTS" in rule["expr"] else f"count({rule['expr']})"
    (folder / "rules.yml").write_text(yaml.safe_dump(document))


LABELS = {
    "WatchClockNearLimit": {"stream": "host-1", "quantity": "phc_offset_ns", "statistic": "p99_abs"},
    "WatchSendingLags": {"target": "http://store", "lane": "live"},
}


def refute(
    folder: Path,
    promtool: Path,
    series: dict[str, str],
    claims: Sequence[tuple[str, str, bool]],
    labels: dict[str, str] | None = None,
) -> str:
    """What promtool says against these claims: at a time, an alert fires or not; empty if nothing."""
    write_rules(folder)
    tests = [
        {
            "eval_time": at,
            "alertname": name,
            "exp_alerts": [{"exp_labels": labels or LABELS.get(name, {})}] if fires else [],
        }
        for at, name, fires in claims
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "30s", "input_series": inputs, "alert_rule_test": tests}
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "30s", "tests": [test]}
    (folder / "test.yml").write_text(yaml.safe_dump(document))
    argv = [str(promtool), "test", "rules", str(folder / "test.yml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_prometheus_2_42_takes_the_rules_with_their_times_to_keep_firing(promtool: Path, tmp_path: Path) -> None:
    def check(path: Path) -> "subprocess.CompletedProcess[str]":
        argv = [str(promtool), "check", "rules", str(path)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    done = check(FOLDER / "watch.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "watch.yml"
    wrong.write_text((FOLDER / "watch.yml").read_text().replace("keep_firing_for", "keeps_firing_for"))
    assert check(wrong).returncode != 0
    alerts = [rule for rule in rules() if "alert" in rule]
    assert {rule["alert"] for rule in alerts} == set(ALARMS)
    assert [rule["alert"] for rule in alerts if "keep_firing_for" not in rule] == []
    at_once = {rule["alert"] for rule in alerts if "for" not in rule}
    assert at_once == {"WatchIncident", "WatchSpoolOverflows"}


def test_each_alert_fires_for_what_it_is_about_and_for_nothing_else(promtool: Path, tmp_path: Path) -> None:
    assert refute(tmp_path, promtool, FINE, [("80m", name, False) for name in ALARMS]) == ""
    assert refute(tmp_path, promtool, FINE, [("80m", "WatchClockBroken", True)]) != ""
    for name, series in ALARMS.items():
        assert refute(tmp_path, promtool, FINE | series, [(AFTER.get(name, "80m"), name, True)]) == "", name


def test_a_median_comes_near_its_limit_when_a_quarter_is_beyond_it(promtool: Path, tmp_path: Path) -> None:
    labels = {**LABELS["WatchClockNearLimit"], "statistic": "median_abs"}
    assert refute(tmp_path, promtool, FINE | {MEDIAN: "0.3x200"}, [("80m", "WatchClockNearLimit", True)], labels) == ""


def test_a_stream_that_has_just_begun_is_no_news(promtool: Path, tmp_path: Path) -> None:
    series = FINE | ALARMS["WatchClockUnseen"]
    series[f'{PREFIX}_clock_reason{{{HOST}, reason="too_few_samples"}}'] = "1x20 _x180"
    assert (
        refute(tmp_path, promtool, series, [("8m", "WatchClockUnseen", False), ("30m", "WatchClockUnseen", True)]) == ""
    )


def every_minute(first: int, last: int, name: str, fires: bool) -> Iterator[tuple[str, str, bool]]:
    return ((f"{minute}m", name, fires) for minute in range(first, last + 1))


@pytest.mark.parametrize(
    ("name", "series", "in_band", "below"),
    [
        ("WatchClockNearLimit", BEYOND, ("0.006", "0.004"), "0.001"),
        ("WatchManyClocksUnseen", UNKNOWN, ("13", "8"), "2"),
        ("WatchSendingLags", UNSENT, ("650", "500"), "60"),
    ],
)
def test_a_hundred_crossings_of_a_limit_are_one_alert(
    promtool: Path, tmp_path: Path, name: str, series: str, in_band: tuple[str, str], below: str
) -> None:
    """It fires all the time while the figure crosses the upper limit, and ends some minutes below the lower one."""
    over, under = in_band
    values = f"{below}x9 {over}x9 " + " ".join([under, over] * 50) + f" {under}x20 {below}x40"
    claims = [
        *every_minute(1, 5, name, False),
        *every_minute(9, 68, name, True),
        *every_minute(78, 85, name, False),
    ]
    assert refute(tmp_path, promtool, FINE | {series: values}, claims) == ""
    never = f"{below}x9 " + " ".join([under] * 120)  # between the limits from the beginning on: no alert
    assert refute(tmp_path, promtool, FINE | {series: never}, [*every_minute(1, 60, name, False)]) == ""


def test_a_clock_that_is_broken_again_and_again_is_one_alert(promtool: Path, tmp_path: Path) -> None:
    broken = f'{PREFIX}_clock_state{{{HOST}, state="broken"}}'
    values = "0x9 " + " ".join(["1x2 0x4"] * 20) + " 0x60"  # a minute and a half in three and a half minutes
    claims = [*every_minute(1, 4, "WatchClockBroken", False), *every_minute(6, 80, "WatchClockBroken", True)]
    claims += [*every_minute(90, 95, "WatchClockBroken", False)]
    assert refute(tmp_path, promtool, FINE | {broken: values}, claims) == ""


def test_alertmanager_takes_the_example(tmp_path: Path) -> None:
    program = prometheus.find_program("amtool")
    if program is None:
        pytest.skip("needs amtool, which is not installed")
    argv = [str(program), "check-config", str(FOLDER / "alertmanager.yml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    named = {name for rule in document["inhibit_rules"] for name in _names(rule)}
    known = {rule["alert"] for file in ("rules.yml", "watch.yml") for rule in _alerts(file)}
    assert named <= known


def _names(rule: dict[str, Any]) -> Iterator[str]:
    for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
        yield from matcher.partition('"')[2].strip('"').split("|")


def _alerts(file: str) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((FOLDER / file).read_text())["groups"]:
        yield from (rule for rule in group["rules"] if "alert" in rule)


# --- the dashboard ----------------------------------------------------------------------------------------------------


def dashboard() -> dict[str, Any]:
    return dict(json.loads((FOLDER.parent / "grafana" / "ptp-harness-watch.json").read_text()))


def expressions() -> Iterator[str]:
    """Every expression of the dashboard, for all streams."""
    for panel in dashboard()["panels"]:
        yield from (target["expr"].replace("$stream", ".*") for target in panel.get("targets", ()))
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            series = re.fullmatch(r"label_values\((.+), \w+\)", variable["definition"])
            assert series is not None
            yield series[1]


def test_the_dashboard_has_each_panel_once_and_the_colours_of_states() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert max(columns) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", ())} == {"${datasource}"}
    compose = yaml.safe_load((FOLDER.parent / "compose" / "compose.yaml").read_text())
    mounted = [volume.split(":")[0] for volume in compose["services"]["grafana"]["volumes"]]
    assert "../grafana/ptp-harness-watch.json" in mounted


def test_promtool_knows_every_expression_of_the_dashboard(promtool: Path, tmp_path: Path) -> None:
    recorded = [{"record": f"each:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    assert len(recorded) > 25
    (tmp_path / "all.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))
    argv = [str(promtool), "check", "rules", str(tmp_path / "all.yml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

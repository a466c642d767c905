"""The Helm chart is what its program makes of the Kustomize base."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import __version__
from harness.cluster import jobs
from tools import chart


def test_the_chart_is_made_of_the_base() -> None:
    assert chart.find_differences() == [], "run `make chart`"


def test_a_chart_that_was_changed_by_hand_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(chart.CHART, tmp_path / "chart")
    monkeypatch.setattr(chart, "CHART", tmp_path / "chart")
    rights = tmp_path / "chart" / "templates" / "rights.yaml"
    rights.write_text(rights.read_text().replace("verbs: [list]", "verbs: [list, watch]"))
    (tmp_path / "chart" / "templates" / "more.yaml").write_text("")
    (tmp_path / "chart" / "values.yaml").unlink()
    assert chart.find_differences() == ["templates/more.yaml", "templates/rights.yaml", "values.yaml"]


def test_a_base_that_no_template_expresses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(chart.CLUSTER, tmp_path / "cluster")
    monkeypatch.setattr(chart, "CLUSTER", tmp_path / "cluster")
    file = tmp_path / "cluster" / "base" / "kustomization.yaml"
    file.write_text(file.read_text() + "namePrefix: team-\n")
    with pytest.raises(ValueError, match=r"has what no template expresses: \{'namePrefix'\}"):
        chart.make_chart()


def test_a_watch_that_no_template_expresses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(chart.CLUSTER, tmp_path / "cluster")
    monkeypatch.setattr(chart, "CLUSTER", tmp_path / "cluster")
    file = tmp_path / "cluster" / "watch" / "workers.yaml"
    file.write_text(file.read_text().replace("image: ptp-harness:", "image: other:"))
    with pytest.raises(ValueError, match="deploy/cluster/watch has 0 times 'image: ptp-harness:"):
        chart.make_chart()


def read_pod(part: str) -> dict[str, Any]:
    text = (chart.CLUSTER / "watch" / f"{part}.yaml").read_text()
    return dict(yaml.safe_load(text)["spec"]["template"]["spec"])


def test_pods_of_the_watch_get_what_pods_of_runs_get_and_may_do_no_more() -> None:
    run_pod = jobs.make_pod(
        jobs.PodOptions(image=f"ptp-harness:{__version__}"), [], lease_s=9, account=jobs.POD_ACCOUNT, reaches_api=False
    )
    (expected,) = run_pod["containers"]
    for part in ("workers", "leader"):
        pod = read_pod(part)
        (container,) = pod["containers"]
        for key in ("securityContext", "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks"):
            assert pod[key] == run_pod[key], (part, key)
        for key in ("image", "imagePullPolicy", "securityContext", "resources", "envFrom", "terminationMessagePolicy"):
            assert container[key] == expected[key], (part, key)
        for mount in expected["volumeMounts"]:
            assert mount in container["volumeMounts"], part
        urls = [each["value"] for each in container["env"] if each["name"] == "PTP_HARNESS_LEDGER_URL_FILE"]
        assert urls == [f"{jobs.SECRET_FOLDER}/{jobs.LEDGER_KEY}"]
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


def test_a_worker_of_the_watch_has_the_name_of_its_pod_and_time_to_give_its_streams_to_others(
    parsed: Callable[[str], None],
) -> None:
    pod = read_pod("workers")
    (container,) = pod["containers"]
    argv = container["args"]
    assert argv[argv.index("--name") + 1] == "$(POD_NAME)"
    (name,) = [each for each in container["env"] if each["name"] == "POD_NAME"]
    assert name["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    longest = "ptp-harness-watch-worker-6f9d8c7b5d-x2x9z"
    parsed(" ".join(["ptp-harness", *argv]).replace("$(POD_NAME)", longest))
    assert pod["terminationGracePeriodSeconds"] >= 2 * float(argv[argv.index("--drain-s") + 1])
    parsed(" ".join(["ptp-harness", *read_pod("leader")["containers"][0]["args"]]))


def test_nothing_beyond_the_namespace_is_granted_by_default() -> None:
    made = chart.make_chart()
    values = yaml.safe_load(made["values.yaml"])
    assert values["destructive"] is False
    assert values["watch"]["enabled"] is False
    for name, text in made.items():
        if "kind: Cluster" in text or "kind: Validating" in text:
            assert text.startswith("{{- if .Values.destructive }}\n"), name
            assert text.endswith("{{- end }}\n"), name

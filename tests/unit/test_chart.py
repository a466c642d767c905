"""The Helm chart is what its program makes of the Kustomize base."""

import shutil
from pathlib import Path

import pytest
import yaml

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


def test_nothing_beyond_the_namespace_is_granted_by_default() -> None:
    made = chart.make_chart()
    values = yaml.safe_load(made["values.yaml"])
    assert values["destructive"] is False
    for name, text in made.items():
        if "kind: Cluster" in text or "kind: Validating" in text:
            assert text.startswith("{{- if .Values.destructive }}\n"), name
            assert text.endswith("{{- end }}\n"), name

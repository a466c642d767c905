"""Make the Helm chart deploy/cluster/chart from the Kustomize base, so that both stay one description.

    python -m tools.chart [--check]

The files of the base stay as they are, with their comments; what a value of the chart may change is added. --check:
write nothing, and end with 1 where the chart is not what this would write.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "deploy" / "cluster"
CHART = CLUSTER / "chart"
LABELS = "ptp-harness.labels"
DESTRUCTIVE, WATCH = "destructive", "watch"

_GENERATED = "# Made from deploy/cluster/{folder}/{file} by `make chart`: change that file.\n"
_NAME = re.compile(r"^  name: (?P<name>\S+)$", re.MULTILINE)
_KNOWN_KEYS = {"apiVersion", "kind", "labels", "resources"}
_REPLICAS, _LAST_FLAG = "  replicas: 2\n", '"--spool-mb", "1024"]\n'
_IMAGE = '{{ .Values.watch.image | default (printf "ptp-harness:%s" .Chart.AppVersion) | quote }}'
_NAMESPACE = "namespace: ptp  # that of the base"

VALUES = """\
# Values of the chart ptp-harness. `ptp-harness cluster` knows the names of all objects: no value changes them.

# Labels of every object, such as those of a team.
labels: {}

# Annotations of the service accounts, such as a role of IAM by IRSA. The coordinator needs one, too:
#   accounts: {pod: {annotations: {eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/ptp-harness}}, ...}
# EKS pod identity needs none: its associations name the accounts.
accounts:
  coordinator:
    annotations: {}
  pod:
    annotations: {}

# Secrets of the namespace by which nodes pull the image: [{name: registry}].
imagePullSecrets: []

# Who may submit runs, as subjects of a RoleBinding:
#   submitters: [{kind: Group, name: timing-team, apiGroup: rbac.authorization.k8s.io}]
submitters: []

# Let coordinators make and remove namespaces of their own, for suites that do harm. This adds rights that reach beyond
# the namespace, and a policy that narrows them: see docs/cluster.md.
destructive: false

# Workers that sample watched clocks, and who leads them: see docs/watch.md. image: ptp-harness of the chart's version,
# unless another name is given; leaders: 0 where a service leads, which uses the same ledger; flags: more for each
# worker, such as [--capacity, "500"].
watch:
  enabled: false
  image: ""
  workers: 2
  leaders: 2
  flags: []
"""

SUBMITTERS = """\
{{- with .Values.submitters }}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: ptp-harness-submitters
  labels:
    {{- include "ptp-harness.labels" $ | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: ptp-harness-submitter
subjects:
  {{- toYaml . | nindent 2 }}
{{- end }}
"""

NOTES = """\
Namespace {{ .Release.Namespace }} has the accounts and rights of ptp-harness {{ .Chart.AppVersion }}.
Runs need a secret, too:

  kubectl create secret generic ptp-harness --namespace {{ .Release.Namespace }} \\
    --from-literal=ledger-url=postgresql://... --from-literal=evidence-url=s3://...

What else may be missing: ptp-harness cluster smoke --namespace {{ .Release.Namespace }} --registry REGISTRY
"""


def make_chart() -> dict[str, str]:
    """Return the text of each file of the chart, by its path in it. Raises ValueError for a base it cannot express."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    description = {
        "apiVersion": "v2",
        "name": "ptp-harness",
        "description": "What `ptp-harness cluster` needs in a namespace: accounts, rights, a network policy",
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": ">= 1.33.0-0",
    }
    base, destructive, watch = (_read_kustomization(folder) for folder in ("base", DESTRUCTIVE, WATCH))
    (pairs,) = base["labels"]
    for folder, described in ((DESTRUCTIVE, destructive), (WATCH, watch)):
        if described["labels"] != base["labels"]:
            raise ValueError(f"deploy/cluster/{folder} has other labels than the base")
    return {
        "Chart.yaml": yaml.safe_dump(description, sort_keys=False, width=120),
        "values.yaml": VALUES,
        "templates/_labels.tpl": _write_labels(pairs["pairs"]),
        "templates/NOTES.txt": NOTES,
        "templates/submitters.yaml": SUBMITTERS,
        **{f"templates/{file}": _make_template("base", file) for file in base["resources"]},
        **{f"templates/{DESTRUCTIVE}-{file}": _make_destructive(file) for file in destructive["resources"]},
        **{f"templates/{WATCH}-{file}": _make_watch(file, version) for file in watch["resources"]},
    }


def _read_kustomization(folder: str) -> Mapping[str, Any]:
    document: dict[str, Any] = yaml.safe_load((CLUSTER / folder / "kustomization.yaml").read_text())
    if unknown := set(document) - _KNOWN_KEYS:
        raise ValueError(f"deploy/cluster/{folder}/kustomization.yaml has what no template expresses: {unknown}")
    return document


def _write_labels(pairs: Mapping[str, str]) -> str:
    fixed = " ".join(f'"{key}" "{value}"' for key, value in pairs.items())
    return f'{{{{- define "{LABELS}" -}}}}\n{{{{ toYaml (merge (dict {fixed}) .Values.labels) }}}}\n{{{{- end }}}}\n'


def _make_destructive(file: str) -> str:
    text = _make_template(DESTRUCTIVE, file).replace(_NAMESPACE, "namespace: {{ .Release.Namespace }}")
    return f"{{{{- if .Values.{DESTRUCTIVE} }}}}\n{text}{{{{- end }}}}\n"


def _make_watch(file: str, version: str) -> str:
    """Make a template of the watch, with the values of its image and its numbers."""
    text = _make_template(WATCH, file)
    for part, number in (("worker", "workers"), ("leader", "leaders")):
        if f"name: ptp-harness-{WATCH}-{part}" in text and _REPLICAS in text:
            text = _replace(text, _REPLICAS, f"  replicas: {{{{ .Values.watch.{number} }}}}\n")
            text = _replace(text, f"image: ptp-harness:{version}\n", f"image: {_IMAGE}\n")
    if _LAST_FLAG in text:
        flags = "{{- with .Values.watch.flags }}{{ range . }}, {{ . | quote }}{{ end }}{{- end }}"
        text = _replace(text, _LAST_FLAG, f"{_LAST_FLAG[:-2]}{flags}]\n")
    return f"{{{{- if .Values.{WATCH}.enabled }}}}\n{text}{{{{- end }}}}\n"


def _replace(text: str, old: str, new: str) -> str:
    """Replace what is in a text once. Raises ValueError where it is not."""
    if text.count(old) != 1:
        raise ValueError(f"deploy/cluster/{WATCH} has {text.count(old)} times {old.strip()!r}, and not once")
    return text.replace(old, new)


def _make_template(folder: str, file: str) -> str:
    text = (CLUSTER / folder / file).read_text()
    if "{{" in text:
        raise ValueError(f"deploy/cluster/{folder}/{file} holds a template already")
    documents = "---\n".join(_add_values(document) for document in text.split("---\n"))
    return _GENERATED.format(folder=folder, file=file) + documents


def _add_values(document: str) -> str:
    """Add the values of the chart to the text of one object, right behind its name."""
    described = yaml.safe_load(document)
    if set(described["metadata"]) != {"name"}:
        raise ValueError(f"{described['kind']} {described['metadata']} has more than a name")
    lines = [f'  labels:\n    {{{{- include "{LABELS}" $ | nindent 4 }}}}\n']
    end = ""
    if described["kind"] == "ServiceAccount":
        part = described["metadata"]["name"].removeprefix("ptp-harness-")
        lines += _write_optional(f"accounts.{part}.annotations", "annotations", 2)
        end = "".join(_write_optional("imagePullSecrets", "imagePullSecrets", 0))
    named = _NAME.search(document)
    if named is None:
        raise ValueError(f"{described['kind']} has its name elsewhere")
    return f"{document[: named.end() + 1]}{''.join(lines)}{document[named.end() + 1 :]}{end}"


def _write_optional(value: str, key: str, indent: int) -> Iterator[str]:
    space = " " * indent
    yield f"{space}{{{{- with .Values.{value} }}}}\n"
    yield f"{space}{key}:\n"
    yield f"{space}  {{{{- toYaml . | nindent {indent + 2} }}}}\n"
    yield f"{space}{{{{- end }}}}\n"


def find_differences() -> list[str]:
    """Return the files of the chart that are missing, are not as they would be written, or are not its own."""
    wanted = make_chart()
    present = {str(path.relative_to(CHART)): path.read_text() for path in CHART.rglob("*") if path.is_file()}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def main() -> int:
    """Write the chart, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 for a chart that is not right")
    differences = find_differences()
    if parser.parse_args().check:
        for name in differences:
            print(f"deploy/cluster/chart/{name} is not what `make chart` writes")
        return 1 if differences else 0
    for name, text in make_chart().items():
        path = CHART / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in differences:
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

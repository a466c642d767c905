"""The rights that commands use are those that deploy/cluster grants: none is missing, none is granted for nothing."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from harness.cluster import own_namespace, rights
from harness.cluster.rights import Right

DEPLOY = Path(__file__).parents[3] / "deploy" / "cluster"
TABLES = {
    ("base/rights.yaml", "ptp-harness-submitter"): rights.SUBMITTER,
    ("base/rights.yaml", "ptp-harness-coordinator"): rights.COORDINATOR,
    ("destructive/namespaces.yaml", "ptp-harness-destructive"): rights.DESTRUCTIVE,
    ("destructive/namespaces.yaml", "ptp-harness-own-namespace"): rights.OWN_NAMESPACE,
    ("destructive/namespaces.yaml", "ptp-harness-clean"): rights.CLEAN,
}


def read_roles() -> dict[tuple[str, str], list[tuple[str, str, str, str, str]]]:
    """Every role of deploy/cluster: verb, group, resource, subresource and name of each right that it grants."""
    roles = {}
    for file in sorted({file for file, _ in TABLES}):
        for document in yaml.safe_load_all((DEPLOY / file).read_text()):
            if document["kind"] in ("Role", "ClusterRole"):
                roles[file, document["metadata"]["name"]] = [
                    (verb, group, *resource.partition("/")[::2], name)
                    for rule in document["rules"]
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                    for name in rule.get("resourceNames", [""])
                ]
    return roles


def list_rights(table: Sequence[Right]) -> list[tuple[str, str, str, str, str]]:
    return [(right.verb, right.group, right.resource, right.subresource, right.name) for right in table]


@pytest.mark.parametrize("role", read_roles())
def test_each_role_grants_what_its_table_names(role: tuple[str, str]) -> None:
    granted, used = read_roles()[role], list_rights(TABLES[role])
    assert sorted(granted) == sorted(used), "each once, none missing, none more"
    assert all(right.used_by for right in TABLES[role])


def test_each_table_has_its_role() -> None:
    assert {*TABLES} == {*read_roles()}


def test_no_table_reads_a_secret() -> None:
    reading = {"get", "list", "watch"}
    assert [right for table in TABLES.values() for right in table if right.resource == "secrets"] == [
        right for right in rights.OWN_NAMESPACE if right.resource == "secrets" and right.verb not in reading
    ]


def test_the_role_that_may_be_bound_is_the_one_that_is_bound() -> None:
    (bound,) = [right.name for right in rights.DESTRUCTIVE if right.verb == "bind"]
    assert bound == own_namespace.OWN_ROLE

"""Do the roles say what they take, once each, and can an old Python read what they put on hosts?"""

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parents[2] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir())
SHARED = ROLES / "ena_driver/module_utils/ptp_host.py"
ON_HOSTS = sorted([*ROLES.glob("*/files/*.py"), *ROLES.glob("*/library/*.py"), SHARED])
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "path": (str,), "bool": (bool,), "int": (int,), "float": (int, float), "list": (list,),
    "dict": (dict,),
}  # fmt: skip


def _spec(role: str) -> dict[str, Any]:
    return dict(
        yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    )


def _defaults(role: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROLES / role / "defaults/main.yml").read_text()))


def test_there_are_the_four_roles() -> None:
    assert NAMES == ["chrony_phc", "clock_facts", "ena_driver", "linuxptp"]


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_has_one_default_and_one_spec(role: str) -> None:
    assert sorted(_spec(role)) == sorted(_defaults(role))


@pytest.mark.parametrize("role", NAMES)
def test_defaults_are_what_the_spec_says(role: str) -> None:
    spec = _spec(role)
    for name, default in _defaults(role).items():
        option = spec[name]
        assert type(default) in TYPES[option["type"]], name
        assert default in option.get("choices", [default]), name
        assert "default" not in option, name  # Ansible does not apply it
        assert option["description"], name
        assert name.startswith(f"{role}_"), name


@pytest.mark.parametrize("role", NAMES)
def test_the_readme_names_every_variable(role: str) -> None:
    readme = (ROLES / role / "README.md").read_text()
    assert [name for name in _defaults(role) if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("path", ON_HOSTS, ids=lambda path: path.name)
def test_python_3_9_can_read_what_runs_on_hosts(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    first = tree.body[1]
    assert isinstance(first, ast.ImportFrom)
    assert (first.module, first.names[0].name) == ("__future__", "annotations")

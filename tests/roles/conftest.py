"""What tests of the roles share: the roles' files as modules and programs, and captured words of real drivers."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

_ROLES = Path(__file__).parents[2] / "roles"
_DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def roles() -> Path:
    """The folder of the roles."""
    return _ROLES


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """A file of a role as a module, such as "ena_driver/files/ena_phc.py"."""
    return _load


@pytest.fixture(scope="session")
def captured() -> Callable[[str], str]:
    """The words in a captured file, without its command and status lines."""
    return _captured


def _load(path: str) -> ModuleType:
    if "/library/" in path:
        _load("ena_driver/module_utils/ptp_host.py")
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, _ROLES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _module_name(path: str) -> str:
    """The name that Ansible gives a role's modules and what they share, so that they find each other; else any."""
    role_folder, stem = path.split("/")[1], Path(path).stem
    packages = {"library": "ansible.legacy", "module_utils": "ansible.module_utils"}
    return f"{packages[role_folder]}.{stem}" if role_folder in packages else f"role_{role_folder}_{stem}"


def _captured(name: str) -> str:
    lines = (_DATA / name).read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[-1].startswith("# rc=")
    return "".join(f"{line}\n" for line in lines[1:-1])

"""Has each file that the roles write the label that SELinux's policy gives its place?

A file gets it from Ansible's own modules and from AnsibleModule.atomic_move (both set the default context of the
target), or by being made in its folder, whose label it inherits. A file that is moved from another folder keeps the
label of that folder: chronyd could not read a configuration from /root, for one.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule

ROLES = Path(__file__).parents[2] / "roles"
MOVES = ("os.replace", "os.rename", "shutil.move", "shutil.copy2", "module.atomic_move", "os.link")
SET_LABELS = ("ansible.builtin.copy", "ansible.builtin.template", "ansible.builtin.file")


def moves(source: str) -> Iterator[tuple[str, str]]:
    """The source and target of each move of a file, as they are written."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in MOVES:
            yield ast.unparse(node.args[0]), ast.unparse(node.args[1])


def in_one_folder(source: str, target: str) -> bool:
    """Whether a move stays in its folder: one name is the other with an ending, as they are written."""
    plain = [text.removeprefix("f").replace("'", "").replace("{path}", "path") for text in (source, target)]
    endings = (" + .new", ".new", " + ORIGINAL")
    return any(a == b + ending for a, b in (plain, plain[::-1]) for ending in endings)


def test_a_move_within_a_folder_is_told_from_another() -> None:
    assert in_one_folder("path + '.new'", "path")
    assert in_one_folder("path", "path + ORIGINAL")
    assert not in_one_folder("'/root/chrony.conf'", "path")
    assert list(moves("os.replace(a, b)\nprint(c, d)")) == [("a", "b")]


def test_no_file_is_moved_from_another_folder() -> None:
    scripts = [
        *ROLES.glob("*/library/*.py"),
        *ROLES.glob("*/files/*.py"),
        ROLES / "ena_driver/module_utils/ptp_host.py",
    ]
    candidate = ("candidate", "path")  # write_config: candidate = path + ".new"
    elsewhere = {
        path.name: [pair for pair in moves(path.read_text()) if pair != candidate and not in_one_folder(*pair)]
        for path in scripts
        if path.name not in ("ena_archive.py", "ena_modules.py")  # these run on the machine that runs Ansible
    }
    assert {name: pairs for name, pairs in elsewhere.items() if pairs} == {}
    assert 'candidate = path + ".new"' in (ROLES / "chrony_phc/library/chrony_phc.py").read_text()


def test_a_file_that_modules_write_gets_the_label_of_its_place(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ansible's atomic_move, asked here as on a host with SELinux; this machine has none."""
    labelled: list[tuple[str, list[str]]] = []
    default = ["system_u", "object_r", "systemd_unit_file_t", "s0"]
    module = AnsibleModule.__new__(AnsibleModule)
    module.check_mode = False
    monkeypatch.setattr(AnsibleModule, "selinux_enabled", lambda _self: True)
    monkeypatch.setattr(AnsibleModule, "selinux_default_context", lambda _self, _path, mode=0: default)
    monkeypatch.setattr(AnsibleModule, "selinux_context", lambda _self, _path: default)

    def set_context(_self: object, path: str, context: list[str], _changed: bool) -> bool:
        labelled.append((path, context))
        return True

    monkeypatch.setattr(AnsibleModule, "set_context_if_different", set_context)
    path = str(tmp_path / "chronyd.service.d" / "ptp-harness.conf")
    assert load("ena_driver/module_utils/ptp_host.py").write(module, path, "[Unit]\n") == [path]
    assert labelled == [(path, default)]


def test_tasks_write_files_by_modules_that_set_labels_alone() -> None:
    writing = ("lineinfile", "blockinfile", "get_url", "unarchive", "shell", "fetch", "synchronize", "replace")
    for path in ROLES.glob("*/tasks/*.yml"):
        text = yaml.safe_dump(yaml.safe_load(path.read_text()))
        assert [name for name in writing if f"ansible.builtin.{name}:" in text] == [], path
    used = {name for path in ROLES.glob("*/tasks/*.yml") for name in SET_LABELS if f"{name}:" in path.read_text()}
    assert used == set(SET_LABELS)

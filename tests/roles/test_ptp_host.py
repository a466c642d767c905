"""What the roles' modules share: files are written once and whole, and units are read as systemd shows them."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


class Failed(Exception):
    """What a task fails with."""


class Task:
    """What a module is given by Ansible, as far as files and failures are concerned."""

    def __init__(self, *, check_mode: bool = False) -> None:
        self.check_mode = check_mode

    def atomic_move(self, source: str, target: str) -> None:
        Path(source).replace(target)

    def fail_json(self, *, msg: str, rc: int, **_more: object) -> None:
        raise Failed(msg, rc)


@pytest.fixture
def ptp_host(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("ena_driver/module_utils/ptp_host.py")


def test_a_program_s_output_is_whole_however_it_ends(ptp_host: ModuleType) -> None:
    def run(code: str, **more: object) -> tuple[int, str, str]:
        ran: tuple[int, str, str] = ptp_host.run_program(Task(), [sys.executable, "-c", code], **more)
        return ran

    assert run("import time; time.sleep(1.1); print('at the end')") == (0, "at the end\n", "")
    assert run("print('x' * 300_000)") == (0, "x" * 300_000 + "\n", "")
    assert run("import sys; print(sys.stdin.read()[::-1])", data="ab" * 100_000) == (0, "ba" * 100_000 + "\n", "")
    assert run("print(input())")[0] == 1, "without data there is nothing to read"
    assert run("import os; os.write(1, b'\\xff'); os.write(2, b'why'); exit(3)") == (3, "\ufffd", "why")
    assert run("import os; print(os.environ['A'])", environ_update={"A": "b"}) == (0, "b\n", "")


def test_a_program_that_fails_or_is_not_there_fails_the_task(ptp_host: ModuleType) -> None:
    with pytest.raises(Failed, match="why") as failed:
        ptp_host.run_program(Task(), ["sh", "-c", "echo why >&2; exit 3"], check_rc=True)
    assert failed.value.args[1] == 3
    with pytest.raises(Failed, match="/nowhere cannot be run: No such file or directory"):
        ptp_host.run_program(Task(), ["/nowhere"])


def test_a_file_is_written_where_it_differs_and_only_there(ptp_host: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "below" / "file"
    path = str(file)
    assert ptp_host.write(Task(check_mode=True), path, "a\n") == [path]
    assert not file.exists()
    assert ptp_host.write(Task(), path, "a\n") == [path]
    assert ptp_host.write(Task(), path, "a\n") == []
    assert (ptp_host.text(path), file.stat().st_mode & 0o777) == ("a\n", 0o644)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(("content", "document"), [(b'{"a": 1}', {"a": 1}), (b"", None), (b"{", None), (b"\xff", None)])
def test_what_is_no_document_is_none(ptp_host: ModuleType, content: bytes, document: object, tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(content)
    assert ptp_host.read_json(str(tmp_path / "record")) == document
    assert ptp_host.read_json(str(tmp_path / "missing")) is None


def test_units_that_run_or_would_after_a_boot_are_unsettled(ptp_host: ModuleType) -> None:
    states = {
        "ntp.service": ("loaded", "active", "disabled"),
        "ntpsec.service": ("loaded", "inactive", "enabled"),
        "openntpd.service": ("loaded", "failed", "disabled"),
        "gone.service": ("not-found", "inactive", ""),
    }
    said = "\n\n".join(
        f"Id={name}\nLoadState={load}\nActiveState={active}\nUnitFileState={file}"
        for name, (load, active, file) in states.items()
    )
    units = ptp_host.parse_units(said + "\n")
    assert [unit["Id"] for unit in units] == list(states)
    assert ptp_host.unsettled_units(units) == ["ntp.service", "ntpsec.service"]

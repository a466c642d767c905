"""Whatever fails during a snapshot, the guest runs on with its cards; an obstacle is told before any effect."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.benches.lab.guests import guest_copy
from harness.benches.lab.guests.guest import new_record
from harness.benches.lab.guests.guest_records import GuestRecord
from harness.benches.lab.io import guest_agent, qmp
from harness.benches.lab.truths.truths import TRUTHS
from harness.errors import CommandError
from harness.model import Token

Answer = Callable[[dict[str, Any]], dict[str, Any]]
QUIET: dict[str, dict[str, Any]] = {
    "query-jobs": {"return": []},
    "query-migrate": {"return": {"status": "completed"}},
}


@dataclass
class Ends:
    """A double of QEMU's monitor and of the agent in the guest; `order` is what they were asked to do."""

    order: list[str] = field(default_factory=list)
    replies: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: list[dict[str, str]] = field(default_factory=list)

    def answer_monitor(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request["execute"]
        if command == "query-jobs":
            return {"return": self.jobs}
        if command == "drive-backup":
            self.jobs = [{"id": "snapshot", "status": "concluded"}]
        if command == "job-dismiss":
            self.jobs = []
        if command not in QUIET and command not in ("qmp_capabilities", "job-dismiss"):
            self.order.append(command)
        return self.replies.get(command, QUIET.get(command, {"return": {}}))

    def answer_agent(self, request: dict[str, Any]) -> dict[str, Any]:
        self.order.append(request["do"])
        return self.replies.get(request["do"], {"ok": True})


@contextmanager
def serving(path: Path, answer: Answer, greeting: dict[str, Any] | None = None) -> Iterator[None]:
    """Answer each line at a unix socket, one client after another."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rw") as lines:
                if greeting:
                    lines.write(json.dumps(greeting) + "\n")
                    lines.flush()
                for line in lines:
                    lines.write(json.dumps(answer(json.loads(line))) + "\n")
                    lines.flush()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=10)


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def record(tmp_path: Path, ends: Ends) -> Iterator[GuestRecord]:
    folder, sockets = tmp_path / "host", tmp_path / "s"
    folder.mkdir()
    sockets.mkdir()
    record = replace(new_record(Token(run="lab", host="a"), TRUTHS["lab.phc"], folder), sockets=sockets)
    record.overlay.touch()
    with (
        serving(sockets / "qmp", ends.answer_monitor, {"QMP": {}}),
        serving(sockets / "agent", ends.answer_agent),
    ):
        yield record


def save(record: GuestRecord, messages: list[str]) -> None:
    guest_copy.copy_with_memory(
        record, disk=record.folder.parent / "disk", memory=record.folder.parent / "memory", progress=messages.append
    )


def test_disk_and_memory_are_saved_while_the_guest_stands_still_without_its_cards(
    record: GuestRecord, ends: Ends
) -> None:
    messages: list[str] = []
    save(record, messages)
    assert ends.order == [
        "unplug",
        "stop",
        "drive-backup",
        "migrate-set-capabilities",
        "migrate-set-parameters",
        "migrate",
        "cont",
        "replug",
    ]
    assert sorted(path.name for path in record.folder.parent.iterdir()) == ["disk", "host", "memory", "s"]
    assert list(record.folder.iterdir()) == [record.overlay]


@pytest.mark.parametrize("failing", ["drive-backup", "migrate"])
def test_a_failed_save_lets_the_guest_go_on_with_its_cards_and_leaves_no_file(
    record: GuestRecord, ends: Ends, failing: str
) -> None:
    ends.replies[failing] = {"error": {"desc": "no space left"}}
    with pytest.raises(CommandError, match="no space left"):
        save(record, [])
    assert ends.order[-2:] == ["cont", "replug"]
    assert sorted(path.name for path in record.folder.parent.iterdir()) == ["host", "s"]
    assert list(record.folder.iterdir()) == [record.overlay]


def test_a_card_that_stays_in_the_kernel_ends_the_save_before_the_guest_stops(record: GuestRecord, ends: Ends) -> None:
    ends.replies["unplug"] = {"ok": False, "error": "TimeoutError: the kernel does not let go"}
    with pytest.raises(CommandError, match="does not let go"):
        save(record, [])
    assert ends.order == ["unplug", "replug"]


def test_a_clock_that_does_not_come_back_is_told(record: GuestRecord, ends: Ends) -> None:
    ends.replies["replug"] = {"ok": False, "error": "TimeoutError: no clock after devlink reload within 60 s"}
    messages: list[str] = []
    save(record, messages)
    assert "a does not have its clock back" in messages[-1]
    assert (record.folder.parent / "memory").exists()


KNOWN = {"ok": True, "requests": ["hello", "replug", "unplug"]}
CARDS = [
    {"name": "ena", "type": "child<vfio-user-pci>"},
    {"name": "ena-slot", "type": "child<pcie-root-port>"},
    {"name": "other-slot", "type": "child<pcie-root-port>"},
    {"name": "type", "type": "string"},
]


@pytest.mark.parametrize(
    ("devices", "hello", "status", "obstacle"),
    [
        (CARDS, KNOWN, 0, ""),
        ([*CARDS, {"name": "wire", "type": "child<virtio-net-pci>"}], KNOWN, 0, "the end of a cable"),
        (CARDS, {"ok": True, "kernel": "7.3"}, 0, "the agent in the guest is of an earlier version"),
        (CARDS, KNOWN, 1, "its root file system is read-only"),
    ],
)
def test_an_obstacle_is_told_before_any_effect(
    record: GuestRecord, ends: Ends, devices: list[dict[str, str]], hello: dict[str, Any], status: int, obstacle: str
) -> None:
    ends.replies |= {
        "qom-list": {"return": devices},
        "hello": hello,
        "shell": {"ok": True, "status": status, "out": ""},
    }
    with guest_agent.connect(record.sockets / "agent") as port, qmp.session(record.sockets / "qmp") as monitor:
        reason = guest_copy.find_obstacle(port, monitor)
    assert obstacle in reason
    assert bool(reason) == bool(obstacle)
    assert not {"unplug", "stop"} & set(ends.order)

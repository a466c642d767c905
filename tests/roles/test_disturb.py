"""Does disturb.py do what it is told, for as long as it is told, and mark when?"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.model.disturbances import KINDS

NETWORK = """
ip link add load0 type veth peer name gateway0
ip link set gateway0 up
ip address add 192.0.2.2/24 dev load0
ip link set load0 up
ip neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 dev load0
ip route add default via 192.0.2.1
exec "$@"
"""
NEEDS_NAMESPACE = pytest.mark.skipif(
    shutil.which("unshare") is None or shutil.which("ip") is None or os.geteuid() != 0,
    reason="needs root, unshare and ip, for a network of its own",
)


def command(roles: Path, marks: Path, name: str, *options: str) -> list[str]:
    script = str(roles / "clock_facts/files/disturb.py")
    return [sys.executable, script, f"--marks={marks}", f"--name={name}", *options]


def read(marks: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in marks.read_text().splitlines()] if marks.exists() else []


def wait_for_end(marks: Path, *, within_s: float = 30) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two marks of a disturbance."""
    give_up = time.monotonic() + within_s
    while len(read(marks)) < 2:
        assert time.monotonic() < give_up, f"the end was not marked: {read(marks)}"
        time.sleep(0.05)
    begun, ended = read(marks)
    assert (begun["kind"], ended["kind"], begun["name"]) == ("begun", "ended", ended["name"])
    return begun, ended


@pytest.mark.programs
def test_every_processor_is_loaded_for_as_long_as_asked(roles: Path, tmp_path: Path) -> None:
    marks = tmp_path / "made" / "marks.jsonl"
    begun_s = time.monotonic()
    subprocess.run(command(roles, marks, "cpu-load", "--seconds=1.5"), check=True, timeout=20, capture_output=True)
    assert time.monotonic() - begun_s < 1.4, "its caller does not wait for it"
    begun, ended = wait_for_end(marks)
    assert ended["programs"] == len(os.sched_getaffinity(0))
    assert 1.4 < (ended["mono_ns"] - begun["mono_ns"]) / 1e9 < 10
    assert begun["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.programs
def test_it_outlives_the_session_that_started_it(roles: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks.jsonl"
    words = " ".join(command(roles, marks, "cpu-load", "--seconds=1.5"))
    caller = subprocess.Popen(["sh", "-c", f"{words}; sleep 60"], start_new_session=True)
    while not read(marks):
        time.sleep(0.05)
    os.killpg(caller.pid, 9)
    caller.wait(5)
    assert wait_for_end(marks)[1]["programs"] >= 1


@NEEDS_NAMESPACE
@pytest.mark.programs
def test_packets_go_to_the_gateway_and_are_counted(roles: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks.jsonl"
    load = command(roles, marks, "network-load", "--seconds=1")
    subprocess.run(["unshare", "--net", "sh", "-ec", NETWORK, "sh", *load], check=True, timeout=20)
    _, ended = wait_for_end(marks)
    assert ended["interface"] == "load0"
    assert ended["packets"] > 1000
    assert ended["bytes"] >= ended["packets"] * 1400


@NEEDS_NAMESPACE
@pytest.mark.programs
def test_a_host_without_a_gateway_says_so(roles: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks.jsonl"
    load = command(roles, marks, "network-load", "--seconds=1")
    subprocess.run(["unshare", "--net", *load], check=True, timeout=20)
    assert wait_for_end(marks)[1]["error"] == "this host has neither a default gateway nor a neighbour over IPv4"


@NEEDS_NAMESPACE
@pytest.mark.programs
def test_a_host_without_a_gateway_sends_to_a_neighbour(roles: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks.jsonl"
    load = command(roles, marks, "network-load", "--seconds=1")
    without_gateway = NETWORK.replace("ip route add default via 192.0.2.1\n", "")
    subprocess.run(["unshare", "--net", "sh", "-ec", without_gateway, "sh", *load], check=True, timeout=20)
    _, ended = wait_for_end(marks)
    assert (ended["interface"], ended["to"], ended["bytes"] > 1_400_000) == ("load0", "192.0.2.1", True)


@pytest.mark.parametrize(("status", "told"), [(0, {"unit": "chronyd.service"}), (5, {"error": "Unit not found."})])
def test_chronyd_is_restarted_by_either_of_its_names(
    roles: Path, tmp_path: Path, status: int, told: dict[str, str]
) -> None:
    (tmp_path / "systemctl").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho "Unit not found." >&2\nexit {status}\n'
    )
    (tmp_path / "systemctl").chmod(0o755)
    marks = tmp_path / "marks.jsonl"
    environ = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(command(roles, marks, "chronyd-restarted"), check=True, timeout=20, env=environ)
    assert told.items() <= wait_for_end(marks)[1].items()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert (
        asked == ["restart chronyd.service"] if status == 0 else ["restart chronyd.service", "restart chrony.service"]
    )


def test_what_is_done_from_outside_is_only_marked(roles: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks.jsonl"
    for kind in ("begun", "ended"):
        subprocess.run(command(roles, marks, "guest-paused", f"--mark={kind}"), check=True, timeout=20)
    assert [(mark["kind"], mark["name"]) for mark in read(marks)] == [
        ("begun", "guest-paused"),
        ("ended", "guest-paused"),
    ]


@pytest.mark.parametrize(
    ("name", "option", "told"),
    [
        ("guest-paused", "--seconds=1", "--name must be one of cpu-load, network-load, chronyd-restarted"),
        ("cpu-load", "--seconds=3601", "--seconds must be from 0 to 3600"),
        ("cpu-load", "--seconds=nan", "--seconds must be from 0 to 3600"),
    ],
)
def test_what_it_cannot_do_is_refused_unmarked(roles: Path, tmp_path: Path, name: str, option: str, told: str) -> None:
    marks = tmp_path / "marks.jsonl"
    done = subprocess.run(command(roles, marks, name, option), timeout=20, capture_output=True, text=True)
    assert (done.returncode, told in done.stderr, marks.exists()) == (2, True, False)


def test_it_can_cause_all_that_the_bench_does_not(roles: Path, tmp_path: Path) -> None:
    refused = subprocess.run(command(roles, tmp_path / "m", "none"), timeout=20, capture_output=True, text=True)
    listed = refused.stderr.strip().rpartition("one of ")[2].split(", ")
    by_us = {"reboot"}
    assert {*listed, *by_us} == {name.value for name, kind in KINDS.items() if not kind.by_bench}

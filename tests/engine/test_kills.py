"""Killed at many moments, then recovered, destroyed and swept: nothing is left in EC2, and the stack can be removed.

A moment is a call to the provider: before its effect, or after it and before the engine has heard of it. "Us" is the
harness; the engine's worker then notices that it was left alone.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.benches.ec2.account import resource_removal, tagged_resources
from harness.benches.ec2.api.api import Api
from harness.benches.ec2.engine.engine import Deadlines, Engine
from harness.benches.ec2.engine.engine_home import EngineHome
from harness.benches.ec2.engine.stack import StackSettings
from harness.system import proc_files

from .conftest import ROOT, Double, Settings, left

REGION = "eu-west-1"
HOLD_S = 2.0


@dataclass(frozen=True, slots=True)
class Moment:
    """A call to the provider in which it happens; `after` its effect. No method: so many seconds after the start."""

    method: str
    type: str
    after: bool = False
    start_s: float = 0.0

    def __str__(self) -> str:
        where = "after" if self.after else "before"
        return f"{where} {self.method} {self.type}" if self.method else f"{self.start_s} s after the start"


MOMENTS = (
    Moment("", "", start_s=0.2),
    Moment("", "", start_s=2.0),
    Moment("Check", "SecurityGroup"),
    Moment("Create", "SecurityGroup"),
    Moment("Create", "SecurityGroup", after=True),
    Moment("Create", "KeyPair", after=True),
    Moment("Create", "PlacementGroup"),
    Moment("Create", "PlacementGroup", after=True),
    Moment("Create", "Instance"),
    Moment("Create", "Instance", after=True),
    Moment("Delete", "Instance"),
    Moment("Delete", "Instance", after=True),
    Moment("Delete", "SecurityGroup", after=True),
)


def engine_pid(stack: str) -> int | None:
    """The engine at work on a stack: the process that was started with its name."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if Path(words[0]).name == "pulumi" and stack in words:
            return int(entry.name)
    return None


def signal_engine(number: int) -> Callable[[str, "subprocess.Popen[str]"], None]:
    def send(stack: str, _: "subprocess.Popen[str]") -> None:
        if (pid := engine_pid(stack)) is not None:
            os.kill(pid, number)

    return send


def kill_us(_: str, us: "subprocess.Popen[str]") -> None:
    us.kill()


US = """
import json, sys
from pathlib import Path
from harness.benches.ec2.engine.engine import Engine
from harness.benches.ec2.engine.engine_home import EngineHome
from harness.benches.ec2.engine.stack import StackSettings
from harness.model.ec2_enums import Access, Market
told = json.loads(sys.stdin.readline())
engine = Engine(EngineHome(folder=Path(told["folder"]), project=Path(told["project"])), at_once=1)
if told["operation"] == "up":
    settings = told["settings"]
    kinds = {"access": Access(settings["access"]), "market": Market(settings["market"])}
    engine.up(told["stack"], StackSettings(**settings | kinds), lambda _: None)
else:
    engine.destroy(told["stack"], lambda _: None)
"""


def as_us(home: EngineHome, operation: str, stack: str, settings: StackSettings) -> "subprocess.Popen[str]":
    """The harness in a process of its own, at one operation."""
    child = subprocess.Popen([sys.executable, "-c", US], stdin=subprocess.PIPE, text=True)
    assert child.stdin is not None
    names = StackSettings.__dataclass_fields__
    values = {name: getattr(settings, name) for name in names}
    told = {"folder": str(home.folder), "project": str(ROOT), "operation": operation, "stack": stack}
    child.stdin.write(json.dumps(told | {"settings": values}) + "\n")
    child.stdin.flush()
    return child


@pytest.mark.parametrize(
    ("who", "how"),
    [
        ("interrupted", signal_engine(signal.SIGINT)),
        ("killed", signal_engine(signal.SIGKILL)),
        ("alone", kill_us),
    ],
    ids=["SIGINT of the engine", "SIGKILL of the engine", "SIGKILL of us"],
)
def test_at_every_moment(
    who: str, how: Callable[[str, Any], None], double: Double, home: EngineHome, settings: Settings
) -> None:
    engine = Engine(home, patience=Deadlines(grace_s=3, lock_s=60), at_once=3)
    engine.prepare(lambda _: None)
    rules = [rule(moment, f"{who}-{number}") for number, moment in enumerate(MOMENTS) if moment.method]
    double.shall(*rules)

    def through(number: int) -> str:
        stack, moment = f"{who}-{number}", MOMENTS[number]
        asked = settings(who, str(number), instance_type="c8g.large", region=REGION)
        if moment.method == "Delete":
            engine.up(stack, asked, lambda _: None)
        us = as_us(home, "destroy" if moment.method == "Delete" else "up", stack, asked)
        wait_for(double, moment, stack, us)
        how(stack, us)
        us.wait(timeout=300)
        time.sleep(HOLD_S)  # what is on its way to EC2 arrives all the same
        engine.recover(stack)
        api = Api(REGION)
        instances = [one for one in tagged_resources.find(api, token=asked.token) if one.kind == "instance"]
        resource_removal.remove(api, instances)  # first: a group that an unknown instance is in cannot be destroyed
        engine.destroy(stack, lambda _: None)
        found = tagged_resources.find(api, token=asked.token)
        resource_removal.remove(api, found)
        engine.remove(stack)
        return f"{moment}: swept {', '.join(each.kind for each in (*instances, *found)) or 'nothing'}"

    with ThreadPoolExecutor(3) as pool:
        for line in pool.map(through, range(len(MOMENTS))):
            print(line)
    assert left(double.ec2(REGION), who) == []
    assert engine.stacks() == []


def rule(moment: Moment, stack: str) -> dict[str, Any]:
    held = {"delay_after_s": HOLD_S} if moment.after else {"delay_s": HOLD_S}
    return {"method": moment.method, "type": moment.type, "name": f":{stack}::", "times": 1, **held}


def wait_for(double: Double, moment: Moment, stack: str, us: "subprocess.Popen[str]") -> None:
    """Until the moment has come, or the operation has ended without it."""
    if not moment.method:
        time.sleep(moment.start_s)
        return
    give_up = time.monotonic() + 120
    while us.poll() is None and time.monotonic() < give_up:
        begun = [urn for urn in double.calls(moment.method, "begin") if f":{stack}::" in urn and moment.type in urn]
        if begun:
            time.sleep(HOLD_S / 4)
            return
        time.sleep(0.05)
    raise AssertionError(f"{stack}: the moment {moment} did not come")


def test_an_engine_that_nobody_watches_any_more_is_killed_and_its_stack_removed(
    double: Double, home: EngineHome, settings: Settings
) -> None:
    """The harness and the engine's worker are killed: the engine itself goes on, and holds the stack's lock."""
    stack, moment = "orphan-0", Moment("Create", "Instance", after=True)
    double.shall(rule(moment, stack) | {"delay_after_s": 300.0})
    asked = settings("orphan", "0", instance_type="c8g.large", region=REGION)
    us = as_us(home, "up", stack, asked)
    wait_for(double, moment, stack, us)
    pid = engine_pid(stack)
    assert pid is not None
    worker = proc_files.read_session(pid)
    assert worker is not None
    us.kill()
    os.kill(worker, signal.SIGKILL)
    us.wait(timeout=60)
    said: list[str] = []
    engine = Engine(home, patience=Deadlines(grace_s=3, orphan_s=3), at_once=1)
    engine.recover(stack, said.append)
    assert proc_files.read_session(pid) is None
    assert f" s for Pulumi's engine of a run that has ended: process {pid} of " in said[0]
    assert said[1].startswith(f"killing Pulumi's engine, process {pid} of ")
    api = Api(REGION)
    resource_removal.remove(
        api, [one for one in tagged_resources.find(api, token=asked.token) if one.kind == "instance"]
    )
    engine.destroy(stack, lambda _: None)
    resource_removal.remove(api, tagged_resources.find(api, token=asked.token))
    engine.remove(stack)
    assert left(double.ec2(REGION), "orphan") == []

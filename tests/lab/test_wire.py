"""Are two hosts joined by a cable of their own, and nobody else? Against paused machines: QEMU's own word, no guest."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.benches.lab.guests import cable
from harness.benches.lab.guests.cable import CableEnd
from harness.benches.lab.io import qmp
from harness.benches.lab.parts import cache_build, qemu
from harness.benches.lab.parts.command_line import OTHER_SLOT
from harness.benches.lab.processes import runtime_dir
from harness.errors import RequestError
from harness.model import Token
from harness.system import settings

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guests")]


@pytest.fixture
def power_on(tmp_path: Path) -> Iterator[Callable[[str], CableEnd]]:
    """Start a machine that never runs; its end of a cable."""
    found, number = (
        qemu.ensure(cache_build.make_writable(settings.load(os.environ).cache_dir / "lab"), print),
        iter(range(1, 10)),
    )
    with ExitStack() as cleanup:

        def start(name: str) -> CableEnd:
            sockets = runtime_dir.make_private(runtime_dir.path_for(tmp_path / name))
            monitor = sockets / "qmp"
            argv = [
                *found.system, "-S", "-nodefaults", "-display", "none", "-machine", "q35", "-m", "64M",
                "-device", f"pcie-root-port,id={OTHER_SLOT},chassis=2,slot=6",
                "-qmp", f"unix:{monitor},server=on,wait=off",
            ]  # fmt: skip
            machine = subprocess.Popen(argv, env=os.environ | dict(found.environment))
            cleanup.callback(sockets.rmdir)
            cleanup.callback(lambda: [path.unlink() for path in sockets.iterdir()])
            cleanup.callback(machine.wait, 10)
            cleanup.callback(machine.terminate)
            mac = f"0e:00:00:00:00:0{next(number)}"
            return CableEnd(token=Token(run="test", host=name), monitor=monitor, mac=mac)

        yield start


def _network(end: CableEnd) -> str:
    with qmp.session(end.monitor) as monitor:
        return monitor.monitor("info network")


def test_both_hosts_have_a_card_at_a_cable_without_a_name(power_on: Callable[[str], CableEnd]) -> None:
    one, other = power_on("one"), power_on("other")
    cable.lay_cable(one, other)
    for here in (one, other):
        said = _network(here)
        assert f"macaddr={here.mac}" in said
        assert "fd=" in said
        assert [path.name for path in here.monitor.parent.iterdir()] == ["qmp"]


def test_a_second_cable_is_refused_and_the_first_one_stays(power_on: Callable[[str], CableEnd]) -> None:
    one, other, third = power_on("one"), power_on("other"), power_on("third")
    cable.lay_cable(one, other)
    before = _network(one)
    with pytest.raises(RequestError, match="test/one/1 takes no second card"):
        cable.lay_cable(one, third)
    assert _network(one) == before
    assert _network(third) == ""


def test_where_the_slot_is_taken_nothing_is_left(power_on: Callable[[str], CableEnd]) -> None:
    one, other = power_on("one"), power_on("other")
    with qmp.session(one.monitor) as monitor:
        monitor.do("device_add", driver="virtio-rng-pci", bus=OTHER_SLOT)
    with pytest.raises(RequestError, match="takes no second card"):
        cable.lay_cable(one, other)
    assert _network(one) == ""


def test_a_host_is_not_joined_with_itself(power_on: Callable[[str], CableEnd]) -> None:
    one = power_on("one")
    with pytest.raises(RequestError, match="cannot be joined with itself"):
        cable.lay_cable(one, one)
    assert _network(one) == ""

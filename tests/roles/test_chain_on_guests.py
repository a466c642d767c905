"""Does the role linuxptp make one host follow another by PTP? Two guests on a cable, with software timestamps.

States are asserted and never microseconds: between emulated guests an offset is milliseconds.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import wiring
from harness.benches.lab.guests import cable
from harness.host import ssh
from harness.host.playbooks import PlayOutcome, PlayResult, Target, play
from harness.model import Token
from harness.system import proc, settings

pytestmark = [pytest.mark.roles, pytest.mark.timeout(1500), pytest.mark.xdist_group("guests")]

ROOT = Path(__file__).parents[2]
ASKED = "Ask ptp4l for its ports"
CHAIN = {
    "linuxptp_chain": "auto",
    "linuxptp_timestamping": "software",
    "linuxptp_transport": "L2",
    # The system clocks of emulated guests jitter: with ptp4l's own constants it takes minutes instead of seconds.
    "linuxptp_settings": {"pi_proportional_const": 0.7, "pi_integral_const": 0.3},
}


@dataclass(frozen=True, kw_only=True)
class Host:
    """A guest at one end of the cable, and the playbook that runs the role there."""

    target: Target
    card: str
    playbook: Path

    def run(self, command: str) -> str:
        return proc.run(self.target.command("sh", "-c", command), timeout_s=120).stdout

    def play(self, **variables: Any) -> PlayResult:
        given = CHAIN | {"linuxptp_interfaces": [self.card]} | variables
        return play(self.playbook, self.target, given, timeout_s=300, progress=str, cancelled=bool)

    def configure(self, **variables: Any) -> PlayResult:
        """The play that must succeed."""
        played = self.play(**variables)
        assert played.outcome is PlayOutcome.OK, f"{played.message}\n{played.stdout}"
        return played

    def states(self) -> list[str]:
        """What pmc says of the ports."""
        said = self.run("pmc -u -b 0 'GET PORT_DATA_SET'")
        return [line.split()[1] for line in said.splitlines() if line.split()[:1] == ["portState"]]

    def active(self, *units: str) -> list[str]:
        return self.run(f"systemctl is-active {' '.join(units)}; true").split()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts without a hardware clock, joined by a cable."""
    bench = wiring.lab_bench(settings.load(os.environ | {"PTP_HARNESS_STATE_DIR": str(tmp_path / "state")}))
    bench.prepare(["lab.old-driver"], print)
    tokens = [Token(run="roles", host=name) for name in ("server", "client")]
    playbook = _playbook(tmp_path / "playing")
    with ExitStack() as cleanup:
        machines = []
        for token in tokens:
            cleanup.callback(bench.release, token)
            machines.append(bench.provision(token, "lab.old-driver", print))
        ends = [cable.cable_end(record) for token in tokens if (record := bench.records.find(token)) is not None]
        cable.lay_cable(*ends)
        hosts = []
        for machine, end in zip(machines, ends, strict=True):
            (folder := tmp_path / machine.token.host).mkdir()
            control = cleanup.enter_context(ssh.shared_connection())
            target = Target(machine=machine, known_hosts=ssh.write_known_hosts(machine, folder), control=control)
            hosts.append(Host(target=target, card=_card(target, end.mac), playbook=playbook))
        yield hosts[0], hosts[1]


def _playbook(folder: Path) -> Path:
    """A playbook of the role alone."""
    (folder / "playbooks").mkdir(parents=True)
    (folder / "ansible.cfg").write_text((ROOT / "ansible.cfg").read_text().replace("= roles\n", f"= {ROOT}/roles\n"))
    playbook = folder / "playbooks/linuxptp.yml"
    playbook.write_text("- hosts: all\n  gather_facts: false\n  roles: [linuxptp]\n")
    return playbook


def _card(target: Target, mac: str) -> str:
    """The kernel's name of the card with this address, which is up from now on."""
    find = f"for try in $(seq 50); do grep -l {mac} /sys/class/net/*/address && break; sleep 0.2; done"
    card = proc.run(target.command("sh", "-c", find), timeout_s=60).stdout.split("/")[4]
    proc.run(target.command("ip", "link", "set", card, "up"), timeout_s=60)
    return card


def test_one_host_follows_another(pair: tuple[Host, Host]) -> None:
    server, client = pair
    for host in pair:
        host.run("systemctl start chrony")
    alone = client.configure(linuxptp_wait_s=2)
    assert "no port is SLAVE: LISTENING" in alone.stdout
    assert client.states() == ["LISTENING"]
    assert client.active("ptp-harness-ptp4l", "chrony") == ["active", "inactive"]

    assert "portState" in str(server.configure(linuxptp_part="server").results[ASKED]["stdout"])
    assert server.states() in (["MASTER"], ["GRAND_MASTER"])
    assert server.active("ptp-harness-ptp4l", "chrony") == ["active", "active"]  # it is followed and steers nothing

    again = client.configure(linuxptp_wait_s=120)
    assert again.changed == 0
    assert client.states() == ["SLAVE"]
    # Software timestamps steer the system clock: phc2sys would be one too many.
    assert client.active("ptp-harness-phc2sys") == ["inactive"]

    off = client.configure(linuxptp_chain="off")
    stopped = off.results["Look for the tools, stop the clients, record whether ptp4l can run"]["stopped"]
    assert stopped == ["ptp-harness-ptp4l.service"]
    assert client.active("ptp-harness-ptp4l") == ["inactive"]
    assert client.configure(linuxptp_chain="off").changed == 0


@pytest.mark.truth
def test_what_cannot_be_is_refused_by_name(pair: tuple[Host, Host]) -> None:
    _, client = pair
    hardware = client.play(linuxptp_timestamping="hardware")
    assert hardware.outcome is PlayOutcome.FAILED
    why = "ptp4l: not applicable, the card has no PTP hardware clock"
    assert f"ptp4l cannot run with hardware timestamps on {client.card} ({why})" in hardware.message

    setting = client.play(linuxptp_settings={"no_such_setting": 1}, linuxptp_wait_s=3)
    assert setting.outcome is PlayOutcome.FAILED
    assert "ptp4l does not run" in setting.message
    assert "no_such_setting" in setting.message

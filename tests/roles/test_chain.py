"""What does the role linuxptp run, on which cards, and does it steer the system clock?"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.programs

CHECKOUT = Path(__file__).parents[2]
ASKED: dict[str, dict[str, Any]] = {
    "client": {"linuxptp_chain": "auto"},
    "off": {"linuxptp_chain": False},  # as YAML reads a bare off
    "server": {"linuxptp_chain": "auto", "linuxptp_part": "server", "linuxptp_transport": "L2", "linuxptp_domain": 24},
    "any": {"linuxptp_chain": "auto", "linuxptp_part": "any"},
    "clock-alone": {"linuxptp_chain": "auto", "linuxptp_steers_system_clock": False},
    "software": {
        "linuxptp_chain": "auto",
        "linuxptp_timestamping": "software",
        "linuxptp_interfaces": ["wire0"],
        "linuxptp_steers_system_clock": False,
        "linuxptp_settings": {"pi_proportional_const": 0.7, "logSyncInterval": -3},
    },
}


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What would be run for each of the askings."""
    folder = tmp_path_factory.mktemp("chain")
    defaults = yaml.safe_load((CHECKOUT / "roles/linuxptp/defaults/main.yml").read_text())
    hosts = {name: defaults | asked for name, asked in ASKED.items()}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    given = {
        "ansible_python_interpreter": sys.executable,
        "role": str(CHECKOUT / "roles/linuxptp"),
        "decisions": str(folder),
    }
    argv = [
        str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "hosts.json"), "--forks", "2",
        "-e", json.dumps(given), str(Path(__file__).parent / "data/chain.yml"),
    ]  # fmt: skip
    env = os.environ | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ASKED}


def _settings(decision: dict[str, Any]) -> list[str]:
    return [line for line in decision["config"] if line and not line.startswith("#")]


def _command(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("ExecStart=")).removeprefix("ExecStart=")


def test_only_the_card_that_can_is_taken(decided: dict[str, Any]) -> None:
    assert _settings(decided["client"]) == [
        "[global]",
        "time_stamping hardware",
        "network_transport UDPv4",
        "domainNumber 0",
        "slaveOnly 1",
        "[ens6]",
    ]
    assert _command(decided["client"]["ptp4l"]) == "/usr/sbin/ptp4l -f /etc/ptp-harness/ptp4l.conf"
    assert decided["client"]["wanted"]


def test_a_bare_off_is_off(decided: dict[str, Any]) -> None:
    assert not decided["off"]["wanted"]


def test_a_server_is_followed_and_steers_nothing(decided: dict[str, Any]) -> None:
    assert _settings(decided["server"])[1:] == [
        "time_stamping hardware",
        "network_transport L2",
        "domainNumber 24",
        "masterOnly 1",
        "[ens6]",
    ]
    assert not decided["server"]["steers"]
    # Its card's clock has the time from the system clock.
    assert (decided["server"]["runs_phc2sys"], _command(decided["server"]["phc2sys"])) == (
        True,
        "/usr/sbin/phc2sys -a -r -r -n 24",
    )


def test_a_client_s_system_clock_follows_the_card_and_never_leads_it(decided: dict[str, Any]) -> None:
    assert (decided["client"]["runs_phc2sys"], decided["client"]["steers"]) == (True, True)
    assert _command(decided["client"]["phc2sys"]) == "/usr/sbin/phc2sys -a -r -n 0"


def test_where_any_may_lead_nothing_is_forbidden(decided: dict[str, Any]) -> None:
    assert _settings(decided["any"])[1:-1] == ["time_stamping hardware", "network_transport UDPv4", "domainNumber 0"]
    assert (decided["any"]["steers"], _command(decided["any"]["phc2sys"])) == (True, "/usr/sbin/phc2sys -a -r -r -n 0")


def test_the_card_s_clock_alone_can_be_steered(decided: dict[str, Any]) -> None:
    assert (decided["clock-alone"]["runs_phc2sys"], decided["clock-alone"]["steers"]) == (False, False)


def test_software_timestamps_steer_the_system_clock_without_phc2sys(decided: dict[str, Any]) -> None:
    assert (decided["software"]["runs_phc2sys"], decided["software"]["steers"]) == (False, True)
    assert _settings(decided["software"])[1:] == [
        "time_stamping software",
        "network_transport UDPv4",
        "domainNumber 0",
        "slaveOnly 1",
        "logSyncInterval -3",
        "pi_proportional_const 0.7",
        "[wire0]",
    ]

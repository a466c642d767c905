"""Do the roles survive the reload of the driver that carries their own connection, and does the host come back whole?

On guests whose only network is the emulated ENA card: address by DHCP, default route, SSH, and NTP's second opinion.
"""

from collections.abc import Callable

import pytest

from tests.roles.test_on_guests import Host, bring_up, driver_record, follows_the_clock

__all__ = ["bring_up"]  # a fixture

pytestmark = [pytest.mark.roles, pytest.mark.timeout(1500), pytest.mark.xdist_group("guests")]

NETWORK = """
card=$(basename /sys/bus/pci/drivers/ena/*/net/*)
echo $card
cat /sys/class/net/$card/address
ip -4 -oneline address show scope global | sed 's/ *valid_lft.*//; s/^[0-9]*: //'
ip -4 route show | sed 's/ *$//' | sort
"""
SLOW = "/etc/systemd/system/ptp-harness-ena-phc.service.d"


def reloads(host: Host) -> int:
    """How often the driver has set its device up by now."""
    return int(host.run("dmesg | grep -c 'ena .*ENA device version'; true"))


def test_a_reload_under_the_connection_leaves_the_host_as_it_was(bring_up: Callable[[str], Host]) -> None:
    host = bring_up("lab.on-card")
    network, before = host.run(NETWORK), reloads(host)
    assert "10.0.2.15/24" in network
    assert "default via 10.0.2.2" in network
    assert "management" not in network

    played, found = host.configure()
    assert played.results["Enable the PTP clock"]["pending"] is True
    record = driver_record(played)
    assert (record["decision"], record["clock"]) == ("devlink", "ptp0")
    assert reloads(host) == before + 1
    assert host.run(NETWORK) == network
    assert found.phc_link == "ptp0"
    assert follows_the_clock(found)
    host.configure_again()
    assert reloads(host) == before + 1

    host.reboot()
    assert host.run(NETWORK) == network
    again, found = host.configure()
    assert driver_record(again)["clock"] == "ptp0"
    assert follows_the_clock(found)


def test_a_reload_that_begins_late_is_waited_for(bring_up: Callable[[str], Host]) -> None:
    """The host answers before the reload has begun: on a slow one systemd takes longer than the play waits at least."""
    host = bring_up("lab.on-card")
    host.run(f"mkdir -p {SLOW}; printf '[Service]\\nExecStartPre=/bin/sleep 12\\n' > {SLOW}/slow.conf")
    played, found = host.configure()
    assert played.results["Enable the PTP clock"]["pending"] is True
    assert (driver_record(played)["decision"], found.phc_link) == ("devlink", "ptp0")
    assert follows_the_clock(found)
    host.run(f"rm -r {SLOW}; systemctl daemon-reload")
    host.configure_again()

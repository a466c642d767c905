"""Do the roles survive the reload of the driver that carries their own connection, and does the host come back whole?

On guests whose only network is the emulated ENA card: address by DHCP, default route, SSH, and NTP's second opinion.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.system import settings
from tests.roles.test_on_guests import Host, bring_up, driver_record, follows_the_clock, understood

__all__ = ["bring_up"]  # a fixture

pytestmark = [pytest.mark.roles, pytest.mark.timeout(1500), pytest.mark.xdist_group("guests")]

NETWORK = """
card=$(basename /sys/bus/pci/drivers/ena/*/net/*)
echo $card
cat /sys/class/net/$card/address
ip -4 -oneline address show scope global | sed 's/ *valid_lft.*//; s/^[0-9]*: //'
ip -4 route show | sed 's/ *$//' | sort
"""
ARCHIVE = "PTP_HARNESS_ENA_ARCHIVE"
SLOW = "/etc/systemd/system/ptp-harness-ena-phc.service.d"


def reloads(host: Host) -> int:
    """How often the driver has set its device up by now."""
    return int(host.run("dmesg | grep -c 'ena .*ENA device version'; true"))


def amazon_driver(folder: Path) -> dict[str, Any]:
    """The driver that whoever runs the tests has given; a module that a run of the lab has built is taken again."""
    archive = Path(os.environ[ARCHIVE])
    return {
        "ena_driver_source": "archive",
        "ena_driver_archive": str(archive),
        "ena_driver_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "ena_driver_cache": str(folder),
        "ena_driver_modules_cache": str(settings.load().cache_dir / "ena/modules/lab"),
    }


@pytest.mark.truth
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


@pytest.mark.truth
def test_a_reload_that_begins_late_is_waited_for(bring_up: Callable[[str], Host]) -> None:
    """The host answers before the reload has begun: on a slow one systemd takes longer than the play waits at least."""
    host = bring_up("lab.on-card")
    late = "[Service]\\nExecStartPre=/bin/sleep 45\\nTimeoutStartSec=300\\n"
    host.run(f"mkdir -p {SLOW}; printf '{late}' > {SLOW}/slow.conf")
    played, found = host.configure()
    assert played.results["Enable the PTP clock"]["pending"] is True
    after = played.results["Read what became of the reload"]
    assert (after["pending"], after["record"]["decision"], after["record"]["clock"]) == (False, "devlink", "ptp0")
    assert found.phc_link == "ptp0"
    assert follows_the_clock(found)
    host.run(f"rm -r {SLOW}; systemctl daemon-reload")
    host.configure_again()


@pytest.mark.real_driver
@pytest.mark.skipif(ARCHIVE not in os.environ, reason=f"{ARCHIVE} names no release archive of Amazon's ENA driver")
def test_a_module_is_loaded_anew_under_the_connection(bring_up: Callable[[str], Host], tmp_path: Path) -> None:
    """The interface goes and comes back, with another driver behind it."""
    host = bring_up("lab.on-card-amazon")
    network = host.run(NETWORK)
    assert host.run("modinfo -p ena") == ""

    played = host.play("configure.yml", amazon_driver(tmp_path))
    assert played.results["Enable the PTP clock"]["pending"] is True
    record, found = driver_record(played), understood(played)
    assert (record["decision"], record["clock"], record["remedy"]) == ("module_parameter", "ptp0", None)
    assert [attempt["rc"] for attempt in record["attempts"] if attempt["command"].startswith("modprobe")] == [0, 0, 0]
    assert host.run("cat /sys/module/ena/parameters/phc_enable") == "1\n"
    assert host.run(NETWORK) == network
    assert follows_the_clock(found)
    assert host.play("configure.yml", amazon_driver(tmp_path)).changed == 0


@pytest.mark.real_driver
@pytest.mark.skipif(ARCHIVE not in os.environ, reason=f"{ARCHIVE} names no release archive of Amazon's ENA driver")
def test_a_host_whose_kernel_refuses_the_new_module_keeps_its_network(
    bring_up: Callable[[str], Host], tmp_path: Path
) -> None:
    """As Secure Boot does: the kernel takes signed modules alone, from the moment that this is written."""
    host = bring_up("lab.on-card-amazon")
    network = host.run(NETWORK)
    host.run("echo 1 > /sys/module/module/parameters/sig_enforce")
    played = host.play("configure.yml", amazon_driver(tmp_path))
    record = driver_record(played)
    assert (record["decision"], record["clock"]) == ("module_parameter", None)
    assert record["remedy"] == (
        "Secure Boot refuses the module: sign it with a key that the firmware knows, or switch it off"
    )
    assert host.run(NETWORK) == network

"""Let the ENA card be a host's only network, as on EC2: SSH, DHCP and NTP pass through the emulated device.

The card's device gets a port on the hub of the guest's network, and the card that other hosts use for SSH loses its
link. The golden guest needs no change: QEMU takes a port while it runs, and the guest learns the network of its ENA
cards from a file.

QEMU's DHCP server gives its first client the address to which it forwards SSH. Because the network lets nothing out
(`restrict=on`), it names no router; the file does, so that a host has a default route to lose and to get back.
"""

from harness.benches.bench import BenchError
from harness.benches.lab.io.guest_agent import GuestAgent
from harness.benches.lab.io.qmp import Qmp
from harness.benches.lab.parts.command_line import HUB, NETWORK, Hardware

CARD = "card"
_ROUTER = "10.0.2.2"  # QEMU's own address on its user-mode network
_DEADLINE_S = 60.0

_CONFIGURE = f"""
cat > /etc/systemd/network/15-connection.network <<'END'
# The ENA card carries this host's connections.
[Match]
Driver=ena

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no

[Route]
Gateway={_ROUTER}
END
networkctl reload
"""
_WAIT = """
timeout 50 sh -c 'until ip -4 route show default | grep -q "dev $(basename /sys/bus/pci/drivers/ena/*/net/*) "; do
    sleep 0.2
done' && exit 0
networkctl --no-pager status --all
exit 1
"""
"""udev may rename the card while this waits."""


def join(monitor: Qmp, hardware: Hardware) -> None:
    """Give the card's device a port on the hub, and take the link of the other card down. Raises CommandError."""
    local, remote = ({"type": "unix", "path": str(path)} for path in (hardware.card_network, hardware.card))
    monitor.do("netdev_add", type="dgram", id=CARD, local=local, remote=remote)
    monitor.do("netdev_add", type="hubport", id=f"hub-{CARD}", hubid=HUB, netdev=CARD)
    monitor.do("set_link", name=NETWORK, up=False)


def configure(port: GuestAgent) -> None:
    """Tell the guest to ask for an address on its ENA cards, now and at each boot. Raises BenchError."""
    _run(port, _CONFIGURE, "the ENA card cannot be configured")


def wait_for_address(port: GuestAgent) -> None:
    """Wait until the card has its address and route. Raises BenchError."""
    _run(port, _WAIT, "the ENA card gets no address")


def _run(port: GuestAgent, script: str, failure: str) -> None:
    result = port.shell(script, deadline_s=_DEADLINE_S + 5)
    if result.status != 0:
        raise BenchError(f"{failure}: {result.out}")

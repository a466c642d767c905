"""Make QEMU's arguments for a guest. Pure: paths and names in, arguments out.

A golden guest and the hosts restored from it must have the same hardware, so both use `boot_arguments()`.
"""

from dataclasses import dataclass
from pathlib import Path

ENA_SLOT = "ena-slot"
OTHER_SLOT = "other-slot"  # the kernel finds a card here before the one in ENA_SLOT
NETWORK = "network"
HUB = 0  # joins the ports of the guest's network
SSH = "ssh"
NTP = "ntp"
AGENT_PORT = "lab.agent"
NTP_SERVER = "10.0.2.123"  # on the guest's own network (lab/image/root/etc/systemd/network), served by lab/ntp_server
NTP_PORT = 123
CLOUD = "cloud"
CLOUD_SERVER = "fd00::80"  # on a cloud guest's network, served by lab/cloud_server
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
TRUTH_PAGE_BYTES = 4096
# Without AVX: programs prefer its wide instructions, whose emulation doubles the start time of sshd.
# With rdtscp the TSC stays the kernel's clocksource.
_EMULATED_CPU = "Nehalem,+rdtscp"
_KERNEL_WORDS = "root=LABEL=root console=ttyS0 mitigations=off nokaslr panic=-1 audit=0 systemd.show_status=error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The hardware of one virtual machine. `disk` is absolute: a relative path breaks migration.

    `serial_number` is the firmware's, and only for a guest with a cloud server on its network.
    """

    accelerator: str
    memory_mib: int
    disk: Path
    kernel: Path
    initrd: Path
    serial_log: Path
    sockets: Path
    serial_number: str = ""

    @property
    def qmp(self) -> Path:
        return self.sockets / "qmp"

    @property
    def agent(self) -> Path:
        return self.sockets / "agent"

    @property
    def device(self) -> Path:
        return self.sockets / "ena"

    @property
    def control(self) -> Path:
        return self.sockets / "control"

    @property
    def other_device(self) -> Path:
        return self.sockets / "ena-other"

    @property
    def other_control(self) -> Path:
        return self.sockets / "control-other"

    @property
    def console(self) -> Path:
        """The pipe of the serial console; its output goes to `serial_log`, up to a size limit."""
        return self.sockets / "console"

    @property
    def network(self) -> Path:
        """The guest's end of the datagram sockets that carry frames to and from the NTP server."""
        return self.sockets / "net"

    @property
    def ntp(self) -> Path:
        """The NTP server's end of the datagram sockets."""
        return self.sockets / "ntp"

    @property
    def cloud_network(self) -> Path:
        """The guest's end of the datagram sockets that carry frames to and from the cloud server."""
        return self.sockets / "cloud-net"

    @property
    def cloud(self) -> Path:
        """The cloud server's end of the datagram sockets."""
        return self.sockets / "cloud"

    @property
    def card_network(self) -> Path:
        """QEMU's end of the datagram sockets that carry an ENA card's frames (guests/card_connection.py)."""
        return self.sockets / "card-net"

    @property
    def card(self) -> Path:
        """The ENA device's end of the datagram sockets."""
        return self.sockets / "card"

    @property
    def truth_page(self) -> Path:
        return self.sockets / "truth"


def boot_arguments(hardware: Hardware) -> list[str]:
    """Make QEMU's arguments for a guest that boots.

    The memory is shared because the ENA device, a separate process, reads and writes it. The disk ignores flushes
    (cache=unsafe): its data need not survive a crash of this machine, and waiting for a busy disk delays the guest.

    The guest's network card is on a hub with two other ports. The first is QEMU's user-mode network, which lets SSH in
    and nothing out (`restrict=on`), so no NTP either. The second is a datagram socket to an NTP server that is on the
    guest's network and on no other network. A third one leads to a cloud guest's server of seeds and packages.
    """
    cpu = "host" if hardware.accelerator == "kvm" else _EMULATED_CPU
    memory = f"memory-backend-memfd,id=memory,size={hardware.memory_mib}M,share=on"
    page = f"memory-backend-file,id=page,size={TRUTH_PAGE_BYTES},share=on,mem-path={hardware.truth_page}"
    options = {
        "machine": "q35,memory-backend=memory,sata=off,smbus=off,usb=off,vmport=off,i8042=off",
        "accel": hardware.accelerator,
        "cpu": cpu,
        "m": f"{hardware.memory_mib}M",
        "rtc": "base=utc,clock=host",
        "kernel": str(hardware.kernel),
        "initrd": str(hardware.initrd),
        "append": _KERNEL_WORDS,
        "serial": f"file:{hardware.console}",
        "qmp": f"unix:{hardware.qmp},server=on,wait=off",
        "display": "none",
    }
    objects = [memory, page, "rng-random,id=random,filename=/dev/urandom"]
    devices = [
        "virtio-blk-pci,drive=disk",
        f"virtio-net-pci,netdev={NETWORK},romfile=",
        "virtio-rng-pci,rng=random",
        "virtio-serial-pci",
        f"virtserialport,chardev=agent,name={AGENT_PORT}",
        "ivshmem-plain,memdev=page,master=on",
        f"pcie-root-port,id={OTHER_SLOT},chassis=2,slot=6",
        f"pcie-root-port,id={ENA_SLOT},chassis=1,slot=5",
    ]
    return [
        "-nodefaults",
        "-no-user-config",
        *(argument for name, value in options.items() for argument in (f"-{name}", value)),
        *(("-smbios", f"type=1,serial={hardware.serial_number}") if hardware.serial_number else ()),
        *(argument for value in objects for argument in ("-object", value)),
        *("-drive", f"file={hardware.disk},format=qcow2,if=none,id=disk,discard=unmap,cache=unsafe"),
        *(argument for value in _network(hardware) for argument in ("-netdev", value)),
        *("-chardev", f"socket,id=agent,path={hardware.agent},server=on,wait=off"),
        *(argument for value in devices for argument in ("-device", value)),
    ]


def _network(hardware: Hardware) -> list[str]:
    ports = {
        SSH: f"user,id={SSH},restrict=on,ipv6=off",
        NTP: f"dgram,id={NTP},{_ends(hardware.network, hardware.ntp)}",
    }
    if hardware.serial_number:
        ports[CLOUD] = f"dgram,id={CLOUD},{_ends(hardware.cloud_network, hardware.cloud)}"
    joints = [f"hubport,id=hub-{name},hubid={HUB},netdev={name}" for name in ports]
    return [f"hubport,id={NETWORK},hubid={HUB}", *ports.values(), *joints]


def _ends(guest: Path, other: Path) -> str:
    return f"local.type=unix,local.path={guest},remote.type=unix,remote.path={other}"


def restore_arguments(hardware: Hardware) -> list[str]:
    """Make QEMU's arguments for the same guest, which then waits for the memory of a golden guest."""
    return [*boot_arguments(hardware), "-incoming", "defer"]

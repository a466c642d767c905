"""What is QEMU asked to be? Pure: paths and names in, argument words out.

A golden guest and the hosts restored from it must have the same hardware, so both come from `guest()`.
"""

from dataclasses import dataclass
from pathlib import Path

ENA_SLOT = "ena-slot"
OTHER_SLOT = "other-slot"  # found before the first at boot
NETWORK = "network"
SSH = "ssh"
NTP = "ntp"
AGENT_PORT = "lab.agent"
NTP_SERVER = "10.0.2.123"  # on the guest's own network (lab/image/root/etc/systemd/network), served by lab/ntp_server
NTP_PORT = 123
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
TRUTH_PAGE_BYTES = 4096
# No AVX: emulated, the wide instructions that programs then prefer make sshd's start take twice as long as without.
# The TSC stays the kernel's clocksource with it.
_EMULATED_CPU = "Nehalem,+rdtscp"
_KERNEL_WORDS = "root=LABEL=root console=ttyS0 mitigations=off nokaslr panic=-1 audit=0 systemd.show_status=error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One virtual machine: where its disk is (absolute: a relative path breaks migration), its kernel, its sockets."""

    accelerator: str
    memory_mib: int
    disk: Path
    kernel: Path
    initrd: Path
    serial_log: Path
    sockets: Path

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
        """A pipe: what is read from it goes to `serial_log`, up to a size."""
        return self.sockets / "console"

    @property
    def network(self) -> Path:
        """Where the guest's frames go out to the NTP server, and come in from it."""
        return self.sockets / "net"

    @property
    def ntp(self) -> Path:
        """The NTP server's end of the same."""
        return self.sockets / "ntp"

    @property
    def truth_page(self) -> Path:
        return self.sockets / "truth"


def boot_arguments(hardware: Hardware) -> list[str]:
    """QEMU's arguments for a guest that boots.

    Memory is shared since the ENA device, another process, reads and writes it. What the guest has flushed to its disk
    need not outlive this machine: a flush that waits for a busy disk would only hold the guest up.

    The guest's card stands on a hub with two others. One is QEMU's user-mode network, which lets SSH in and nothing out
    (`restrict=on`). That cuts off NTP too, as no UDP can be let out of it, so the other is a datagram socket to an NTP
    server that stands on the guest's network and on no other.
    """
    cpu = "host" if hardware.accelerator == "kvm" else _EMULATED_CPU
    memory = f"memory-backend-memfd,id=memory,size={hardware.memory_mib}M,share=on"
    page = f"memory-backend-file,id=page,size={TRUTH_PAGE_BYTES},share=on,mem-path={hardware.truth_page}"
    words = {
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
        *(word for name, value in words.items() for word in (f"-{name}", value)),
        *(word for value in objects for word in ("-object", value)),
        *("-drive", f"file={hardware.disk},format=qcow2,if=none,id=disk,discard=unmap,cache=unsafe"),
        *(word for value in _network(hardware) for word in ("-netdev", value)),
        *("-chardev", f"socket,id=agent,path={hardware.agent},server=on,wait=off"),
        *(word for value in devices for word in ("-device", value)),
    ]


def _network(hardware: Hardware) -> list[str]:
    ends = f"local.type=unix,local.path={hardware.network},remote.type=unix,remote.path={hardware.ntp}"
    return [
        f"hubport,id={NETWORK},hubid=0",
        f"user,id={SSH},restrict=on,ipv6=off",
        f"dgram,id={NTP},{ends}",
        f"hubport,id=hub-{SSH},hubid=0,netdev={SSH}",
        f"hubport,id=hub-{NTP},hubid=0,netdev={NTP}",
    ]


def restore_arguments(hardware: Hardware) -> list[str]:
    """QEMU's arguments for the same guest, waiting to be filled from a golden snapshot."""
    return [*boot_arguments(hardware), "-incoming", "defer"]

"""What is QEMU asked to be? Pure: paths and names in, argument words out.

A golden guest and the hosts restored from it must have the same hardware, so both come from `guest()`.
"""

from dataclasses import dataclass
from pathlib import Path

ENA_SLOT = "ena-slot"
OTHER_SLOT = "other-slot"  # found before the first at boot
NETWORK = "network"
AGENT_PORT = "lab.agent"
HOST_SEEN_BY_GUEST = "10.0.2.2"  # slirp's address for the machine's own 127.0.0.1
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
    def truth_page(self) -> Path:
        return self.sockets / "truth"


def guest(hardware: Hardware) -> list[str]:
    """QEMU's arguments for a guest that boots.

    Memory is shared since the ENA device, another process, reads and writes it. The network has no `restrict=on`: that
    would also cut the guest off from the NTP server on this machine, as slirp forwards no UDP to a `guestfwd`. The
    guest has no route beyond its own network instead (lab/image/root/etc/systemd/network). What the guest has flushed
    to its disk need not outlive this machine: a flush that waits for a busy disk would only hold the guest up.
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
        "serial": f"file:{hardware.serial_log}",
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
        *("-netdev", f"user,id={NETWORK}"),
        *("-chardev", f"socket,id=agent,path={hardware.agent},server=on,wait=off"),
        *(word for value in devices for word in ("-device", value)),
    ]


def restored(hardware: Hardware) -> list[str]:
    """QEMU's arguments for the same guest, waiting to be filled from a golden snapshot."""
    return [*guest(hardware), "-incoming", "defer"]

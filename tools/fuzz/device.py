"""Fuzz the emulated device's vfio-user socket, as QEMU and its guest may use it.

An input is a sequence of steps (see steps.py). After any steps the device must still report its state, take the next
connection, and keep no descriptor open.
"""

import functools
import json
import time
from pathlib import Path

from ena_device import registers as reg
from ena_device import vfio_user as vu
from ena_device.peer import CAPABILITIES

from tools.fuzz.replay import MOST_CPU_S
from tools.fuzz.steps import DeviceStep, Rig, StepKind, decoded, recorded_session, rig

WORDS = [
    *(vu.HEADER.pack(1, command, 16 + 32, 0, 0) for command in vu.VfioCommand),
    *(bytes((StepKind.REGISTER,)) + register.to_bytes(2, "little") for register in sorted(reg.STORED)),
    *(
        DeviceStep(kind=StepKind.REGISTER, at=at, value=value).encoded()
        for at, value in (
            (reg.AQ_DOORBELL, 1),
            (reg.AQ_DOORBELL, 0xFFFF),
            (reg.AENQ_HEAD_DOORBELL, 32),
            (reg.PHC_DOORBELL, 7),
            (reg.MMIO_REG_READ, 7),
            (reg.DEV_CTL, reg.DEV_CTL_RESET),
            (reg.SQ_DOORBELLS, 0x20),
            (reg.CQ_UNMASKS, reg.UNMASK_ARM),
        )
    ),
    DeviceStep(
        kind=StepKind.MESSAGE, command=vu.VfioCommand.VERSION, data=vu.VERSION.pack(0, 1) + CAPABILITIES
    ).encoded(),
    DeviceStep(kind=StepKind.CONNECT).encoded(),
]


@functools.cache
def _session() -> tuple[DeviceStep, ...]:
    return tuple(recorded_session())


def seeds() -> list[bytes]:
    """Return the beginnings of a driver's recorded session and the whole session; then, after a greeting, each message
    of the session alone, and each kind of descriptor in place of memory or an eventfd.
    """
    session = [step.encoded() for step in _session()]
    beginnings = [b"".join(session[:count]) for count in range(4, len(session) + 8, 8)]
    greeting = session[0]
    descriptor_steps = [
        DeviceStep(kind=StepKind.MESSAGE, command=command, descriptors=1 << 4 | kind, data=data)
        for kind in range(16)
        for command, data in (
            (vu.VfioCommand.DMA_MAP, vu.DMA_MAP.pack(vu.DMA_MAP.size, 3, 0, 0x10000, 0x1000)),
            (vu.VfioCommand.SET_IRQS, vu.IRQ_SET.pack(vu.IRQ_SET.size, vu.IRQ_DATA_EVENTFD, vu.IRQ_MSIX, 0, 1)),
        )
    ]
    return [*beginnings, *(greeting + step for step in [*session[1:], *(step.encoded() for step in descriptor_steps)])]


def run(data: bytes) -> None:
    """Do as many steps as half of the computing time allows; then check the device. Raises AssertionError."""
    enough_s = time.process_time() + MOST_CPU_S / 2
    with rig() as device:
        for step in decoded(data):
            device.do(step)
            if time.process_time() > enough_s:
                break
        check(device)


def check(device: Rig) -> None:
    """Check that the device kept nothing of its last peer and takes a new peer. Raises AssertionError."""
    json.dumps(device.server.state())
    device.do(DeviceStep(kind=StepKind.CONNECT))
    assert device.device.interrupts.vectors == []
    assert list(device.device.memory) == []
    greeting = DeviceStep(
        kind=StepKind.MESSAGE, command=vu.VfioCommand.VERSION, data=vu.VERSION.pack(0, 1) + CAPABILITIES
    )
    before = device.server.state()["messages"].get("VERSION", 0)
    device.do(greeting)
    assert device.server.state()["messages"]["VERSION"] == before + 1, "the device takes no new peer"
    open_fds = _open_fds()
    device.do(DeviceStep(kind=StepKind.CONNECT))
    device.do(greeting)
    assert _open_fds() <= open_fds, "descriptors are kept"


def _open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))

"""Fuzz the emulated device's control socket. Each line must get one reply, and the clock must be readable afterwards.

An input is lines, cut into pieces at zero bytes: the device receives each piece separately.
"""

import json

from ena_device import admin_layout as al
from ena_device import bends
from ena_device.driver import MEMORY_AT, PHC_AT
from ena_device.phc import RESPONSE_SIZE
from ena_device.registers import PHC_DOORBELL

from tools.fuzz.device import check
from tools.fuzz.steps import DeviceStep, Rig, StepKind, rig

MOST_LOG_PER_LINE, MOST_REPLY = 600, 20_000
_QUICK = {"busy_us": 0, "spread_us": 0}
WORDS = [
    *(f'"{name}": '.encode() for name in bends.KEYS),
    *(f'"{name}"'.encode() for name in bends.KEYS["mode"].names),  # type: ignore[union-attr]
    *(b'{"', b"}\n", b"true", b"false", b"null", b"-", b"1e9", b"NaN", b"\0", b"\n", b"[" * 99, b"9" * 30, b"\\ud800"),
]


def seeds() -> list[bytes]:
    """Return a line for each key with the ends of its range, and inputs with several keys and lines."""
    lines: list[dict[str, int | bool | str]] = [{"state": True}]
    for name, key in bends.KEYS.items():
        match key:
            case bends.IntegerKey():
                lines += [{name: key.low}, {name: key.high}, {name: 1}]
            case bends.FlagKey():
                lines += [{name: True}, {name: False}]
            case bends.ChoiceKey():
                lines += [{name: choice} for choice in key.names]
    singles = [json.dumps(line).encode() + b"\n" for line in lines]
    late_mode = json.dumps({"mode": "late", "late_us": 5, "offset_ns": -5, "frozen": True, "jitter_ns": 9}).encode()
    return [*singles, b"".join(singles), late_mode + b"\n", b'{"state": true}\n{"mo\0de": "err_ts"}\n']


def run(data: bytes) -> None:
    """Send the lines; then read the clock like the driver. Raises AssertionError on a wrong reply, log or clock."""
    with rig() as device:
        for piece in data.split(b"\0"):
            device.do(DeviceStep(kind=StepKind.CHUNK, data=piece))
        assert len(device.log.getvalue()) < MOST_LOG_PER_LINE * (data.count(b"\n") + 10), "long lines in the log"
        for reply in bytes(device.replies).split(b"\n")[:-1]:
            assert isinstance(json.loads(reply), dict)
            assert len(reply) < MOST_REPLY, "a reply without bounds"
        _read_clock(device)
        check(device)


def _read_clock(device: Rig) -> None:
    device.server.control(_QUICK)
    device.device.memory.map(address=MEMORY_AT, size=0x10000, fd=device.memory_fd, offset=0, writable=True)
    command = bytes(al.PHC_SET_AT) + al.PHC_SET.pack(MEMORY_AT + PHC_AT, 0, 0, RESPONSE_SIZE)
    device.device.configure_phc(command)
    for number in range(8):
        device.device.write_register(PHC_DOORBELL, number)
        device.device.tick()
    json.dumps(device.server.state())

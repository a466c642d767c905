"""Serve one emulated ENA device: python -m ena_device --socket X --control Y. README.md explains the options."""

import argparse
import sys
import time
from collections.abc import Callable

from ena_device import bends
from ena_device.clock import ClockSettings, SharedClock
from ena_device.device import Ena
from ena_device.device_errors import BadRequest, DeviceSetupError
from ena_device.doorbell import Doorbell, MappedDoorbell, PollPauses, SocketDoorbell
from ena_device.event_log import EventLog
from ena_device.features import OfferedFeatures
from ena_device.network import NetworkSocket
from ena_device.pci_config import PciConfig
from ena_device.phc import now_ns
from ena_device.serve import DeviceServer


def main() -> int:
    options = _parser().parse_args()
    if sys.byteorder != "little":
        print("ena_device: only little-endian machines are supported", file=sys.stderr)
        return 2
    try:
        server = _server(options)
    except (BadRequest, DeviceSetupError) as e:
        print(f"ena_device: {e}", file=sys.stderr)
        return 2
    try:
        server.run()
    finally:
        server.close()
    return 0


def _server(options: argparse.Namespace) -> DeviceServer:
    """Create the server by the options. Raises BadRequest or DeviceSetupError."""
    network = NetworkSocket(*options.network) if options.network else None
    try:
        return _server_on(network, options)
    except (BadRequest, DeviceSetupError):
        if network:
            network.close()
        raise


def _server_on(network: NetworkSocket | None, options: argparse.Namespace) -> DeviceServer:
    clock = SharedClock(ClockSettings(base_utc_ns=time.time_ns(), base_mono_ns=now_ns()))
    device = Ena(
        offer=OfferedFeatures(mac=options.mac),
        config=PciConfig(device_id=options.device_id, revision=options.revision),
        doorbell=_doorbell(options, clock),
        log=_log(time.monotonic()) if options.verbose else lambda text: None,
        network=network,
    )
    changes = {k: v for k in bends.START_KEYS if (v := getattr(options, k)) is not None}
    server = DeviceServer(socket_path=options.socket, control_path=options.control, device=device, clock=clock)
    try:
        server.control({"offset_ns": 0, **changes})
        for pid in options.end_with:
            server.end_with(pid)
    except (BadRequest, DeviceSetupError):
        server.close()
        raise
    return server


def _doorbell(options: argparse.Namespace, clock: SharedClock) -> Doorbell:
    if options.doorbell == "socket":
        return SocketDoorbell(clock)
    pauses = PollPauses(in_use_s=options.rest_us / 1e6, idle_s=options.idle_rest_us / 1e6)
    return MappedDoorbell(clock, pauses)


def _log(start: float) -> Callable[[str], None]:
    log = EventLog(sys.stderr)
    return lambda text: log.write(f"{time.monotonic() - start:9.3f} {text}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ena_device", description=__doc__)
    add = parser.add_argument
    add("--socket", required=True, metavar="PATH", help="vfio-user socket, for QEMU")
    add("--control", required=True, metavar="PATH", help="control socket: one JSON object a line")
    add("--device-id", type=lambda s: int(s, 16), default=0xEC20, metavar="HEX", help="PCI device id (ec20)")
    add("--revision", type=int, choices=range(256), default=0, metavar="N", help="PCI revision (0)")
    add("--mac", type=_mac, default="06:11:22:33:44:55", help="MAC address (06:11:22:33:44:55)")
    add("--network", nargs=2, metavar=("PATH", "PEER"), help="exchange frames by a datagram socket with that of a peer")
    add("--doorbell", choices=("mapped", "socket"), default="mapped", help="how the clock is asked (mapped)")
    add("--rest-us", type=_pause_us, default=150, metavar="US", help="mapped: pause between two looks in use (150)")
    add("--idle-rest-us", type=_pause_us, default=2000, metavar="US", help="mapped: the same when idle (2000)")
    add("--end-with", type=int, action="append", default=[], metavar="PID", help="end when this process ends")
    add("-v", "--verbose", action="store_true", help="one line an event to standard error")
    for name in bends.START_KEYS:
        _add_key(parser, name, bends.KEYS[name])
    return parser


def _add_key(parser: argparse.ArgumentParser, name: str, key: bends.Key) -> None:
    option = "--" + name.replace("_", "-")
    match key:
        case bends.IntegerKey():
            parser.add_argument(option, type=int, metavar="N", help=key.effect)
        case bends.FlagKey():
            parser.add_argument(option, action="store_true", default=None, help=key.effect)
        case bends.ChoiceKey():
            parser.add_argument(option, choices=key.names, help=key.effect)


def _pause_us(text: str) -> int:
    pause_us = int(text)
    if not 0 <= pause_us <= 1_000_000:
        raise ValueError(text)
    return pause_us


def _mac(text: str) -> bytes:
    address = bytes.fromhex(text.replace(":", ""))
    if len(address) != 6:
        raise ValueError(text)
    return address


if __name__ == "__main__":
    sys.exit(main())

"""Serve this machine's UTC by NTP: python -m ntp_server --socket PATH --peer PATH --address IPV4 [--end-with PID]."""

import argparse
import sys
from pathlib import Path

from ntp_server.frames import Station
from ntp_server.server import Server


def main() -> int:
    parser = argparse.ArgumentParser(prog="ntp_server", description=__doc__)
    parser.add_argument(
        "--socket", type=Path, required=True, metavar="PATH", help="socket on which a guest's frames arrive"
    )
    parser.add_argument("--peer", type=Path, required=True, metavar="PATH", help="socket to which the answers go")
    parser.add_argument(
        "--address", type=Station.parse, required=True, metavar="IPV4", help="served address on the guest's network"
    )
    parser.add_argument("--end-with", type=int, metavar="PID", help="end when this process ends")
    options = parser.parse_args()
    try:
        Server(options.socket, options.peer, options.address).run(options.end_with)
    except OSError as error:
        print(f"ntp_server: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

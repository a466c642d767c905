"""Serve the host's UTC by NTP: python -m ntp_server --port-file FILE [--end-with PID]."""

import argparse
import sys
from pathlib import Path

from ntp_server.server import Server


def main() -> int:
    parser = argparse.ArgumentParser(prog="ntp_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="UDP port on 127.0.0.1 (any free one)")
    parser.add_argument(
        "--port-file", type=Path, required=True, metavar="FILE", help="where to write the port's number"
    )
    parser.add_argument("--end-with", type=int, metavar="PID", help="end when this process ends")
    options = parser.parse_args()
    try:
        server = Server(port=options.port)
        half_written = options.port_file.with_name(options.port_file.name + ".new")
        half_written.write_text(f"{server.port}\n")
        half_written.rename(options.port_file)
        server.run(options.end_with)
    except OSError as error:
        print(f"ntp_server: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Serve a guest's seed and its packages on the guest's network: python -m cloud_server --socket PATH --peer PATH ..."""

import argparse
import ipaddress
import sys
from pathlib import Path

from cloud_server import pages, tap

SEED_PORT, MIRROR_PORT = 8080, 80


def main() -> int:
    parser = argparse.ArgumentParser(prog="cloud_server", description=__doc__)
    parser.add_argument(
        "--socket", type=Path, required=True, metavar="PATH", help="socket on which a guest's frames arrive"
    )
    parser.add_argument("--peer", type=Path, required=True, metavar="PATH", help="socket to which the answers go")
    parser.add_argument(
        "--address", type=ipaddress.IPv6Interface, required=True, metavar="IPV6/BITS", help="served address"
    )
    parser.add_argument("--seed", type=Path, required=True, metavar="FOLDER", help="user-data and meta-data")
    parser.add_argument("--mirror", type=Path, required=True, metavar="FOLDER", help="package mirror")
    parser.add_argument(
        "--mirror-answers",
        choices=("serving", "gone", "error-page"),
        default="serving",
        help="the packages; nothing, since nobody listens; or a page about an error",
    )
    parser.add_argument("--end-with", type=int, metavar="PID", help="end when this process ends")
    options = parser.parse_args()
    try:
        device = tap.open_tap(options.address)
        pages.serve_folder(SEED_PORT, pages.FolderPages, options.seed)
        if options.mirror_answers == "serving":
            pages.serve_folder(MIRROR_PORT, pages.MirrorPages, options.mirror)
        elif options.mirror_answers == "error-page":
            pages.serve_errors(MIRROR_PORT)
        tap.Bridge(options.socket, options.peer, device).run(options.end_with)
    except OSError as error:
        print(f"cloud_server: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

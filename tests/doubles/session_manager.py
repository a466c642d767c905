"""AWS's command with the Session Manager plugin, as an SSH client's ProxyCommand has it: `aws ssm start-session ...`.

It joins standard input and output to the SSH port of the instance, where EC2's API (AWS_ENDPOINT_URL) says that it is.
Any other words are refused. What it hides: the agent on the instance, permissions, and the service's limits.
"""

import argparse
import os
import re
import socket
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path


def main() -> int:
    """Join both ends until one of them closes."""
    parser = argparse.ArgumentParser(prog="aws", allow_abbrev=False)
    parser.add_argument("--log", type=Path, required=True, help="where each session's target is written")
    parser.add_argument("service", choices=["ssm"])
    parser.add_argument("operation", choices=["start-session"])
    parser.add_argument("--region", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--document-name", required=True, choices=["AWS-StartSSHSession"])
    parser.add_argument("--parameters", required=True)
    asked = parser.parse_args()
    port = re.fullmatch(r"portNumber=(\d+)", asked.parameters)
    address = where(asked.target, asked.region)
    if port is None or address is None:
        words = f"An error occurred (TargetNotConnected) when calling the StartSession operation: {asked.target}"
        print(f"\n{words} is not connected.", file=sys.stderr)
        return 254
    with asked.log.open("a") as log:
        log.write(f"{asked.target}\n")
    with socket.create_connection((address, int(port[1])), timeout=10) as there:
        there.settimeout(None)
        threading.Thread(target=send, args=(there,), daemon=True).start()
        while data := there.recv(65536):
            os.write(1, data)
    return 0


def send(there: socket.socket) -> None:
    while data := os.read(0, 65536):
        there.sendall(data)
    there.shutdown(socket.SHUT_WR)


def where(instance: str, region: str) -> str | None:
    """The address of an instance that runs. Asked without the SDK, which takes seconds to load."""
    asked = {"Action": "DescribeInstances", "Version": "2016-11-15", "InstanceId.1": instance}
    scope = f"Credential=double/20260101/{region}/ec2/aws4_request, SignedHeaders=host, Signature=none"
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        data=urllib.parse.urlencode(asked).encode(),
        headers={"Authorization": f"AWS4-HMAC-SHA256 {scope}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        said = answer.read().decode()
    found = re.search(r"<ipAddress>([\d.]+)</ipAddress>", said)
    return found[1] if found and "<name>running</name>" in said else None


if __name__ == "__main__":
    sys.exit(main())

"""Stand in for AWS's command with the Session Manager plugin in a ProxyCommand: `aws ssm start-session ...`.

It starts a session by the API (AWS_ENDPOINT_URL), which refuses it like Session Manager, and connects standard input
and output to the instance's SSH port. Other arguments are refused. It has no agent on the instance, and none of the
service's limits.
"""

import argparse
import json
import os
import re
import socket
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


def main() -> int:
    """Connect both ends until one of them closes."""
    parser = argparse.ArgumentParser(prog="aws", allow_abbrev=False)
    parser.add_argument("--log", type=Path, required=True, help="file to which each session's target is written")
    parser.add_argument("service", choices=["ssm"])
    parser.add_argument("operation", choices=["start-session"])
    parser.add_argument("--region", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--document-name", required=True, choices=["AWS-StartSSHSession"])
    parser.add_argument("--parameters", required=True)
    options = parser.parse_args()
    port = re.fullmatch(r"portNumber=(\d+)", options.parameters)
    refusal = start_session(options.target, options.region, options.document_name)
    address = find_address(options.target, options.region) if refusal is None else None
    if port is None or refusal is not None or address is None:
        code, message = refusal or ("TargetNotConnected", f"{options.target} is not connected.")
        print(f"\nAn error occurred ({code}) when calling the StartSession operation: {message}", file=sys.stderr)
        return 254
    with options.log.open("a") as log:
        log.write(f"{options.target}\n")
    with socket.create_connection((address, int(port[1])), timeout=10) as instance:
        instance.settimeout(None)
        threading.Thread(target=forward_input, args=(instance,), daemon=True).start()
        while data := instance.recv(65536):
            os.write(1, data)
    return 0


def forward_input(instance: socket.socket) -> None:
    while data := os.read(0, 65536):
        instance.sendall(data)
    instance.shutdown(socket.SHUT_WR)


def start_session(instance: str, region: str, document: str) -> tuple[str, str] | None:
    """Start a session; return the code and message with which the API refused it, or None."""
    scope = f"Credential=double/20260101/{region}/ssm/aws4_request, SignedHeaders=host, Signature=none"
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        data=json.dumps({"Target": instance, "DocumentName": document}).encode(),
        headers={
            "Authorization": f"AWS4-HMAC-SHA256 {scope}",
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "AmazonSSM.StartSession",
        },
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        answer = json.loads(error.read())
        return answer["__type"].rpartition("#")[2], answer.get("message") or answer.get("Message", "")
    return None


def find_address(instance: str, region: str) -> str | None:
    """Find the address of a running instance, without the SDK, which takes seconds to load."""
    query = {"Action": "DescribeInstances", "Version": "2016-11-15", "InstanceId.1": instance}
    scope = f"Credential=double/20260101/{region}/ec2/aws4_request, SignedHeaders=host, Signature=none"
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        data=urllib.parse.urlencode(query).encode(),
        headers={"Authorization": f"AWS4-HMAC-SHA256 {scope}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        reply = answer.read().decode()
    address = re.search(r"<ipAddress>([\d.]+)</ipAddress>", reply)
    return address[1] if address and "<name>running</name>" in reply else None


if __name__ == "__main__":
    sys.exit(main())

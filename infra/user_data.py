"""Make the host's cloud-init text: the host key that it starts with, and the timer for the end of its lease."""

import base64
import json
import struct

from harness.model.lease import boot_script


def cloud_config(host_key: str, lease_minutes: int) -> str:
    """The user data. JSON is valid YAML, so that no text in a key can change the document's structure."""
    return "#cloud-config\n" + json.dumps(
        {
            "ssh_deletekeys": True,
            "ssh_keys": {"ed25519_private": host_key.strip() + "\n", "ed25519_public": public_part(host_key)},
            "bootcmd": [["sh", "-c", boot_script(lease_minutes * 60)]],
        },
        indent=1,
    )


def public_part(private_key: str) -> str:
    """The public line of an OpenSSH private key, as `ssh-keygen -y` prints it. Raises ValueError for other text.

    The file's layout: "openssh-key-v1", three strings on its encryption, the number of keys, the public key
    (PROTOCOL.key in OpenSSH's source).
    """
    lines = private_key.strip().splitlines()
    if len(lines) < 3 or "OPENSSH PRIVATE KEY" not in lines[0]:
        raise ValueError("not an OpenSSH private key")
    data = base64.b64decode("".join(lines[1:-1]))
    if not data.startswith(b"openssh-key-v1\0"):
        raise ValueError("not an OpenSSH private key")
    offset = len(b"openssh-key-v1\0")
    for _ in range(3):
        _, offset = _string(data, offset)
    blob, _ = _string(data, offset + 4)
    name, _ = _string(blob, 0)
    return f"{name.decode('ascii')} {base64.b64encode(blob).decode('ascii')}"


def _string(data: bytes, offset: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">I", data, offset)
    end = offset + 4 + length
    if end > len(data):
        raise ValueError("an OpenSSH private key that is cut off")
    return data[offset + 4 : end], end

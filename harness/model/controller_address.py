"""Name the service that returns the public address of this machine, and parse its answer. Callers send the request."""

import ipaddress

CHECK_IP = "https://checkip.amazonaws.com"
"""AWS's service that returns the address of the client."""

CHECK_IP_S = 5.0
MOST_BYTES = 100


def parse_network(answer: bytes) -> str:
    """Parse the address in an answer as a network of one address: 192.0.2.7/32. Raises ValueError with the answer."""
    text = answer.decode("ascii", "replace").strip()
    try:
        return f"{ipaddress.IPv4Address(text)}/32"
    except ipaddress.AddressValueError:
        raise ValueError(f"{text!r}, which is no IPv4 address") from None

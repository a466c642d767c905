"""Say whom to ask for the public address of this machine, and read the answer. The asking is left to the callers."""

import ipaddress

CHECK_IP = "https://checkip.amazonaws.com"
"""AWS's service that returns the address of the client."""

CHECK_IP_S = 5.0
MOST_BYTES = 100


def parse_network(answer: bytes) -> str:
    """The address in an answer as a network of one: 192.0.2.7/32. Raises ValueError, which quotes the answer."""
    text = answer.decode("ascii", "replace").strip()
    try:
        return f"{ipaddress.IPv4Address(text)}/32"
    except ipaddress.AddressValueError:
        raise ValueError(f"{text!r}, which is no IPv4 address") from None

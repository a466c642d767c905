"""Read the networks that may connect by SSH: a setting's text, or the answer of the service that returns our address.

Callers send the request to that service.
"""

import ipaddress

CHECK_IP = "https://checkip.amazonaws.com"
"""AWS's service that returns the address of the client."""

CHECK_IP_S = 5.0
MOST_BYTES = 100

LEAST_PREFIX, MOST_NETWORKS = 16, 16
"""The widest network has 65,536 addresses, those of a large office. A security group admits 60 rules."""

NETWORKS = (
    "IPv4 networks such as 192.0.2.7/32 or 198.51.100.0/24, each by its first address, several between commas (at "
    f"most {MOST_NETWORKS}), none wider than /{LEAST_PREFIX}"
)
"""Description of the setting, for messages."""


def parse_networks(text: str) -> tuple[str, ...]:
    """Parse networks between commas, without duplicates, which EC2 refuses. Raises ValueError with the reason."""
    networks = [_parse_network(part.strip()) for part in text.split(",")]
    if len(networks) > MOST_NETWORKS:
        raise ValueError(f"{len(networks)} networks are more than {MOST_NETWORKS}")
    return tuple(dict.fromkeys(str(network) for network in networks))


def _parse_network(text: str) -> ipaddress.IPv4Network:
    if "/" not in text or not text.rpartition("/")[2].isdecimal():  # IPv4Network also takes 192.0.2.0/255.255.255.0
        raise ValueError(f"{text!r} is no network in the form ADDRESS/BITS")
    network = ipaddress.IPv4Network(text)
    if network.prefixlen < LEAST_PREFIX:
        raise ValueError(f"{text!r} would admit {network.num_addresses} addresses")
    return network


def parse_network(answer: bytes) -> str:
    """Parse the address in an answer as a network of one address: 192.0.2.7/32. Raises ValueError with the answer."""
    text = answer.decode("ascii", "replace").strip()
    try:
        return f"{ipaddress.IPv4Address(text)}/32"
    except ipaddress.AddressValueError:
        raise ValueError(f"{text!r}, which is no IPv4 address") from None

"""Tell the addresses of the public internet from those of one's own network, without asking anybody for a name."""

import ipaddress
import unicodedata

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_OWN_DOMAINS = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "arpa", "onion")
"""Last parts of names that no public host has (RFC 6761, 6762, 8375), or that own networks use."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def may_be_public(host: str) -> bool:
    """Whether a URL's host may be a public one: as far as an address or a name tells, before it is looked up."""
    address = parse_address(host)
    if address is not None:
        return is_public_address(address)
    labels = unicodedata.normalize("NFKC", host).lower().rstrip(".").split(".")
    return len(labels) > 1 and all(labels) and labels[-1] not in _OWN_DOMAINS


def is_public_address(address: Address) -> bool:
    """Whether an address is of the public internet, also where it stands for one of IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or embedded or address
    return address.is_global and not address.is_multicast


def parse_address(host: str) -> Address | None:
    """Parse an address, also in the forms that resolvers take (127.1, 0x7f000001, 017700000001); None for a name."""
    text = unicodedata.normalize("NFKC", host).strip("[]").partition("%")[0].rstrip(".")
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return _parse_short(text)


def _parse_short(text: str) -> ipaddress.IPv4Address | None:
    """Parse the forms of inet_aton(3): up to four numbers, decimal, octal or hexadecimal; the last fills the rest."""
    try:
        numbers = [int(part, 8 if part[:1] == "0" and part.isdigit() else 0) for part in text.split(".")]
    except ValueError:
        return None
    *first, last = numbers
    if len(first) > 3 or any(not 0 <= number < 256 for number in first) or not 0 <= last < 256 ** (4 - len(first)):
        return None
    value = last
    for place, number in enumerate(first):
        value |= number << (8 * (3 - place))
    return ipaddress.IPv4Address(value)

"""What an address says of who is behind it."""

from __future__ import annotations

import ipaddress

_V6_NETWORK_BITS = 64


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` (a name, or an address without brackets) is this machine itself."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def network_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return what one customer of a provider has: an IPv4 address, or the first half of an IPv6."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _V6_NETWORK_BITS), strict=False))

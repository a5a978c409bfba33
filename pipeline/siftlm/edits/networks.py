"""Tells public IP addresses from those that belong to nobody, by IANA's registries of special-purpose addresses.

The tables are ours, since those of Python's `ipaddress` differ between its versions, and so would the output.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

_NOT_PUBLIC = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",
]
_V4 = [(int(net.network_address), int(net.netmask)) for net in map(IPv4Network, _NOT_PUBLIC)]
_UNICAST = IPv6Network("2000::/3")
_V6 = [IPv6Network("2001::/23"), IPv6Network("2001:db8::/32"), IPv6Network("3fff::/20")]


def is_public(text: str) -> bool:
    """Tells whether a text is an IPv4 or IPv6 address of the public internet; False where it is none."""
    try:
        return _is_public_v6(IPv6Address(text)) if ":" in text else _is_public_v4(int(IPv4Address(text)))
    except AddressValueError:
        return False


def _is_public_v4(address: int) -> bool:
    return not any(address & mask == network for network, mask in _V4)


def _is_public_v6(address: IPv6Address) -> bool:
    return address in _UNICAST and not any(address in network for network in _V6)

"""FineWeb's rules for personal data, written anew: `re` over every document, as its formatter works."""

from __future__ import annotations

import ipaddress
import re

ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"  # RFC 5322, 3.2.3
LABEL = r"[A-Z0-9](?:[A-Z0-9-]*[A-Z0-9])?"
EMAIL = re.compile(rf"\b{ATOM}(?:\.{ATOM})*@{LABEL}(?:\.{LABEL})+", re.ASCII | re.IGNORECASE)
OCTET = "(?:2[0-4][0-9]|25[0-5]|[01]?[0-9]?[0-9])"
IP = re.compile(rf"{OCTET}(?:\.{OCTET}){{3}}")


def emails(text: str) -> list[str]:
    """What the yardstick takes for addresses."""
    return EMAIL.findall(text)


def ips(text: str) -> list[str]:
    """What it takes for public addresses."""
    return [found for found in IP.findall(text) if _is_global(found)]


def _is_global(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False

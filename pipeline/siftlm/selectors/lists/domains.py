"""Defines the list `domains`, whose entries cover their subdomains."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import idna
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.documents import host
from siftlm.selectors.lists.hashed import HashedSet
from siftlm.selectors.lists.lines import Lines
from siftlm.selectors.lists.settings import KeyedListSettings
from siftlm.statistics.ordered import BoolArray

_PLAIN = r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$"
_LABELS = re.compile(_PLAIN)


class DomainsList(KeyedListSettings):
    """Has urls and hosts that are, or lie below, one of its domains: `example.com` has `www.example.com`.

    Case does not count, and a name in any script is the same as its `xn--` form. A line may be one of a hosts file
    (`0.0.0.0 example.com`), and a comment may stand behind it.
    """

    kind: Literal["domains"] = "domains"
    unchecked: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {"entries": ["example.com"]}
    told: ClassVar[str] = "domains"

    def keys_of_lines(self, block: Lines) -> pa.Array:
        """Returns the domains of some lines in lower case and in ASCII."""
        lower = pc.utf8_lower(block.texts)
        plain = np.asarray(pc.match_substring_regex(lower, _PLAIN))
        others = block.where(~plain)
        domains = [domain for line in range(len(others)) for domain in _domains_in(others, line)]
        return pa.concat_arrays([lower.filter(pa.array(plain)), pa.array(domains, pa.large_string())])

    def holds(self, values: pa.Array, keys: HashedSet) -> BoolArray:
        """Tells for each url or host whether its host, or a domain above it, is among `keys`."""
        names = [host(value) for value in values.to_pylist()]
        hosts = pa.array([name and ascii_host(name) for name in names], pa.large_string()).dictionary_encode()
        held = np.append(_covered(hosts.dictionary, keys), False)  # the last for what has no host
        return np.asarray(held[np.asarray(hosts.indices.fill_null(len(held) - 1))], np.bool_)


def _covered(hosts: pa.Array, keys: HashedSet) -> BoolArray:
    """Whether each host, or a domain above it, is among `keys`; hosts of one domain look it up once."""
    held = keys.holds(hosts)
    above = pc.replace_substring_regex(hosts, r"^[^.]*\.?", "").dictionary_encode()
    if above.dictionary.to_pylist() in ([], [""]):
        return held
    return np.asarray(held | _covered(above.dictionary, keys)[np.asarray(above.indices)], np.bool_)


def ascii_host(name: str) -> str:
    """Returns a host in lower case and in ASCII, as the name system has it.

    What is no name there stays as it is.
    """
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True, transitional=False).decode().lower()
    except idna.IDNAError:
        return name.lower()


def _domains_in(lines: Lines, line: int) -> list[str]:
    """The domains of a line that is more than one domain in ASCII."""
    fields: list[str] = lines.texts[line].as_py().split("#")[0].split()
    names = fields[1:] if len(fields) > 1 and _is_address(fields[0]) else fields
    if _is_address(fields[0]) and len(fields) == 1:
        return fields
    domains = [ascii_host(name.removeprefix("*.").strip(".")) for name in names]
    if (len(names) > 1 and names is fields) or not all(map(_LABELS.match, domains)):
        raise lines.mistake(line, "must be a domain a line", "; urls with a path are a list of kind = 'urls'")
    return domains


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

"""Finds e-mail addresses, public IP addresses and phone numbers in texts.

What is found is what datatrove's `PIIFormatter` finds (FineWeb's), but for what is no address of a person: words of a
path or a query before an address, version numbers of more than four parts, multicast. Every pattern is linear: what
repeats in it is bounded, or followed by what cannot belong to it. Replacements are chosen by the order of different
addresses in the document, so one address has one replacement there, and they are found no second time.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from siftlm.edits.networks import is_public
from siftlm.edits.protocol import EditSettings, Replacement
from siftlm.statistics.ordered import BoolArray

VERSION = 1
Action = Literal["replace", "count", "leave"]
Place = tuple[int, int]  # [start, end) in characters

_LETTERS = "A-Za-zÀ-ÖØ-öø-ɏ"  # Latin; a Chinese sentence may have no space before an address
_ALNUM = f"{_LETTERS}0-9"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_LABEL = rf"[{_ALNUM}][{_ALNUM}-]{{0,62}}\."
_TOP = rf"(?:xn--[A-Za-z0-9-]{{2,59}}|[{_LETTERS}]{{2,24}})"
_HOST = re.compile(rf"@(?:(?:{_LABEL}){{1,8}}{_TOP}(?![{_LETTERS}])|\[?{_IPV4}\]?(?![{_ALNUM}]))")
_LOCAL = re.compile(rf"[{_ALNUM}_](?:[{_ALNUM}_%+&'~-]|\.(?!\.))*(?<=[{_ALNUM}_%+&'~-])\Z")
_LOCAL_LETTERS = 64  # RFC 5321, 4.5.3.1.1
_V4 = re.compile(rf"(?<![0-9A-Za-z_.]){_IPV4}(?![0-9A-Za-z_]|\.[0-9])")
_V6 = re.compile(r"(?<![0-9A-Za-z_:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?<!:)(?!:?[0-9A-Za-z_])")
_INTERNATIONAL = re.compile(r"(?<![0-9A-Za-z_+])\+[1-9](?:[ .()\u00a0-]{0,2}[0-9]){7,14}(?![0-9]|[.-][0-9])")
_NORTH_AMERICAN = re.compile(
    r"(?<![0-9A-Za-z_+.-])(?:1[ .-])?"
    r"(?:\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[.-]|[2-9][0-9]{2}([.-])[2-9][0-9]{2}\1)[0-9]{4}"
    r"(?![0-9A-Za-z_]|[.-][0-9])"
)


def emails(text: str) -> Iterator[Place]:
    """Yields the places of e-mail addresses, found from the `@` and the host behind it."""
    done = 0
    for host in _HOST.finditer(text):
        before = text[max(done, host.start() - _LOCAL_LETTERS - 1) : host.start()]
        start = _local_start(before)
        if 0 < len(before) - start <= _LOCAL_LETTERS:
            done = host.end()
            yield host.start() - (len(before) - start), done


def _local_start(before: str) -> int:
    """Where the part of an address before its `@` begins in the text before that; its length where there is none."""
    local = _LOCAL.search(before)
    return local.start() if local else len(before)


def ips(text: str) -> Iterator[Place]:
    """Yields the places of public IPv4 and IPv6 addresses, in order."""
    yield from _rising(match.span() for match in _matches(text, _V6, _V4) if is_public(match[0]))


def phones(text: str) -> Iterator[Place]:
    """Yields the places of phone numbers: international ones from their `+`, and North American ones."""
    yield from _rising(match.span() for match in _matches(text, _INTERNATIONAL, _NORTH_AMERICAN))


def _matches(text: str, *patterns: re.Pattern[str]) -> Iterator[re.Match[str]]:
    return (match for pattern in patterns for match in pattern.finditer(text))


def _rising(places: Iterable[Place]) -> Iterator[Place]:
    """The places in order, without those that begin inside one before."""
    done = 0
    for start, end in sorted(places):
        if start >= done:
            done = end
            yield start, end


class Kind(NamedTuple):
    """Describes a kind of personal data: how it is found, and what texts without it lack (an RE2 pattern)."""

    find: Callable[[str], Iterator[Place]]
    trace: str


KINDS = {
    "emails": Kind(emails, "@"),
    "ips": Kind(ips, r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:"),
    "phones": Kind(phones, r"\+[1-9]|[2-9][0-9]{2}[.-][0-9]{4}"),
}
"""In the order in which they are looked for: what is part of an address is nothing else."""


class PiiSettings(EditSettings):
    """Replaces e-mail addresses and public IP addresses, and on request phone numbers, and counts them.

    Each is replaced, only counted, or left alone.
    """

    kind: Literal["pii"] = "pii"
    paper: ClassVar = "Penedo et al. 2024 (arXiv 2406.17557), 3.6"
    unchecked: ClassVar[str] = ""
    emails: Action = Field("replace", description="What to do with e-mail addresses.")
    ips: Action = Field("replace", description="What to do with public IP addresses; private ones stay as they are.")
    phones: Action = Field("leave", description="What to do with phone numbers, international and North American.")
    email_replacements: list[str] = Field(
        ["email@example.com", "firstname.lastname@example.org"],
        min_length=1,
        description="What stands for the first address of a document, for the second one, and so on, in turn.",
    )
    ip_replacements: list[str] = Field(
        ["22.214.171.124", "126.96.36.199", "188.8.131.52", "184.108.40.206", "220.127.116.11", "18.104.22.168"],
        min_length=1,
        description="The same for IPv4; the default is FineWeb's, addresses that nothing answered at.",
    )
    ipv6_replacements: list[str] = Field(
        ["2001:db8::1", "2001:db8::2"], min_length=1, description="The same for IPv6; addresses for documentation."
    )
    phone_replacements: list[str] = Field(
        ["+1 202-555-0100", "+1 202-555-0101"], min_length=1, description="The same for phone numbers; fictitious ones."
    )

    def actions(self) -> dict[str, Action]:
        """Returns what is done with every kind that is not left alone."""
        given: dict[str, Action] = {"emails": self.emails, "ips": self.ips, "phones": self.phones}
        return {name: action for name, action in given.items() if action != "leave"}

    def counts(self) -> list[str]:
        return [f"pii_{name}" for name in self.actions()]

    def identity(self) -> object:
        return VERSION, self.model_dump()

    def suspects(self, texts: pa.LargeStringArray) -> BoolArray:
        mask = np.zeros(len(texts), np.bool_)
        for name in self.actions():
            trace = KINDS[name].trace
            look = pc.match_substring if trace.isascii() and len(trace) == 1 else pc.match_substring_regex
            mask |= look(texts, trace).to_numpy(zero_copy_only=False)
        return mask

    def replacements(self, text: str) -> list[Replacement]:
        taken: list[Replacement] = []
        for name, action in self.actions().items():
            places = _free(KINDS[name].find(text), taken)
            taken = sorted([*taken, *self._chosen(name, action, text, places)])
        return taken

    def _chosen(self, name: str, action: Action, text: str, places: Iterator[Place]) -> Iterator[Replacement]:
        """What stands for what is found, by the order of different values; what is a replacement already stays."""
        numbers: dict[tuple[Any, ...], int] = {}
        for start, end in places:
            value = text[start:end].lower()
            choices = self._choices(name, value)
            if value in map(str.lower, choices):
                continue
            number = numbers.setdefault((choices is self.ipv6_replacements, value), len(numbers))
            chosen = choices[number % len(choices)] if action == "replace" else None
            yield Replacement(start, end, chosen, f"pii_{name}")

    def _choices(self, name: str, value: str) -> list[str]:
        if name == "ips":
            return self.ipv6_replacements if ":" in value else self.ip_replacements
        return self.email_replacements if name == "emails" else self.phone_replacements


def _free(places: Iterator[Place], taken: list[Replacement]) -> Iterator[Place]:
    """The places that overlap none of those that are taken, which rise."""
    ends = [one.end for one in taken]
    for start, end in places:
        after = bisect(ends, start)
        if after == len(taken) or taken[after].start >= end:
            yield start, end

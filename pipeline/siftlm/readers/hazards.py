"""Estimates from the tags of a page what it would cost to parse, before it is parsed.

The HTML standard lets a few kilobytes ask for gigabytes: formatting elements that are never closed are made again in
every paragraph (13.2.4.3, "Reconstruct the active formatting elements"), and many tags make the parser walk the whole
stack of open elements. So the stack and the list are followed here, roughly and never too low by much, and a page that
goes beyond what pages need is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

MAX_PAGE_DEPTH = 1500
"""Extraction takes time quadratic in the depth of nesting: 30 ns x depth^2. Chrome stops at 512 (blink:
kMaximumHTMLParserDOMTreeDepth), and no real page has been seen beyond that."""

MAX_NODES = 500_000
"""Elements and comments of a page, those included that are made again; up to 700 bytes each. No page of 1,811 real ones
has more than 50,000."""

MAX_STEPS = 500_000_000
"""Elements that the parser looks at on its stack; 4 ns each. No page of 1,811 real ones takes more than
5,000,000."""

MAX_ATTRIBUTES = 1000  # parsing takes time quadratic in the attributes of one tag: 120,000 of them take three minutes


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


_PLAIN_TAGS = 3000
_PLAIN_BYTES = 200_000
_VOID = _tags("area base br col embed hr img input link meta param source track wbr")
_FORMATTING = _tags("a b big code em font i nobr s small strike strong tt u")
_PYTHON = 50  # steps of the parser that one of this estimate takes as long as
_TWINS = 3  # of the same tag with the same attributes are in the list at most ("Noah's Ark clause")
# Before these nothing is made again, and an open paragraph ends (13.2.6.4.7, as far as cost is concerned).
_BLOCKS = _tags(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer form h1 h2 h3 "
    "h4 h5 h6 header hgroup hr li dd dt listing main menu nav ol p plaintext pre search section summary table ul "
    "caption col colgroup tbody td tfoot th thead tr html head body"
)
_TABLE_PARTS = _tags("caption col colgroup tbody td tfoot th thead tr")
# Formatting elements outside of these are not made again inside.
_BARRIERS = _tags("td th caption applet object marquee template")
_SCOPES = _BARRIERS | {"table", "html", "button"}
_ONCE = _tags("html head body")
_ROW = frozenset(["tr", "tbody", "thead", "tfoot", "table", "template"])
# What an open element of these ends at the start of one of those, where none of the third is in between
# (13.2.6.4.7 to 13.2.6.4.15; a start tag that closes nothing here, and is one of _BLOCKS, closes a paragraph).
_ITEM_STOPS = (_BLOCKS | _SCOPES) - {"address", "div", "p"}
_CLOSES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "li": (frozenset(["li"]), _ITEM_STOPS - {"li"}),
    "dt": (frozenset(["dt", "dd"]), _ITEM_STOPS - {"dt", "dd"}),
    "dd": (frozenset(["dt", "dd"]), _ITEM_STOPS - {"dt", "dd"}),
    "option": (frozenset(["option"]), _BLOCKS | _SCOPES | {"select", "optgroup"}),
    "td": (frozenset(["td", "th"]), _ROW),
    "th": (frozenset(["td", "th"]), _ROW),
    "tr": (frozenset(["tr"]), _ROW - {"tr"}),
    "tbody": (frozenset(["tbody", "thead", "tfoot"]), frozenset(["table", "template"])),
}
_PARAGRAPH = (frozenset(["p"]), _SCOPES)
# SVG and MathML, where a slash closes a tag (13.2.6.5): what begins them, what ends them, what holds HTML in them.
_FOREIGN = _tags("svg math")
_BREAKOUTS = _tags(
    "b big blockquote body br center code dd div dl dt em embed font h1 h2 h3 h4 h5 h6 head hr i img li listing menu "
    "meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul var"
)
_INTEGRATION = _tags("foreignobject desc title mi mo mn ms mtext annotation-xml")
_START = re.compile(r"<[a-zA-Z]")
_NAMED = r"""[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>"'][^\s>]*+))?+"""
_MARKUP = re.compile(rf"<(?:(/?)([a-zA-Z][^\s/>]*+)((?:\s++|/(?!>)|{_NAMED})*+)(/?)(?:>|\Z)|(!--)|([!?/]))")
"""A tag with its attributes, in which quoted brackets end nothing (13.2.5.32 to 13.2.5.40); or how a comment begins.
Whatever begins a tag is one, to the end of the page if need be, so that nothing is looked at twice."""
_COMMENT_END = re.compile(r"(?<=<!--)-?>|--!?>")
_RAW = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in _tags("iframe noembed noframes script style textarea title xmp")
}  # what is in these is text, whatever it looks like
_FORMATTING_TAG = re.compile(r"<(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?:>|(?=[\s/]))", re.IGNORECASE)
_ATTRIBUTE = r"""[\s/]++[^\s=>/]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>]++))?+"""
_MANY_ATTRIBUTES = re.compile(rf"<[a-zA-Z][^\s/>]*+(?:{_ATTRIBUTE}){{{MAX_ATTRIBUTES},}}")


def hazard_of(html: str) -> str | None:
    """Returns why a page would take the parser too long or too much memory; None where it would not."""
    starts = html.count("<") - html.count("</")
    if (comments := html.count("<!")) > MAX_NODES:
        return f"{comments} comments, more than {MAX_NODES}"
    if starts > MAX_NODES and (elements := sum(1 for _ in _START.finditer(html))) > MAX_NODES:
        return f"{elements} elements, more than {MAX_NODES}"
    if starts > _PLAIN_TAGS or starts * _most_active(html) > MAX_NODES:
        cost = _cost(html)
        if cost.deepest > MAX_PAGE_DEPTH:
            return f"elements are nested {cost.deepest} deep, more than {MAX_PAGE_DEPTH}"
        if cost.nodes > MAX_NODES:
            return f"{cost.nodes} elements, more than {MAX_NODES}, of which {cost.remade} are formatting made again"
        if cost.steps > MAX_STEPS:
            return f"the parser would take {cost.steps} steps, more than {MAX_STEPS}"
    if len(html) > _PLAIN_BYTES and _MANY_ATTRIBUTES.search(html):
        return f"a tag with more than {MAX_ATTRIBUTES} attributes"
    return None


def _most_active(html: str) -> int:
    """How many formatting elements can be open at once, links aside: a link ends the one before it."""
    counts = Counter(tag.lower() for tag in _FORMATTING_TAG.findall(html))
    return 1 + sum(min(times, _TWINS) if tag.endswith(">") else times for tag, times in counts.items())


@dataclass(slots=True, eq=False)
class _Formatting:
    """Stands in the list of active formatting elements; `open` while it is on the stack, too."""

    name: str
    attributes: str
    open: bool = True


@dataclass(slots=True)
class _Cost:
    """Follows the parser's stack and list, and counts what has been spent so far."""

    stack: list[tuple[str, _Formatting | None, bool]] = field(default_factory=list)  # True for SVG and MathML
    active: list[_Formatting | None] = field(default_factory=list)  # None where a barrier begins
    counts: Counter[str] = field(default_factory=Counter)  # of the names on the stack
    form: bool = False  # whether one was begun that no end tag has ended
    options: int = 0  # of the select before: each new one looks at them all
    plain: int = 0  # elements on the stack but for formatting, which nests without cost
    deepest: int = 0
    elements: int = 0  # start tags
    remade: int = 0
    steps: int = 0

    @property
    def nodes(self) -> int:
        return self.elements + self.remade

    @property
    def beyond(self) -> bool:
        return self.nodes > MAX_NODES or self.steps > MAX_STEPS or self.deepest > 2 * MAX_PAGE_DEPTH

    @property
    def in_foreign(self) -> bool:
        return bool(self.stack) and self.stack[-1][2] and self.stack[-1][0] not in _INTEGRATION

    def start(self, name: str, attributes: str, closed: bool) -> None:
        """Adds the cost of a start tag, `closed` where it ends in a slash."""
        self.elements += 1
        if self.in_foreign and name not in _BREAKOUTS:
            self.steps += 1
            if not closed:
                self._push(name, None)
            return
        while self.in_foreign:
            self._take()
        if name in _ONCE or (name == "form" and self.form and not self.counts["template"]):
            return  # the parser has one already
        if name in _TABLE_PARTS and not (self.counts["table"] or self.counts["template"]):
            return  # the parser ignores it
        if name in _FORMATTING:
            self._start_formatting(name, attributes)
            return
        self.steps += len(self.stack)
        if name in _CLOSES:
            self._close(*_CLOSES[name])
        if name in _BLOCKS and name not in _TABLE_PARTS:
            self._close(*_PARAGRAPH)
        elif name not in _BLOCKS:
            self.remake()
        if name == "option":
            self.options += 1
            self.steps += 3 * self.options + len(self.stack)
        elif name == "select":
            self.options = 0
        if name not in _VOID:
            self._push(name, None)
            if name in _BARRIERS:
                self.active.append(None)

    def end(self, name: str) -> None:
        self.steps += len(self.stack)
        if name in _ONCE:
            return  # what is open in them stays open
        if name == "form" and not self.counts["template"]:
            self.form = False
            if (place := self._innermost(frozenset(["form"]), _SCOPES)) is not None:
                self._take(place)  # and leaves on the stack what is open in the form
            return
        if name in _FORMATTING and self._end_formatting(name):
            return
        stops = _SCOPES if name in _BLOCKS else _BLOCKS | _SCOPES
        if name in _TABLE_PARTS or name == "table":
            stops = frozenset(["template"])
        self._close(frozenset([name]), stops)

    def remake(self) -> None:
        """Adds the formatting elements again that were closed with the element around them."""
        first = len(self.active)
        while first and (entry := self.active[first - 1]) and not entry.open:
            first -= 1
        for entry in self.active[first:]:
            assert entry is not None, "the loop ends at a barrier"
            entry.open = True
            self._push(entry.name, entry)
        self.remade += len(self.active) - first

    def _start_formatting(self, name: str, attributes: str) -> None:
        if name in ("a", "nobr"):
            self._end_formatting(name)
        self.remake()
        self.steps += 4 * len(self.active)
        twins = [entry for entry in self.active[-8:] if entry and (entry.name, entry.attributes) == (name, attributes)]
        if len(twins) >= _TWINS:
            self.active.remove(twins[0])
        self.active.append(_Formatting(name, attributes))
        self._push(name, self.active[-1])

    def _end_formatting(self, name: str) -> bool:
        """Whether there was one to end; it stays on the stack where blocks were opened in it."""
        place = len(self.active)
        while place and (entry := self.active[place - 1]) and entry.name != name:
            place -= 1
        self.steps += _PYTHON * (len(self.active) - place)
        entry = self.active[place - 1] if place else None
        if entry is None:
            return False
        del self.active[place - 1]
        if entry.open:
            self._close(frozenset([name]), _BLOCKS | _SCOPES)
        return True

    def _close(self, names: frozenset[str], stops: frozenset[str]) -> None:
        """Closes the innermost element of those names and what is in it, if none of `stops` is in between."""
        place = self._innermost(names, stops)
        while place is not None and len(self.stack) > place:
            self._take()

    def _innermost(self, names: frozenset[str], stops: frozenset[str]) -> int | None:
        """Where the innermost element of those names is on the stack, if none of `stops` is in between."""
        if not any(self.counts[name] for name in names):
            return None
        place = len(self.stack) - 1
        while self.stack[place][0] not in names:
            if self.stack[place][0] in stops or not place:
                self.steps += _PYTHON * (len(self.stack) - place)
                return None
            place -= 1
        return place

    def _push(self, name: str, entry: _Formatting | None) -> None:
        self.stack.append((name, entry, self.in_foreign or name in _FOREIGN))
        self.counts[name] += 1
        self.form |= name == "form"
        if entry is None:
            self.plain += 1
            self.deepest = max(self.deepest, self.plain)

    def _take(self, place: int = -1) -> None:
        name, entry, _ = self.stack.pop(place)
        self.counts[name] -= 1
        if entry:
            entry.open = False
            return
        self.plain -= 1
        if name in _BARRIERS and None in self.active:
            while self.active.pop() is not None:
                pass


def _cost(html: str) -> _Cost:
    """What the page costs, up to somewhat above the limits."""
    cost = _Cost()
    before = 0
    while (markup := _MARKUP.search(html, before)) and not cost.beyond:
        if markup.start() > before and not html[before : markup.start()].isspace():
            cost.remake()
        before = markup.end() if markup[2] else _behind(html, markup.start(), markup, cost.in_foreign)
        name = (markup[2] or "").lower()
        if markup[1]:
            cost.end(name)
        elif name:
            foreign = cost.in_foreign
            cost.start(name, markup[3], bool(markup[4]))
            if name == "plaintext" and not foreign:
                break
            if name in _RAW and not foreign:
                end = _RAW[name].search(html, before)
                before = end.start() if end else len(html)
    return cost


def _behind(html: str, start: int, markup: re.Match[str], foreign: bool) -> int:
    """Where a comment ends, or what the parser takes for one."""
    if markup[5]:
        end = _COMMENT_END.search(html, markup.end())
        return end.end() if end else len(html)
    mark = "]]>" if foreign and html.startswith("<![CDATA[", start) else ">"
    place = html.find(mark, start)
    return place + len(mark) if place >= 0 else len(html)

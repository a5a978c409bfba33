"""Turns matplotlib figures into inline SVG with the page's colours and fonts and a readable name."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
PAINT = {
    "#010101": "ink",
    "#020202": "muted",
    "#030303": "grid",
    "#040404": "before",
    "#050505": "kept",
    "#060606": "dropped",
    "#070707": "cut",
}
"""Colours that figures are drawn in, and the CSS variables that take their place."""
INK, MUTED, GRID, BEFORE, KEPT, DROPPED, CUT = PAINT
_DECIMALS = re.compile(r"(\.\d{2})\d+")
_FONT = re.compile(r"font: (?:[a-z0-9]+ )*?([\d.]+px)[^;]*")


@dataclass(frozen=True)
class Chart:
    """Holds a chart as SVG, with its title and a description in words."""

    title: str
    description: str
    svg: Markup


def chart(figure: Figure, name: str, title: str, description: str) -> Chart:
    """Returns a matplotlib figure as a chart; `name` keeps its SVG ids apart from those of other charts."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the reader's fonts draw it, not ours
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    _tidy(root)
    _describe(root, name, title, description)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return Chart(title, description, Markup(ElementTree.tostring(root, encoding="unicode")))


def _tidy(root: ElementTree.Element) -> None:
    """Themes colours and fonts, shortens numbers, and removes ids that nothing refers to."""
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for name in ("d", "x", "y", "transform"):
            if name in element.attrib:
                element.set(name, _DECIMALS.sub(r"\1", element.attrib[name]))
        if "style" in element.attrib:
            element.set("style", _themed(element.attrib["style"]))
    for name in ("width", "height"):
        root.attrib.pop(name, None)


def _themed(style: str) -> str:
    for colour, variable in PAINT.items():
        style = style.replace(colour, f"var(--{variable})")
    return _FONT.sub(r"font-size: \1", style)


def _describe(root: ElementTree.Element, name: str, title: str, description: str) -> None:
    """Makes the picture one image for assistive technology, with a title and a description."""
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(position, element)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")

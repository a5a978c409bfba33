"""Draws the charts of the report: distributions with their cuts, scores by length and by group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from siftlm.report.svg import BEFORE, CUT, DROPPED, GRID, INK, KEPT, MUTED, Chart, chart
from siftlm.statistics.ordered import BoolArray, Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 420, 220  # px, narrow enough that a phone shows the text at reading size
FONT = 12
NUMBERS = 58  # px for a column of counts, `short`, and the title beside it
BELOW, RIGHT, ABOVE = 38, 10, 4  # px around the axes: for a row of numbers and a title, and half a number
DOTS = 400
PERCENTILES = (10, 25, 50, 75, 90)
BINS = 12
LABEL = 22  # characters of a name beside an axis


@contextmanager
def axes(height: int = HEIGHT, *, left: int | None = None) -> Iterator[tuple[Any, Axes]]:
    """Yields an empty figure with one pair of axes in the colours of the page.

    They begin `left` px from the edge, or where matplotlib finds room by drawing twice, in twice the time.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": FONT,
        "text.color": INK,
        "grid.linewidth": 0.8,
        "axes.axisbelow": True,
        "text.parse_math": False,
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), GRID),
        **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), MUTED),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False),
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained" if left is None else None)
        if left is not None:
            figure.subplots_adjust(left / WIDTH, BELOW / height, 1 - RIGHT / WIDTH, 1 - ABOVE / height)
        yield figure, figure.add_subplot()


def distribution(
    name: str, column: str, edges: Sequence[float], counts: np.ndarray, lines: Sequence[float], description: str
) -> Chart:
    """Returns a histogram chart of documents before and after selection, with the cuts; counts are int64[2, bins]."""
    from matplotlib.ticker import MaxNLocator

    with axes(left=NUMBERS) as (figure, plot):
        plot.stairs(counts[0], edges, fill=True, color=BEFORE, alpha=0.45)
        plot.stairs(counts[1], edges, fill=True, color=KEPT, alpha=0.75)
        _scale(plot, edges, lines)
        plot.grid(visible=True, axis="y")
        plot.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        plot.yaxis.set_major_formatter(lambda value, _: short(value))
        plot.set_ylim(0, max(1, int(counts.max(initial=0))) * 1.12)
        _draw_lines(plot, lines)
        plot.set_xlabel(column)
        plot.set_ylabel("documents")
        return chart(figure, name, f"{column} before and after selection", description)


def _scale(plot: Axes, edges: Sequence[float], lines: Sequence[float]) -> None:
    """A logarithmic axis where the bins are; room for cuts that lie half a picture beyond them."""
    low, high = edges[0], edges[-1]
    logarithmic = low > 0 and high / low > 20
    if logarithmic:
        _logarithmic(plot, "x", high / low)
        lines = [line for line in lines if line > 0]
    place: Callable[[float], float] = math.log if logarithmic else float
    span = place(high) - place(low)
    near = [line for line in lines if place(low) - span / 2 <= place(line) <= place(high) + span / 2]
    ends = [place(min([low, *near])) - 0.02 * span, place(max([high, *near])) + 0.02 * span]
    plot.set_xlim(*(math.exp(end) if logarithmic else end for end in ends))
    plot.xaxis.set_major_formatter(lambda value, _: short(value))


def _logarithmic(plot: Axes, axis: Literal["x", "y"], ratio: float) -> None:
    """Scales an axis, with ticks at 1, 2 and 5 of every decade where decades are few."""
    from matplotlib.ticker import LogLocator

    plot.set(**{f"{axis}scale": "log"})
    along = plot.xaxis if axis == "x" else plot.yaxis
    along.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 1000 else (1.0,), numticks=9))
    along.set_minor_formatter(lambda *_: "")


def _draw_lines(plot: Axes, lines: Sequence[float]) -> None:
    """Each cut as a dashed line; the cuts of many groups as the range that they span. `lines` ascend."""
    if len(lines) > 12:
        plot.axvspan(lines[0], lines[-1], color=CUT, alpha=0.15)
        lines = [lines[0], lines[-1]]
    low, high = plot.get_xlim()
    for value in [line for line in lines if low <= line <= high]:
        plot.axvline(value, color=CUT, linewidth=1.4, linestyle=(0, (4, 2)))


def against_length(
    name: str, column: str, sizes: Float64Array, values: Float64Array, kept: BoolArray, draw: Float64Array
) -> Chart | None:
    """Returns a chart of a score against text bytes: percentiles in bins of like length, and documents as dots."""
    usable = np.isfinite(values) & (values > 0) & (sizes > 0)
    sizes, values, kept, draw = sizes[usable], values[usable], kept[usable], draw[usable]
    if len(values) < 2:
        return None
    with axes(280) as (figure, plot):
        _dots(plot, sizes, values, kept, draw)
        middle, levels = binned(sizes, values)
        plot.fill_between(middle, levels[0], levels[4], color=BEFORE, alpha=0.25, linewidth=0)
        plot.fill_between(middle, levels[1], levels[3], color=BEFORE, alpha=0.35, linewidth=0)
        plot.plot(middle, levels[2], color=INK, linewidth=1.8)
        low, high = np.percentile(values, [0.5, 99.5])
        plot.set_ylim(low * 0.9, high * 1.1)
        plot.set_xscale("log")
        plot.xaxis.set_major_formatter(lambda value, _: short(value))
        if high / low > 5:
            _logarithmic(plot, "y", high / low)
        plot.yaxis.set_major_formatter(lambda value, _: short(value))  # after the scale, which brings its own
        plot.grid(visible=True)
        plot.set_xlabel("bytes of text")
        plot.set_ylabel(column)
        ends = f"{short(levels[2][0])} in the shortest texts to {short(levels[2][-1])} in the longest"
        words = f"Median {column} from {ends}; {len(values):,} documents."
        return chart(figure, name, f"{column} against length", words)


def _dots(plot: Axes, sizes: Float64Array, values: Float64Array, kept: BoolArray, draw: Float64Array) -> None:
    few = np.argsort(draw, kind="stable")[:DOTS]
    for rows, colour in ((few[~kept[few]], DROPPED), (few[kept[few]], KEPT)):
        plot.plot(sizes[rows], values[rows], "o", color=colour, markersize=3, alpha=0.6, markeredgewidth=0)


def binned(sizes: Float64Array, values: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Returns (median size [bins], percentiles of values [5, bins]) of documents in equally full bins by size."""
    order = np.argsort(sizes, kind="stable")
    bins = [b for b in np.array_split(order, min(BINS, max(1, len(order) // 10))) if len(b)]
    middle = np.array([np.median(sizes[b]) for b in bins])
    return middle, np.array([np.percentile(values[b], PERCENTILES) for b in bins]).T


def by_group(name: str, column: str, group: str, rows: Sequence[tuple[str, Float64Array]]) -> Chart | None:
    """Returns a chart of the percentiles of a score in each group; None where there is no group.

    Percentiles 10 to 90 are a thin line, 25 to 75 a thick one, and the median is a dot.
    """
    if not rows:
        return None
    with axes(48 + 21 * len(rows)) as (figure, plot):
        levels = np.array([np.percentile(values, PERCENTILES) for _, values in rows])
        at = np.arange(len(rows))
        plot.hlines(at, levels[:, 0], levels[:, 4], color=BEFORE, linewidth=1.6)
        plot.hlines(at, levels[:, 1], levels[:, 3], color=KEPT, linewidth=6, alpha=0.6)
        plot.plot(levels[:, 2], at, "o", color=INK, markersize=5)
        name_rows(plot, [label for label, _ in rows])
        plot.tick_params(axis="y", length=0)
        if levels.min() > 0 and levels.max() / levels.min() > 8:
            _logarithmic(plot, "x", float(levels.max() / levels.min()))
        plot.xaxis.set_major_formatter(lambda value, _: short(value))
        plot.grid(visible=True, axis="x")
        plot.set_xlabel(column)
        medians = ", ".join(f"{shortened(label)} {short(m)}" for (label, _), m in zip(rows, levels[:, 2], strict=True))
        return chart(figure, name, f"{column} by {group}", f"Medians: {medians}.")


def name_rows(plot: Axes, names: Sequence[str]) -> None:
    """Writes a name beside each row of a chart, the first at the top."""
    plot.set_yticks(np.arange(len(names)), [shortened(name) for name in names])
    plot.set_ylim(len(names) - 0.4, -0.6)


def shortened(label: str) -> str:
    """Returns a name short enough to stand beside an axis, with unprintable characters replaced by a dot."""
    label = "".join(sign if sign.isprintable() else "·" for sign in label)
    return label if len(label) <= LABEL else f"{label[: LABEL - 1]}…"


def short(value: float) -> str:
    """Returns a number as a short text: 950, 1.5k, 2M, 0.003."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"

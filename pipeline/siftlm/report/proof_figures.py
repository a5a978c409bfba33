"""Draws the charts of a proof: loss while training, effects by domain, and what each arm is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from siftlm.report.figures import axes, name_rows, short, shortened
from siftlm.report.proof import ProofArm, ProofComparison, ProofEffect
from siftlm.report.svg import BEFORE, CUT, DROPPED, INK, KEPT, Chart, chart

MARKS = {"better": KEPT, "worse": DROPPED, "tie": BEFORE}


ALL = "all"  # what the row of all domains is called


def curves(name: str, arm: ProofArm, nulls: Sequence[ProofArm]) -> Chart:
    """Returns a chart of bits per byte against tokens for an arm and its nulls, each with one standard error."""
    with axes(260) as (figure, plot):
        for drawn, colour, line in [(arm, KEPT, "-"), *((null, *style(null)) for null in nulls)]:
            tokens, means = [p.tokens for p in drawn.curve], [p.mean for p in drawn.curve]
            plot.fill_between(
                tokens,
                [p.low for p in drawn.curve],
                [p.high for p in drawn.curve],
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
            plot.plot(tokens, means, color=colour, linewidth=1.8, linestyle=line, label=drawn.name)
        plot.xaxis.set_major_formatter(lambda value, _: short(value))
        plot.set_xlabel("tokens")
        plot.set_ylabel("bits per byte, held out")
        plot.grid(visible=True)
        plot.legend(frameon=False, fontsize=11)
        ends = ", ".join(f"{drawn.name} {drawn.overall:.4f}" for drawn in (arm, *nulls))
        return chart(figure, name, f"{arm.name} while it is trained", f"Bits per byte at the end: {ends}.")


def style(null: ProofArm) -> tuple[str, str]:
    """Returns the colour and the line of a null's curve."""
    return (INK, "--") if null.kind == "random" else (BEFORE, "-")


def forest(name: str, title: str, rows: Sequence[tuple[str, ProofEffect]]) -> Chart:
    """Returns a chart of effects with their intervals, a row each; to the right of 0 an arm is better."""
    at = np.arange(len(rows))
    with axes(60 + 24 * len(rows)) as (figure, plot):
        plot.axvline(0, color=CUT, linewidth=1)
        for place, (_, effect) in zip(at.tolist(), rows, strict=True):
            plot.hlines(place, effect.low, effect.high, color=MARKS[effect.verdict], linewidth=3)
            plot.plot(effect.effect, place, "o", color=INK, markersize=5)
        name_rows(plot, [_row_name(label) for label, _ in rows])
        plot.locator_params(axis="x", nbins=5)
        plot.set_xlabel("bits per byte better than its null")
        plot.grid(visible=True, axis="x")
        words = ", ".join(f"{shortened(label)} {effect.effect:+.4f}" for label, effect in rows)
        return chart(figure, name, title, words)


def _row_name(label: str) -> str:
    """The arm of the row of all domains, and the domain of the rows below it, for names of both are too long."""
    arm, _, domain = label.rpartition(": ")
    return arm if domain == ALL else f"in {domain}"


def composition(name: str, arms: Sequence[ProofArm]) -> Chart:
    """Returns a chart of the share of the trained bytes by source, a bar for each arm."""
    sources = sorted({source for arm in arms for source in arm.sources})
    at, left = np.arange(len(arms)), np.zeros(len(arms))
    shades = np.linspace(0.95, 0.25, max(len(sources), 1))
    with axes(60 + 24 * len(arms)) as (figure, plot):
        for source, shade in zip(sources, shades.tolist(), strict=True):
            width = np.array([arm.sources.get(source, 0.0) for arm in arms])
            plot.barh(at, width, left=left, color=KEPT, alpha=shade, height=0.65)
            widest = int(width.argmax())
            if width[widest] > 0.12:
                plot.text(left[widest] + width[widest] / 2, widest, shortened(source), ha="center", va="center")
            left = left + width
        name_rows(plot, [arm.name for arm in arms])
        plot.set_xlim(0, 1)
        plot.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        plot.set_xlabel("share of the bytes that were trained on, by source")
        words = "; ".join(
            f"{arm.name}: " + ", ".join(f"{s} {arm.sources.get(s, 0):.0%}" for s in sources) for arm in arms
        )
        return chart(figure, name, "What each arm was trained on", words)


def rows_by_domain(comparisons: Sequence[ProofComparison]) -> list[tuple[str, ProofEffect]]:
    """Returns the rows of a forest: every comparison on all domains, and then in each."""
    rows: list[tuple[str, ProofEffect]] = []
    for made in comparisons:
        rows.append((f"{made.arm}: {ALL}", made.overall))
        rows += [(f"{made.arm}: {domain}", effect) for domain, effect in made.domains.items()]
    return rows

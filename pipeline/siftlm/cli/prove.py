"""Defines the command `siftlm prove`, and prints what a proof shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from siftlm.report.proof import ProofComparison, ProofReport


def prove(
    config: Annotated[
        str, typer.Argument(metavar="CONF", help="A run's configuration, with a table [prove] or without.")
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, for instance prove.tokens=1e6."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make the selections, and say what would be trained and seen.")
    ] = False,
) -> None:
    """Train small models on draws of every selection, and say which selection teaches better, and how sure that is."""
    from siftlm.engine.progress import Progress
    from siftlm.proving.prove import prove as compare
    from siftlm.proving.settings import load

    plan = load(config, sets)
    made = compare(plan, Progress(metrics=plan.config.metrics_file), dry_run=dry_run)
    if made is not None:
        print_proof(made, plan.config.output.folder)


def print_proof(proof: ProofReport, folder: str) -> None:
    """Prints the verdicts, the effects as a forest of intervals, and where the page is."""
    from siftlm.cli.loop_terminal import print_lines, table
    from siftlm.report.proof import FOLDER, PAGE, verdict_words

    rows = [_row(made, proof.comparisons) for made in proof.comparisons]
    head = ("arm", "null", "better by", "interval", "", "verdict", "tokens of the null")
    print_lines(
        *(verdict_words(made) for made in proof.against_matched()),
        *proof.remarks,
        table(head, rows),
        table(
            ("domain", "documents", "left out", "signal", "noise"),
            [(d.name, d.documents, d.left_out, d.signal, d.noise) for d in proof.domains],
        ),
        *_soup_lines(proof),
        f"{proof.design.models} models of {proof.design.tokens:,} tokens; differences of "
        f"{proof.design.smallest_difference:.4f} bits per byte are seen 4 times in 5",
        f"{folder}/{FOLDER}/{PAGE}",
    )


def _soup_lines(proof: ProofReport) -> list[object]:
    """What averages of models of partitions say, and how far to trust them; nothing where nobody asked for any."""
    from siftlm.cli.loop_terminal import table

    if proof.soups is None:
        return []
    head = ("soup", "predicted", "trained", "of no partition")
    rows = [
        (s.name, s.predicted, "" if s.trained is None else s.trained, f"{s.outside:.0%}" if s.outside else "")
        for s in proof.soups.soups
    ]
    return [table(head, rows), proof.soups.verdict]


def _row(made: ProofComparison, all_made: Sequence[ProofComparison]) -> tuple[str, ...]:
    from siftlm.report.proof import multiplier_words

    overall = made.overall
    interval = f"{overall.low:+.4f} to {overall.high:+.4f}"
    factor = multiplier_words(made)
    reach = max(max(abs(other.overall.low), abs(other.overall.high)) for other in all_made)
    bar = forest_bar(overall.low, overall.effect, overall.high, reach)
    return (
        made.arm,
        made.null,
        f"{overall.effect:+.4f}",
        interval,
        bar,
        overall.verdict,
        f"x {factor}" if factor else "",
    )


def forest_bar(low: float, middle: float, high: float, reach: float, width: int = 25) -> str:
    """Returns an interval as a line of text, with 0 in the middle and `reach` at both ends."""

    def place(value: float) -> int:
        return round((value / reach + 1) / 2 * (width - 1)) if reach else width // 2

    signs = [" "] * width
    signs[width // 2] = "|"
    for at in range(place(low), place(high) + 1):
        signs[at] = "+" if at == width // 2 else "-"
    signs[place(middle)] = "o"
    return "".join(signs)

"""Makes `proof.html`, one page that shows what selections taught small models, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from siftlm.report.page import render
from siftlm.report.proof import ProofArm, ProofReport, multiplier_words, verdict_words
from siftlm.report.proof_figures import composition, curves, forest, rows_by_domain


def proof_page(proof: ProofReport) -> str:
    """Returns the HTML page of a proof."""
    matched, random = proof.against_matched(), proof.against_random()
    selections = [arm for arm in proof.arms if arm.kind == "selection"]
    charts = [
        forest("forest-matched", "Against draws like it in source and length", rows_by_domain(matched)),
        forest("forest-random", "Against random draws of all documents", rows_by_domain(random)),
        composition("composition", proof.arms),
    ]
    return render(
        "proof.html.jinja",
        proof=proof,
        charts=charts,
        curves=[curves(f"curve-{n}", arm, _nulls(arm, proof.arms)) for n, arm in enumerate(selections)],
        verdicts=[(verdict_words(made), made) for made in matched],
        multipliers={(made.arm, made.null): multiplier_words(made) for made in proof.comparisons},
    )


def _nulls(arm: ProofArm, arms: Sequence[ProofArm]) -> list[ProofArm]:
    return [other for other in arms if other.kind == "random" or other.name == f"like {arm.name}"]

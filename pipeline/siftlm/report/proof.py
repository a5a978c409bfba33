"""Holds the result of `siftlm prove` as plain values: what proof.json, the page and the terminal show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from siftlm.store import digest

Kind = Literal["selection", "random", "matched"]
FOLDER = "proof"  # in that of the run
PROOF = "proof.json"
PAGE = "proof.html"


@dataclass(frozen=True)
class CurvePoint:
    """Holds an arm's mean bits per byte at one point of training, with one standard error."""

    tokens: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ProofArm:
    """Holds what an arm was trained on and what its models reached.

    Attributes:
        name: Its name; a null that is drawn like an arm is called `like <arm>`.
        kind: A selection, a random draw of all eligible documents, or a draw like a selection.
        identity: A digest of the decisions of a selection, empty for a null.
        documents: Documents of the selection.
        text_bytes: Their bytes, each as often as it counts.
        drawn_bytes: Bytes of different documents in a draw, the mean of the replicates.
        drawn_share: Share of the selection that a draw has.
        epochs: Passes over the documents of a draw.
        sources: Share of the trained bytes by source.
        median_bytes: Median size of a drawn document.
        overall: Bits per byte at the end, the mean of all domains; then by replicate, and by domain.
        curve: The means of its replicates at the marks of training.
        seconds: Training time of all replicates together.
    """

    name: str
    kind: Kind
    identity: str
    documents: int
    text_bytes: int
    drawn_bytes: int
    drawn_share: float
    epochs: float
    sources: Mapping[str, float]
    median_bytes: int
    overall: float
    replicates: Sequence[float]
    domains: Mapping[str, float]
    curve: Sequence[CurvePoint]
    seconds: float


@dataclass(frozen=True)
class ProofEffect:
    """Holds by how many bits per byte an arm is better than its null, with its interval and verdict."""

    effect: float
    low: float
    high: float
    error: float
    verdict: str

    @property
    def ratio(self) -> float:
        """Returns the effect over its standard error."""
        return self.effect / self.error if self.error else 0.0


@dataclass(frozen=True)
class ProofComparison:
    """Holds the comparison of an arm with a null, on the mean of all domains and in each.

    `multiplier` is how many times the tokens the null needs for the same loss, `bound` is `above` or `below` where that
    is only a bound. `own_noise` says that the arm varies more than the nulls.
    """

    arm: str
    null: str
    overall: ProofEffect
    domains: Mapping[str, ProofEffect]
    multiplier: float | None
    bound: str
    own_noise: bool


@dataclass(frozen=True)
class ProofDomain:
    """Holds what a domain's held-out documents are, and the signal and noise of the measure that they make.

    `signal` is the spread of the arms' means and `noise` the standard deviation of random draws, both in bits per byte.
    """

    name: str
    documents: int
    text_bytes: int
    left_out: int  # that stand in what models were trained on
    signal: float
    noise: float


@dataclass(frozen=True)
class ProofAccuracy:
    """Holds the share of a benchmark's items that the models of each arm answer right, a mean over replicates.

    `signal` is the spread of the arms' means and `noise` the standard deviation between replicates of a null; where the
    noise is as large, the bits per byte of the right answers are what to look at.
    """

    benchmark: str
    arms: Mapping[str, float]
    signal: float
    noise: float


@dataclass(frozen=True)
class ProofDesign:
    """Holds what was trained, and what it could see.

    `noise` is the standard deviation of random draws, and `smallest_difference` what is called better or worse
    4 times in 5, both in bits per byte. `agreement` is the share of pairs of arms that models of another shape
    order the same way, None where there was none.
    """

    tokens: int
    wanted_tokens: int
    replicates: int
    null_replicates: int
    models: int
    parameters: int
    vocabulary: int
    comparisons: int
    level: float
    noise: float
    smallest_difference: float
    agreement: float | None = None


@dataclass(frozen=True)
class ProofDocument:
    """Holds a document that an arm has and its null could have had, or the other way round."""

    doc_id: str
    source: str
    text: str
    cut: bool


@dataclass(frozen=True)
class ProofSoup:
    """Holds what an average of models of partitions says of an arm, or of a mixture that nobody trained.

    Attributes:
        name: Of the arm or mixture.
        shares: Share of every partition, of the tokens that are in one.
        outside: Share of the arm's tokens that are in no partition.
        predicted: Bits per byte of the averaged model, the mean of all domains.
        domains: The same by domain.
        trained: Bits per byte of the arm's models; None where none was trained.
    """

    name: str
    shares: Mapping[str, float]
    outside: float
    predicted: float
    domains: Mapping[str, float]
    trained: float | None


@dataclass(frozen=True)
class ProofSoups:
    """Holds the predictions by averaged models, and how they agree with trained arms.

    `rank_correlation` is Spearman's and `correlation` Pearson's, between predicted and trained bits per byte.
    `by_chance` is the rank correlation that an order without meaning reaches once in 20, `agreement` the share of pairs
    of arms in the same order, `error` the root mean square error of predicted differences in bits per byte. They are
    None where predictions or arms are all alike. `verdict` says in words how far to trust them.
    """

    partitions: Sequence[str]
    seed_model: str
    soups: Sequence[ProofSoup]
    rank_correlation: float | None
    correlation: float | None
    by_chance: float | None
    agreement: float | None
    error: float | None
    verdict: str


@dataclass(frozen=True)
class ProofReport:
    """Holds the result of a proof.

    `chosen` and `passed_over` are documents of the best arm, and of the pool that it does not have. `soups` are None
    where nobody asked for them.
    """

    name: str
    siftlm: str
    identity: str
    design: ProofDesign
    domains: Sequence[ProofDomain]
    arms: Sequence[ProofArm]
    comparisons: Sequence[ProofComparison]
    accuracies: Sequence[ProofAccuracy]
    remarks: Sequence[str]
    best: str | None
    chosen: Sequence[ProofDocument]
    passed_over: Sequence[ProofDocument]
    soups: ProofSoups | None = None

    def against_matched(self) -> list[ProofComparison]:
        """Returns the comparisons of arms with nulls that have their sources and lengths."""
        kinds = {arm.name: arm.kind for arm in self.arms}
        return [made for made in self.comparisons if kinds[made.null] == "matched"]

    def against_random(self) -> list[ProofComparison]:
        """Returns the comparisons of arms with the random draw."""
        kinds = {arm.name: arm.kind for arm in self.arms}
        return [made for made in self.comparisons if kinds[made.null] == "random"]

    def as_json(self) -> dict[str, Any]:
        """Returns all fields as JSON values."""
        return asdict(self)


def selection_digest(decisions: Iterable[str]) -> str:
    """Returns a digest of a selection from the store keys of the decisions of its shards."""
    return digest("selection", sorted(decisions))


def verdict_words(made: ProofComparison) -> str:
    """Returns the verdict on an arm as a sentence."""
    overall = made.overall
    interval = f"interval {overall.low:+.4f} to {overall.high:+.4f}"
    if overall.verdict == "tie":
        size = f"{overall.effect:+.4f} bits per byte better"
        return f"{made.arm} and {made.null} are a tie at this budget: {size}, {interval}"
    size = f"{abs(overall.effect):.4f} bits per byte"
    return f"{made.arm} teaches {overall.verdict} than {made.null}: by {size}, {interval}"


def multiplier_words(made: ProofComparison) -> str:
    """Returns how many tokens of the null equal an arm's, in words; empty where a curve does not fall."""
    if made.multiplier is None:
        return ""
    about = {"above": "more than ", "below": "less than ", "": ""}[made.bound]
    return f"{about}{made.multiplier:.2f}"

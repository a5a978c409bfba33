"""Methods that learn shares: replays of random streams equal loops over plain numbers, and sheets' worked examples."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from siftlm.errors import UserError
from siftlm.mixtures.methods.aioli import Aioli, focused, law_matrix, normalised
from siftlm.mixtures.methods.bilevel import BilevelWeights, WeighedWindows, score_gradient, window_weights
from siftlm.mixtures.methods.doge import Doge, DomainGradients
from siftlm.mixtures.methods.doremi import Doremi, clipped_excess
from siftlm.mixtures.methods.odm import OnlineMixing, StepLosses, Variant
from siftlm.mixtures.methods.skill_it import SkillIt, graph_of_relations, learnt_graph
from siftlm.mixtures.online import tilted, uniform_shares

EXACT = 1e-9
NONE = float("nan")


def softmax(values: Sequence[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def doremi_loop(
    steps: Sequence[Sequence[tuple[int, float, float]]], count: int, eta: float, smoothing: float
) -> tuple[list[float], list[float]]:
    """The authors' trainer in plain Python: the last weights, and their running mean."""
    weights, scores, mean = [1 / count] * count, [0.0] * count, [0.0] * count
    for number, tokens in enumerate(steps, 1):
        for domain in range(count):
            own = [max(proxy - reference, 0.0) for of, proxy, reference in tokens if of == domain]
            if own:
                scores[domain] = math.fsum(own) / len(own)
        made = softmax([math.log(w) + eta * s for w, s in zip(weights, scores, strict=True)])
        weights = [(1 - smoothing) * w + smoothing / count for w in made]
        mean = [(m * (number - 1) + w) / number for m, w in zip(mean, weights, strict=True)]
    return weights, mean


@pytest.mark.parametrize(("eta", "smoothing", "count"), [(1.0, 1e-3, 3), (0.3, 1e-4, 7), (1.0, 1e-3, 1)])
def test_doremi_equals_the_loop_of_its_formula(eta: float, smoothing: float, count: int) -> None:
    """Over a stream of tokens in which domains are missing now and then, one of them at first."""
    draw = random.Random(count)
    steps = [
        [(draw.randrange(count), draw.gauss(4, 1), draw.gauss(3.8, 1)) for _ in range(draw.randint(1, 12))]
        for _ in range(200)
    ]
    learner = Doremi(count, eta, smoothing)
    for tokens in steps:
        domains, proxy, reference = (np.array(column) for column in zip(*tokens, strict=True))
        last = learner.observe(clipped_excess(proxy, reference, domains, count))
    expected, mean = doremi_loop(steps, count, eta, smoothing)
    assert np.abs(last - expected).max() < EXACT
    assert np.abs(learner.result() - mean).max() < EXACT


def test_the_excess_is_clipped_before_the_mean() -> None:
    """Gains on some tokens do not make up for what others lack."""
    proxy, reference = np.array([2.0, 1.0, 5.0, NONE]), np.array([1.0, 3.0, 4.0, 1.0])
    made = clipped_excess(proxy, reference, np.array([0, 0, 2, 1]), 3)
    assert made[[0, 2]].tolist() == [0.5, 1.0]
    assert np.isnan(made[1])
    weighed = clipped_excess(np.array([2.0, 4.0]), np.array([1.0, 1.0]), np.array([0, 0]), 1, np.array([3.0, 1.0]))
    assert weighed.tolist() == [1.5]


def odm_loop(stream: Sequence[dict[int, tuple[float, float]]], count: int, variant: str, keep: float) -> list[float]:
    """EXP3 as the authors' code has it, with several domains a step by their parts; the last shares."""
    rewards, shares, rate = [0.0] * count, [1 / count] * count, 1 / count
    for step, seen in enumerate(stream, 1):
        for domain, (loss, part) in seen.items():
            if variant == "exp3":
                rewards[domain] += part * (loss / 10) / shares[domain]
            else:
                rewards[domain] = keep * rewards[domain] + (1 - keep) * part * loss / shares[domain]
        before, rate = rate, min(1 / count, math.sqrt(math.log(count) / (count * step)))
        powers = [math.exp(before * reward) for reward in rewards]
        weights = [(1 - count * rate) * power / sum(powers) + rate for power in powers]
        shares = [weight / sum(weights) for weight in weights]
    return shares


@pytest.mark.parametrize("variant", ["exp3", "smoothed"])
@pytest.mark.parametrize("several", [False, True])
def test_odm_equals_the_loop_of_its_formula(variant: Variant, several: bool) -> None:
    """One domain a step is the published update, in both variants."""
    count, draw = 5, random.Random(7)
    stream = []
    for _ in range(300):
        domains = draw.sample(range(count), draw.randint(1, count) if several else 1)
        parts = [draw.random() + 0.1 for _ in domains]
        stream.append({d: (draw.uniform(1, 8), p / sum(parts)) for d, p in zip(domains, parts, strict=True)})
    learner = OnlineMixing(count, variant)
    for seen in stream:
        losses, parts_of = np.full(count, NONE), np.zeros(count)
        for domain, (loss, part) in seen.items():
            losses[domain], parts_of[domain] = loss, part
        last = learner.observe(StepLosses(losses, parts_of))
    assert np.abs(last - odm_loop(stream, count, variant, 0.9)).max() < EXACT


def test_odm_of_one_domain_and_of_rewards_that_would_overflow() -> None:
    one = OnlineMixing(1)
    assert one.observe(StepLosses(np.array([3.0]), np.array([1.0]))).tolist() == [1.0]
    many = OnlineMixing(1000)
    for step in range(3000):
        losses = np.where(np.arange(1000) == step % 7, 1e4, NONE)
        made = many.observe(StepLosses(losses, (np.arange(1000) == step % 7).astype(float)))
    assert np.isfinite(made).all()
    assert made.sum() == pytest.approx(1)


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def clip5(row: Sequence[float]) -> list[float]:
    norm = math.sqrt(dot(row, row))
    return [x * min(1.0, 5.0 / (norm + 1e-6)) for x in row]


def doge_loop(stream: Sequence[tuple[Any, Any, float]], count: int, mu: float, smoothing: float) -> list[float]:
    """The original with its sum over targets, and the last gradient of what is missing; the mean of all shares."""
    weights, rows, mean = [1 / count] * count, {}, [0.0] * count
    for number, (train, target, rate) in enumerate(stream, 1):
        rows |= {domain: clip5(row) for domain, row in train.items()}
        norm = math.fsum(math.sqrt(dot(row, row)) for row in rows.values()) / len(rows)
        scores = [0.0] * count
        for domain, row in rows.items():
            aligned = math.fsum(dot(row, clip5(other)) for other in target)
            scores[domain] = min(max(rate * aligned / (norm + 1e-6), 0.0), 5 * rate)
        made = softmax([math.log(w) + s / mu for w, s in zip(weights, scores, strict=True)])
        weights = [(1 - smoothing) * w + smoothing / count for w in made]
        mean = [(m * (number - 1) + w) / number for m, w in zip(mean, weights, strict=True)]
    return mean


@pytest.mark.parametrize(("mu", "smoothing"), [(0.01, 0.0), (0.05, 1e-3)])
def test_doge_equals_the_loop_of_its_formula(mu: float, smoothing: float) -> None:
    """With gradients beyond the clipped norm, missing domains, and more targets than domains."""
    count, size, draw = 4, 6, random.Random(3)
    stream = []
    for step in range(60):
        domains = range(count) if not step else draw.sample(range(count), draw.randint(1, count))
        train = {domain: [draw.gauss(0.2, 3) for _ in range(size)] for domain in domains}
        target = [[draw.gauss(0.2, 3) for _ in range(size)] for _ in range(5)]
        stream.append((train, target, draw.uniform(1e-4, 1e-3)))
    learner = Doge(count, mu, smoothing)
    for train, target, rate in stream:
        rows = np.array([train.get(domain, [NONE] * size) for domain in range(count)])
        learner.observe(DomainGradients(rows, np.array(target), rate))
    assert np.abs(learner.result() - doge_loop(stream, count, mu, smoothing)).max() < EXACT


def test_doge_sums_over_targets() -> None:
    """The sheet's example; and a domain's own target left out."""
    train = np.array([[3.0, 0.0], [1.0, 2.0]])
    made = Doge(2).observe(DomainGradients(train, np.array([[1.0, 1.0], [0.0, 1.0]]), 5e-4))
    assert made == pytest.approx([0.490452, 0.509548], abs=1e-6)
    alone = Doge(2, own=False)
    orthogonal = DomainGradients(np.eye(2), np.eye(2), 1e-3)
    assert alone.observe(orthogonal).tolist() == [0.5, 0.5]


def test_doge_of_single_precision_is_that_of_the_same_numbers() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    first = Doge(3).observe(DomainGradients(rows, rows, 1e-3))
    assert np.abs(first - Doge(3).observe(DomainGradients(rows.astype(float), rows.astype(float), 1e-3))).max() < EXACT


def skill_it_loop(graph: Any, rounds: Any, eta: float, window: int) -> list[list[float]]:
    """The published trainer: shares begin from equal ones in every round."""
    made = [softmax([eta * math.fsum(row) for row in graph])]
    for number in range(1, len(rounds) + 1):
        last = rounds[max(0, number - window) : number]
        sums = [math.fsum(losses[target] for losses in last) for target in range(len(graph[0]))]
        made.append(softmax([eta * dot(row, sums) for row in graph]))
    return made


def test_skill_it_equals_the_loop_of_its_formula() -> None:
    """Of three domains and four targets; the result is the mean over rounds."""
    draw = random.Random(5)
    graph = [[draw.random() for _ in range(4)] for _ in range(3)]
    rounds = [[draw.uniform(1, 6) for _ in range(4)] for _ in range(9)]
    learner = SkillIt(np.array(graph), 0.4, 3)
    made = [learner.weights, *(learner.observe(np.array(losses)) for losses in rounds)]
    expected = skill_it_loop(graph, rounds, 0.4, 3)
    assert np.abs(np.array(made) - expected).max() < EXACT
    assert np.abs(learner.result() - np.mean(expected, axis=0)).max() < EXACT


def test_skill_it_of_the_sheet_and_relative_losses() -> None:
    learner = SkillIt(np.array([[1.0, 0.5], [0.0, 1.0]]), 0.8)
    assert learner.weights == pytest.approx([0.598688, 0.401312], abs=1e-6)
    assert learner.observe(np.array([3.0, 2.0])) == pytest.approx([0.832018, 0.167982], abs=1e-6)
    relative = SkillIt(np.eye(2), 1.0, relative=True)
    assert relative.observe(np.array([30.0, 2.0])).tolist() == [0.5, 0.5]
    assert relative.observe(np.array([30.0, 1.0])) == pytest.approx(tilted(uniform_shares(2), np.array([2.0, 1.5])))
    graph = graph_of_relations(np.array([[1.0, 1.0], [0.0, 1.0]]), ("a", "b"), ("a", "b"))
    assert graph.tolist() == [[1.0, 0.5], [0.0, 1.0]]


def test_a_graph_is_the_relative_drop_of_losses() -> None:
    made = learnt_graph(np.array([4.0, 2.0]), np.array([[3.0, 2.5], [4.0, 1.0]]))
    assert made.tolist() == [[0.25, 0.0], [0.0, 0.5]]


def solve(matrix: list[list[float]], right: Sequence[float]) -> list[float]:
    """Gauss with pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for at in range(len(rows)):
        pivot = max(range(at, len(rows)), key=lambda n: abs(rows[n][at]))
        rows[at], rows[pivot] = rows[pivot], rows[at]
        for other in range(len(rows)):
            if other != at:
                factor = rows[other][at] / rows[at][at]
                rows[other] = [x - factor * y for x, y in zip(rows[other], rows[at], strict=True)]
    return [row[-1] / row[n] for n, row in enumerate(rows)]


def aioli_loop(
    order: Any, losses: Any, count: int, eta: float, focus: float, sweeps: int, average: float
) -> list[float]:
    """The published trainer on losses before each round and after each short training; the mean over rounds."""
    shares, kept, mean = [1.0] * count, None, [0.0] * count
    mixtures = [[focus if i == j else (1 - focus) / (count - 1) for j in range(count)] for i in range(count)]
    for number, (turns, seen) in enumerate(zip(order, losses, strict=True), 1):
        drops = [[0.0] * count for _ in seen[0]]
        for before, after, domain in zip(seen, seen[1:], turns, strict=False):
            for target in range(len(drops)):
                drops[target][domain] += (before[target] - after[target]) / sweeps
        law = [solve(mixtures, row) for row in drops]
        least = min(0.0, *(value for row in law for value in row))
        total = math.fsum(value - least for row in law for value in row)
        law = [[(value - least) / total for value in row] for row in law]
        if average:
            kept = law if kept is None else [
                [(1 - average) * new + average * old for new, old in zip(a, b, strict=True)]
                for a, b in zip(law, kept, strict=True)
            ]  # fmt: skip
            law, shares = kept, [1.0] * count
        shares = [s * math.exp(eta * math.fsum(row[j] for row in law)) for j, s in enumerate(shares)]
        mean = [(m * (number - 1) + s / sum(shares)) / number for m, s in zip(mean, shares, strict=True)]
    return mean


@pytest.mark.parametrize("average", [0.0, 0.1])
def test_aioli_equals_the_loop_of_its_formula(average: float) -> None:
    """Of three domains, four targets and five rounds; it trains on the mixtures that it then solves for."""
    count, sweeps, focus, draw = 3, 2, 0.625, random.Random(11)
    learner = Aioli(count, 0.2, sweeps, focus, average, seed=4)
    orders, losses = [], []
    for _ in range(5):
        turns, seen = [], []
        for turn in range(sweeps * count + 1):
            measured = [draw.uniform(1, 5) for _ in range(4)]
            seen.append(measured)
            learner.observe(np.array(measured))
            if turn < sweeps * count:
                shares = learner.shares
                assert shares is not None
                turns.append(int(np.argmax(shares)))
                assert shares == pytest.approx(focused(count, focus)[turns[-1]])
        assert sorted(turns[:count]) == sorted(turns[count:]) == list(range(count))
        orders.append(turns)
        losses.append(seen)
        assert learner.shares == pytest.approx(learner.weights)
    expected = aioli_loop(orders, losses, count, 0.2, focus, sweeps, average)
    assert np.abs(learner.result() - expected).max() < EXACT
    assert len({tuple(turns) for turns in orders}) > 1


def test_aioli_of_the_sheet() -> None:
    law = law_matrix(np.array([[0.10, 0.04], [0.02, 0.06]]), 0.625)
    assert law == pytest.approx(np.array([[0.19, -0.05], [-0.04, 0.12]]))
    made = normalised(law)
    assert made == pytest.approx(np.array([[0.571429, 0], [0.023810, 0.404762]]), abs=1e-6)
    assert tilted(uniform_shares(2), 0.2 * made.sum(axis=0)) == pytest.approx([0.509523, 0.490477], abs=1e-6)
    assert law_matrix(np.array([[0.10, 0.04], [0.02, 0.06]]), 0.5 + 0.125, diagonal=True)[0].tolist() == [0.16, 0.0]


def test_the_gradient_of_window_weights_is_that_of_differences() -> None:
    """Of the held-out loss after one step with the weighed gradients, in a quadratic model; and the sheet's example."""
    generator = np.random.default_rng(1)
    gradients, start, scores, rate = (
        generator.normal(size=(5, 8)),
        generator.normal(size=8),
        generator.normal(size=5),
        0.1,
    )

    def loss(z: Any) -> float:
        after = start - rate * window_weights(z) @ gradients
        return float(0.5 * after @ after)

    after = start - rate * window_weights(scores) @ gradients
    made = score_gradient(scores, gradients @ after, rate)
    steps = np.eye(5) * 1e-6
    expected = [(loss(scores + step) - loss(scores - step)) / 2e-6 for step in steps]
    assert made == pytest.approx(expected, abs=1e-7)
    assert score_gradient(np.zeros(2), np.array([1.0, -1.0]), 0.1) == pytest.approx([-0.1, 0.1])


def test_bilevel_weights_move_to_windows_that_help() -> None:
    """The longer window is the better one, over and over."""
    learner, features = BilevelWeights(2), np.array([[0.0, 2.0, 1.0], [0.0, 1.0, 1.0]])
    for _ in range(5):
        learner.observe(WeighedWindows(np.array([1, 0]), features, np.array([1.0, -1.0]), 1e-3))
    weights = learner.weigh(features)
    assert weights.mean() == pytest.approx(1)
    assert weights[0] > 1.5
    assert learner.result()[1] > 0.6


LEARNERS: list[Any] = [
    (lambda: Doremi(3), [np.array([0.1, NONE, 0.3]), np.array([0.2, 0.5, NONE])] * 3),
    (lambda: OnlineMixing(3, "smoothed"), [StepLosses(np.array([2.0, NONE, 3.0]), np.array([0.5, 0, 0.5]))] * 5),
    (lambda: SkillIt(np.eye(3)), [np.array([2.0, 4.0, 3.0]), np.array([1.0, 4.0, 2.0])] * 3),
    (lambda: Aioli(3, sweeps=2), [np.array([2.0, 4.0, 3.0]) / n for n in range(1, 18)]),
    (lambda: Doge(3), [DomainGradients(np.eye(3), np.ones((2, 3)) * n, 1e-3) for n in range(5)]),
    (
        lambda: BilevelWeights(2),
        [WeighedWindows(np.array([0, 1]), np.eye(2, 3) * n, np.array([1.0, n]), 1e-3) for n in range(5)],
    ),
]


@pytest.mark.parametrize(("begin", "stream"), LEARNERS)
def test_a_learner_goes_on_from_its_state(begin: Any, stream: Sequence[Any]) -> None:
    """To the bit, through JSON, wherever it was interrupted."""
    whole = begin()
    for seen in stream:
        whole.observe(seen)
    for cut in range(len(stream) + 1):
        first, second = begin(), begin()
        for seen in stream[:cut]:
            first.observe(seen)
        second.restore(orjson.loads(orjson.dumps(first.state())))
        for seen in stream[cut:]:
            second.observe(seen)
        assert second.result().tolist() == whole.result().tolist()
        assert second.state() == whole.state()


@pytest.mark.parametrize("begin", [lambda: Doremi(2), lambda: SkillIt(np.eye(2)), lambda: Aioli(2)])
def test_an_infinite_loss_is_a_mistake(begin: Any) -> None:
    with pytest.raises(UserError, match="losses must be finite numbers, got inf"):
        begin().observe(np.array([1.0, float("inf")]))

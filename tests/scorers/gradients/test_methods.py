"""The worked examples of the methods over gradients, and their scores by other ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats
from tests.models import Models
from tests.scorers.gradients.conftest import TEXTS, column, opened
from torch.nn.functional import cross_entropy

import siftlm
from siftlm.errors import UserError
from siftlm.scorers.gradients.grand import GrandSettings
from siftlm.scorers.gradients.information_gain import InformationGainSettings, information_gains_in_deviations
from siftlm.scorers.gradients.products import WholeGradient
from siftlm.scorers.gradients.self_influence import presence_weights
from siftlm.scorers.gradients.weight_alignment import set_alignment
from siftlm.scorers.gradients.weight_update import WeightUpdateSettings, greedy_order


def test_presence_weighs_by_a_softmax_of_standardised_self_influence() -> None:
    np.testing.assert_allclose(presence_weights([1, 4, 9, 2]), [0.054248, 0.143580, 0.727133, 0.075039], atol=1e-6)
    np.testing.assert_allclose(presence_weights([1, 4, 9, 2], -1), [0.459694, 0.173683, 0.034296, 0.332327], atol=1e-6)
    assert presence_weights([3.0, 3.0]).tolist() == [0.5, 0.5]
    assert presence_weights([]).tolist() == []


def test_the_mimic_score_of_the_worked_example() -> None:
    """The gradients and the direction of the sheet, as matrices of one row."""
    gradients = [WholeGradient({"w": torch.tensor([row])}) for row in ([1.0, 0.0], [-2.0, 1.0], [0.0, -1.0])]
    direction = {"w": torch.tensor([[3.0, 4.0]], dtype=torch.float64)}
    scores = np.array([-float(of.dots(direction)) / 5 for of in gradients])
    np.testing.assert_allclose(scores, [-0.6, 0.4, 0.8])
    norms = np.array([float(of.squares()) ** 0.5 for of in gradients])
    np.testing.assert_allclose(scores / norms, [-0.6, 0.178885, 0.8], atol=1e-6)


def test_gradient_weight_alignment_of_the_worked_examples() -> None:
    assert set_alignment([0.1, 0.2, 0.3, 0.6]) == pytest.approx(1.5)
    W, x = np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([2.0, 1])
    slope = torch.softmax(torch.from_numpy(W @ x), 0).numpy() - [1, 0, 0]
    gradient = WholeGradient({"w": torch.from_numpy(np.outer(slope, x)).float()})
    along = -float(gradient.dots({"w": torch.from_numpy(W)})) / (float(gradient.squares()) ** 0.5 * np.linalg.norm(W))
    assert along == pytest.approx(-0.127286, abs=1e-6)


def test_the_set_score_is_scipys_kurtosis_and_null_where_it_is_none() -> None:
    values = np.random.default_rng(0).beta(2, 5, 1000)
    assert set_alignment(values) == pytest.approx(values.mean() / (stats.kurtosis(values) + 1.2))
    assert [set_alignment(of) for of in ([], [0.3], [0.2, 0.2], [0.1, 0.5], [np.nan])] == [None] * 5
    assert siftlm.gradient_weight_alignment(pa.array([0.1, None, 0.2, 0.3, 0.6])) == pytest.approx(1.5)


def test_grand_of_a_token_is_el2n_times_the_length_of_what_the_head_reads(tiny_model: Models, tmp_path: Path) -> None:
    scorer = opened(GrandSettings, tiny_model(tmp_path / "model"), layers="output")
    model = scorer.loaded().model
    ids = scorer.loaded().tokenizer.encode(["x"]).texts()[0].tolist()
    states = model.transformer(torch.tensor([[scorer.loaded().tokenizer.prefix]])).last_hidden_state[0, 0]
    slope = torch.softmax(model.lm_head(states), -1)
    slope[ids[0]] -= 1
    assert column(scorer, ["x"])[0] == pytest.approx(float(slope.norm() * states.norm()), rel=1e-6)


def test_the_greedy_order_of_the_worked_example() -> None:
    """Opposite and equal gradients, too."""
    gradients = [(-1, 0), (0, -1), (-0.6, -0.6), (1, 1)]
    order, cosines = greedy_order(gradients, (1, 1))
    assert order.tolist()[:3] == [2, 0, 1]
    np.testing.assert_allclose(cosines[:3], [1, 0.910366, 1], atol=1e-6)
    assert greedy_order(gradients, (1, 1), 1)[0].tolist() == [2]
    assert greedy_order([(0, 0), (0, 0)], (1, 1))[0].tolist() == [0, 1]
    assert greedy_order(np.zeros((0, 2)), (1, 1))[0].tolist() == []


def test_the_greedy_order_is_that_of_a_loop() -> None:
    drawn = np.random.default_rng(1)
    gradients, update = drawn.normal(size=(30, 12)), drawn.normal(size=12)
    total, left, expected = np.zeros(12), list(range(30)), []
    while left:
        sums = [-(total + gradients[number]) for number in left]
        best = int(np.argmax([of @ update / np.linalg.norm(of) for of in sums]))
        expected.append(left.pop(best))
        total += gradients[expected[-1]]
    assert greedy_order(gradients, update)[0].tolist() == expected


def test_projections_keep_products_about_as_they_are(tiny_model: Models, tmp_path: Path) -> None:
    """So that the order by many numbers is that by the gradients themselves, and the text trained on comes first."""
    folder = tiny_model(tmp_path / "model", tie_word_embeddings=False)
    texts = [text for text in TEXTS if text]
    scorer = opened(GrandSettings, folder, layers="output")
    model = scorer.loaded().read().requires_grad_(True)
    prefix = scorer.loaded().tokenizer.prefix
    ids = torch.tensor([prefix, *scorer.loaded().tokenizer.encode([texts[3]]).texts()[0].tolist()])
    cross_entropy(model(ids[None, :-1]).logits[0], ids[1:]).backward()
    with torch.no_grad():
        model.lm_head.weight -= 0.1 * model.lm_head.weight.grad
    model.save_pretrained(tmp_path / "trained")
    table = siftlm.training_data_from_weights(
        texts, str(folder), str(tmp_path / "trained"), count=3, device="cpu", projection=4096
    )
    assert table["index"].to_pylist()[0] == 3
    assert table["cosine"].to_pylist()[0] == pytest.approx(1, abs=1e-4)
    update = opened(WeightUpdateSettings, folder, reference=str(tmp_path / "trained"), projection=4096)
    assert column(update, texts)[3] == pytest.approx(1, abs=1e-4)
    gradients, _ = update.projected(pa.array(texts, pa.large_string()))
    norms = np.array(column(scorer, texts), np.float64)
    np.testing.assert_allclose((gradients**2).sum(1), norms**2, rtol=0.35)
    labels = update.labels(pa.array([*texts, ""], pa.large_string()))
    assert labels[3] == 1
    assert np.isnan(labels[-1])


def test_information_gain_is_that_of_torchs_own_adamw(tiny_model: Models, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    objective = tmp_path / "objective.jsonl"
    objective.write_text('{"text": "the rain in the north"}\n{"text": "stays, and the south is dry"}\n{"text": "a"}\n')
    options: dict[str, Any] = {"objective": str(objective), "window_tokens": 16, "learning_rate": 1e-3}
    scorer = opened(InformationGainSettings, folder, **options)
    engine, texts = scorer.loaded(), [TEXTS[0], "short", TEXTS[1], ""]
    found, parts = column(scorer, texts), engine.tokenise(pa.array(texts))
    assert parts.enough.tolist() == [True, False, True, False]
    windows = torch.from_numpy(engine.objective)
    assert windows.shape == (2, 16)

    def nll(model: Any, ids: torch.Tensor) -> torch.Tensor:
        return torch.stack([cross_entropy(model(row[None, :-1]).logits[0], row[1:]) for row in ids])

    expected = []
    for ids in torch.from_numpy(parts.ids):
        model = scorer_model(folder)
        before = float(nll(model, windows).mean().exp())
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-8, weight_decay=0.0)
        nll(model, ids[None]).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimiser.step()
        expected.append(before - float(nll(model, windows).mean().exp()))
    assert [value for value in found if value is not None] == pytest.approx(expected, rel=1e-3)
    assert found == column(scorer, texts)
    assert column(scorer, texts[::-1]) == found[::-1]


def scorer_model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_information_gains_are_told_in_deviations() -> None:
    gains = information_gains_in_deviations([0.5, -0.2, 0.1, 1.6])
    np.testing.assert_allclose(gains, [0, -1.026530, -0.586588, 1.613118], atol=1e-6)
    assert information_gains_in_deviations([2.0, 2.0]).tolist() == [0, 0]


def test_an_objective_without_a_window_is_told(tiny_model: Models, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    path = tmp_path / "objective.jsonl"
    for content, told in [
        ('{"text": "a"}', "must hold a text of 32 tokens, got none among 1"),
        ("", "must hold texts, got none in"),
        ('{"body": "a"}', "must be a file of texts, got .*: no field 'text'"),
        ("no json", "must be a file of texts, got"),
    ]:
        path.write_text(content)
        with pytest.raises(UserError, match=f"annotate.models.g.objective: {told}"):
            opened(InformationGainSettings, folder, objective=str(path))

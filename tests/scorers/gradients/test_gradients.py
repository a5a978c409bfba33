"""Numbers of gradients are those of autograd, document by document, whatever stands beside a document."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models import Models
from tests.scorers.gradients.conftest import TEXTS, batch, by_autograd, column, opened, square, windows

from siftlm.errors import UserError
from siftlm.scorers.gradients.grand import GrandSettings
from siftlm.scorers.gradients.mimic import MimicSettings
from siftlm.scorers.gradients.products import Dense, OneHot, Outer, matrix_squares
from siftlm.scorers.gradients.self_influence import SelfInfluenceSettings
from siftlm.scorers.gradients.weight_alignment import WeightAlignmentSettings

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}
LLAMA = {**SMALL, "intermediate_size": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "GPT2Config": {},
    "LlamaConfig": LLAMA,
    "GPTNeoXConfig": LLAMA,
    "OPTConfig": {**SMALL, "ffn_dim": 32, "word_embed_proj_dim": 16, "pad_token_id": 1},
    "Gemma2Config": {
        **LLAMA,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "pad_token_id": 1,
        "final_logit_softcapping": 2.0,
    },
    "Qwen3Config": {**LLAMA, "num_key_value_heads": 1, "head_dim": 8},
}


def is_close(found: float | None, truth: float | None) -> bool:
    if found is None or truth is None:
        return found is truth
    return found == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("config", FAMILIES)
@pytest.mark.parametrize(("layers", "part"), [("first_block", "layers.0."), ("all", "")])
def test_squared_norms_are_those_of_autograd(
    config: str, layers: str, part: str, tiny_model: Models, tmp_path: Path
) -> None:
    """Of one token and of none, of documents longer than the context, tied embeddings included."""
    part = part.replace("layers.0.", "h.0.") if config == "GPT2Config" else part
    folder = tiny_model(tmp_path / "model", config=config, **FAMILIES[config])
    scorer = opened(SelfInfluenceSettings, folder, layers=layers)
    for text, found in zip(TEXTS, column(scorer, TEXTS), strict=True):
        gradient = by_autograd(scorer, text, lambda name: part in name)
        assert is_close(found, gradient and square(gradient)), (text, found)
    grand = column(opened(GrandSettings, folder, layers=layers), TEXTS[:1])[0]
    assert grand is not None
    assert grand**2 == pytest.approx(column(scorer, TEXTS[:1])[0])


@pytest.mark.parametrize("config", ["GPT2Config", "LlamaConfig", "Gemma2Config"])
def test_the_output_matrix_is_the_one_where_logits_are_made(config: str, tiny_model: Models, tmp_path: Path) -> None:
    """Of untied embeddings it is autograd's gradient of the head, also behind a soft cap; |v| and cosines follow."""
    shape = {**FAMILIES[config], "tie_word_embeddings": False}
    folder, better = (tiny_model(tmp_path / str(n), config=config, seed=n, **shape) for n in (0, 1))
    mimic = opened(MimicSettings, folder, reference=str(better))
    aligned = opened(WeightAlignmentSettings, folder)
    weights = mimic.loaded().read().get_output_embeddings().weight.double().numpy()
    towards = opened(WeightAlignmentSettings, better).loaded().read().get_output_embeddings().weight.numpy() - weights
    found = zip(TEXTS, column(mimic, TEXTS), column(mimic, TEXTS, "_cosine"), column(aligned, TEXTS), strict=True)
    for text, score, cosine, alignment in found:
        gradient = by_autograd(mimic, text, lambda name: name == "lm_head.weight")
        if gradient is None:
            assert (score, cosine, alignment) == (None, None, None)
            continue
        (of,) = gradient.values()
        rounding = 1e-7 * np.linalg.norm(of)  # of float32 gradients, beside which a product may all but cancel
        assert score == pytest.approx(-(of * towards).sum() / np.linalg.norm(towards), rel=1e-5, abs=rounding)
        assert cosine == pytest.approx(score / np.linalg.norm(of), rel=1e-5)
        along = -(of * weights).sum() / (np.linalg.norm(of) * np.linalg.norm(weights))
        assert alignment == pytest.approx(along, rel=1e-5, abs=1e-7)


def test_a_tied_output_matrix_counts_without_its_use_as_embeddings(tiny_model: Models, tmp_path: Path) -> None:
    """By name it counts with both, as autograd has it."""
    folder = tiny_model(tmp_path / "model")
    output, both = (opened(SelfInfluenceSettings, folder, layers=of) for of in ("output", "transformer.wte.weight"))
    (found,), (together,) = column(output, TEXTS[:1]), column(both, TEXTS[:1])
    gradient = by_autograd(both, TEXTS[0], lambda name: name == "transformer.wte.weight")
    assert gradient
    assert together == pytest.approx(square(gradient), rel=1e-5)
    assert found is not None
    assert found != pytest.approx(together, rel=1e-2)
    model = output.loaded().read()
    (ids,) = windows(output, TEXTS[0])
    states = model.transformer(ids[None, :-1]).last_hidden_state[0].detach()
    slope = torch.softmax(model.lm_head(states), -1) - torch.nn.functional.one_hot(ids[1:], model.config.vocab_size)
    assert found == pytest.approx(float(((slope.T @ states) / (len(ids) - 1)).double().square().sum()), rel=1e-5)


@pytest.mark.parametrize("layers", ["first_block", "all", "output"])
def test_numbers_depend_on_no_neighbour(layers: str, tiny_model: Models, tmp_path: Path) -> None:
    """To the last bit, in any order and in windows of any size."""
    scorer = opened(GrandSettings, tiny_model(tmp_path / "model", n_embd=32), layers=layers)
    texts = [f"{'word ' * (n % 11)}number {n}" for n in range(70)] + TEXTS
    together = column(scorer, texts)
    assert column(scorer, texts[::-1]) == together[::-1]
    assert [column(scorer, [text])[0] for text in texts[::5]] == together[::5]
    assert len({value for value in together if value is not None}) > 70


def test_a_long_document_is_averaged_or_cut(tiny_model: Models, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    average, cut = (opened(GrandSettings, folder, long=how, context_tokens=20) for how in ("average", "cut"))
    rows = cut.score(batch(TEXTS)).to_pylist()
    lengths = [sum(len(part) - 1 for part in windows(average, text)) for text in TEXTS]
    assert [row["g_truncated"] for row in rows] == [length > 20 for length in lengths]
    assert not any(average.score(batch(TEXTS))["g_truncated"].to_pylist())
    assert rows[0]["g"] == pytest.approx(column(cut, [TEXTS[0][:20]])[0], rel=1e-6)
    gradient = by_autograd(average, TEXTS[5], lambda _: True)
    assert gradient
    assert column(average, TEXTS)[5] == pytest.approx(square(gradient) ** 0.5, rel=1e-5)


def test_nothing_and_null_have_no_gradient(tiny_model: Models, tmp_path: Path) -> None:
    """Without a token before the text a document of one token has none either."""
    folder = tiny_model(tmp_path / "model")
    assert column(opened(GrandSettings, folder), []) == []
    assert column(opened(GrandSettings, folder), [None, ""]) == [None, None]
    values = column(opened(GrandSettings, folder, bos_mode="none"), ["x", "xy"])
    assert values[0] is None
    assert values[1] is not None


def test_norms_of_single_heads_need_no_pass_a_document(tiny_model: Models, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", config="Qwen3Config", **FAMILIES["Qwen3Config"])
    assert opened(SelfInfluenceSettings, folder, layers="all").metadata()["gradients"] != "one document at a time"


def test_a_model_that_is_not_known_is_differentiated_document_by_document(
    tiny_model: Models, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And this is told, for it is slow."""
    folder = tiny_model(tmp_path / "model", config="MambaConfig", hidden_size=16, num_hidden_layers=1, state_size=4)
    with caplog.at_level(logging.WARNING):
        scorer = opened(SelfInfluenceSettings, folder)
    assert "annotate.models.g: gradients are taken one document at a time" in caplog.text
    assert scorer.metadata()["gradients"] == "one document at a time"
    gradient = by_autograd(scorer, TEXTS[0], lambda name: "layers.0." in name)
    assert gradient
    assert column(scorer, TEXTS[:2])[0] == pytest.approx(square(gradient), rel=1e-5)


def test_a_document_without_finite_numbers_is_null_and_its_neighbours_are_not(
    tiny_model: Models, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last embedding of positions overflows, which only a long document reads."""
    folder = tiny_model(tmp_path / "model")
    scorer = opened(SelfInfluenceSettings, folder)
    expected = column(scorer, TEXTS)
    with torch.no_grad():
        scorer.loaded().model.transformer.wpe.weight[-1] = float("nan")
    found = column(scorer, TEXTS)
    assert found[5] is None
    assert found[:5] + found[6:] == expected[:5] + expected[6:]
    assert "1 texts have values that are not finite, so null" in caplog.text


def test_mistakes_are_one_line(tiny_model: Models, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    wider = tiny_model(tmp_path / "wider", n_embd=32)
    llama = tiny_model(tmp_path / "llama", config="LlamaConfig", **LLAMA)
    bert = tiny_model(tmp_path / "bert", config="BertConfig", **LLAMA)

    def told(kind: Any, model: Path = folder, **settings: Any) -> str:
        with pytest.raises(UserError) as caught:
            opened(kind, model, **settings)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix("annotate.models.g.")

    assert told(GrandSettings, layers="layers.7.*").startswith(
        "layers: must name parameters of the model, got 'layers.7"
    )
    assert told(GrandSettings, context_tokens=65) == "context_tokens: must be at most the model's 64, got 65"
    assert told(GrandSettings, bert).startswith("model: must be a causal language model")
    wrong = "reference: must be a model of the same architecture, got "
    assert told(MimicSettings, reference=str(llama)) == f"{wrong}llama beside gpt2"
    assert told(MimicSettings, reference=str(wider)).startswith(f"{wrong}transformer.wte.weight of shape (257, 32)")
    same = told(MimicSettings, reference=str(folder))
    assert same == "reference: must have other weights than the model in 'output', got the same"
    assert told(MimicSettings, reference="no/such/folder").startswith("reference: ")


def test_bfloat16_is_near_float32(tiny_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a CPU has instructions for it; elsewhere it is refused."""
    from siftlm.scorers.gradients import model

    monkeypatch.setattr(model, "check_cpu_dtype", lambda *_: None)
    folder = tiny_model(tmp_path / "model", n_embd=32)
    exact, rounded = (column(opened(GrandSettings, folder, dtype=dtype), TEXTS) for dtype in ("fp32", "bf16"))
    for one, other in zip(exact, rounded, strict=True):
        assert other == (one and pytest.approx(one, rel=0.05))
    assert exact != rounded


def test_ghost_norms_equal_those_of_the_matrices_that_are_not_made() -> None:
    """Of one use and of two, of which one is of embeddings; with few tokens and with many."""
    drawn = torch.Generator().manual_seed(0)
    for tokens, rows, columns in [(3, 11, 7), (40, 5, 6)]:
        left, right, back = (torch.randn(2, tokens, size, generator=drawn) for size in (rows, columns, columns))
        ids = torch.randint(0, rows, (2, tokens), generator=drawn)
        head, embeddings = Outer(Dense(left), Dense(right)), Outer(OneHot(ids, rows), Dense(back))
        made = torch.einsum("blp,blq->bpq", left.double(), right.double())
        hot = torch.nn.functional.one_hot(ids, rows).double()
        both = made + torch.einsum("blp,blq->bpq", hot, back.double())
        for uses, truth in (([head], made), ([head, embeddings], both)):
            np.testing.assert_allclose(matrix_squares(uses), truth.square().sum((1, 2)), rtol=1e-5)
            direction = torch.randn(rows, columns, generator=drawn)
            dots = sum(use.dots(direction.double()) for use in uses)
            np.testing.assert_allclose(dots, (truth * direction).sum((1, 2)), rtol=1e-4, atol=1e-5)

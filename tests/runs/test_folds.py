"""Jobs whose documents are scored by models that have not seen them, and by several copies of one."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runs.conftest import Bench, mistake

pytest.importorskip("apache_beam")
SMALL = {
    "layers": 1,
    "width": 16,
    "heads": 2,
    "context_tokens": 32,
    "vocabulary": 300,
    "batch_tokens": 128,
    "epochs": 1.0,
}
NGRAMS = {"order": 2, "discount_fallback": True}
KN = [{"name": "kn", "kind": "ngram", "path": "trained"}]
OWN = [{"name": "own", "model": "trained", "device": "cpu", "per_token": ["nll"], "per_document": ["el2n_mean"]}]


@pytest.fixture
def pages(bench: Bench) -> Bench:
    """Sixty texts of up to 24 words in three shards of two sources' worth of words."""
    rng = random.Random(0)
    words = ["rain", "sea", "budget", "one", "x", "hill", "tree", "of"]
    rows = [{"id": f"d{n:02d}", "text": " ".join(rng.choices(words, k=n % 24 + 4))} for n in range(60)]
    for shard in range(3):
        bench.shard(f"{shard}.jsonl", rows[shard::3])
    return bench


def folded(pages: Bench, out: str = "out", **rest: Any) -> dict[str, dict[str, Any]]:
    """The documents of a run of n-gram models by folds."""
    pages.run(out, **{"reference": {"folds": 3, "ngram": NGRAMS}, "score": KN, **rest})
    return {row["doc_id"]: row for row in pages.rows(out)}


def warnings_of(pages: Bench, out: str = "out") -> list[str]:
    """What the manifest of a run warns of."""
    return list(json.loads((pages.root / out / "manifest.json").read_text())["warnings"])


def nats(train: list[str], text: str, folder: Path) -> float:
    """The nats of a text under a model that is trained on others."""
    from siftlm.ngram.settings import NgramShape
    from siftlm.ngram.train import train_on_texts
    from siftlm.scorers.ngram_lm import NgramModelSettings, NgramScorer

    train_on_texts(train, "here", [str(folder / "m.bin")], NgramShape.model_validate(NGRAMS))
    scorer = NgramScorer(NgramModelSettings(name="kn", path=str(folder / "m.bin")))
    return sum(scorer.nats([text])[0])


def test_every_document_is_scored_by_a_model_of_the_other_folds(pages: Bench, tmp_path: Path) -> None:
    """None is held out, and no score depends on the document itself, nor on others of its fold."""
    rows = folded(pages)
    assert len(rows) == 60
    assert min(Counter(row["fold"] for row in rows.values()).values()) > 10
    for name in ("d07", "d31", "d58"):
        others = [row["text"] for row in rows.values() if row["fold"] != rows[name]["fold"]]
        assert rows[name]["kn_nll_sum"] == pytest.approx(nats(others, rows[name]["text"], tmp_path))


def test_another_text_changes_no_score_of_its_own_fold(pages: Bench) -> None:
    """A text that says its secret a hundred times is as surprising as before."""
    before = folded(pages)
    path = pages.root / "in/0.jsonl"
    first = before["d00"]["text"]
    path.write_text(path.read_text().replace(f'"{first}"', f'"{first} {"secret " * 100}"', 1))
    after = folded(pages)
    same = {name for name in before if after[name]["kn_nll_sum"] == before[name]["kn_nll_sum"]}
    own = {name for name, row in before.items() if row["fold"] == before["d00"]["fold"]}
    assert {name: row["fold"] for name, row in after.items()} == {name: row["fold"] for name, row in before.items()}
    assert same == own - {"d00"}


def test_a_cluster_of_duplicates_is_in_one_fold(pages: Bench) -> None:
    """Else a model had seen the copy of what it scores."""
    pages.shard("copies.jsonl", [{"id": f"c{n}", "text": "the very same words again and again"} for n in range(12)])
    rows = folded(pages, dedup={"action": "annotate", "near": False})
    assert len(rows) == 72
    assert len({row["fold"] for name, row in rows.items() if name.startswith("c")}) == 1
    assert len({row["fold"] for row in folded(pages, "other").values()}) == 3


def test_a_duplicate_and_what_preselection_drops_train_no_fold(pages: Bench, tmp_path: Path) -> None:
    pages.shard("copies.jsonl", [{"id": f"c{n}", "text": "the very same words again and again"} for n in range(3)])
    rows = folded(pages, dedup={"near": False}, preselect=[{"kind": "threshold", "column": "byte_count", "min": 40}])
    assert all(row["byte_count"] >= 40 for row in rows.values())
    name = sorted(rows)[-1]
    others = [row["text"] for row in rows.values() if row["fold"] != rows[name]["fold"]]
    assert rows[name]["kn_nll_sum"] == pytest.approx(nats(others, rows[name]["text"], tmp_path))


def test_copies_of_a_reference_model_are_averaged(pages: Bench) -> None:
    """Numbers and the values of tokens, over the models of a fold; each copy is another model."""
    from siftlm import score_texts

    pages.run(reference={**SMALL, "folds": 2, "copies": 2}, score=OWN)
    rows = sorted(pages.rows(), key=lambda row: row["doc_id"])
    for fold in range(2):
        folders = [next(pages.root.glob(f"out/store/references/fold{fold}.copy{copy}/*/")) for copy in range(2)]
        mine = [row for row in rows if row["fold"] == fold]
        alone = [
            score_texts(
                [row["text"] for row in mine], str(folder), device="cpu", per_token=["nll"], per_document=["el2n_mean"]
            )
            for folder in folders
        ]
        for column in ("nll_sum", "el2n_mean"):
            truth = np.mean([table[column].to_numpy() for table in alone], axis=0)
            assert [row[f"own_{column}"] for row in mine] == pytest.approx(truth.tolist())
            assert alone[0][column] != alone[1][column]
        lists = [table["token_nll"].to_pylist() for table in alone]
        for number, row in enumerate(mine):
            assert row["own_token_nll"] == pytest.approx(
                np.mean([of[number] for of in lists], axis=0).tolist(), rel=1e-5
            )
        assert [row["own_token_count"] for row in mine] == alone[0]["token_count"].to_pylist()


def test_a_share_is_held_out_of_an_n_gram_model_too(pages: Bench) -> None:
    """Which both models are trained on, and which is told once."""
    result = pages.run(reference={**SMALL, "holdout": 0.5, "ngram": NGRAMS}, score=[*KN, *OWN])
    rows = pages.rows()
    assert 15 < len(rows) < 45
    assert result.manifest["counts"]["decisions"]["dropped"] == {"held_out_for_reference": 60 - len(rows)}
    assert all(row["kn_nll_sum"] > 0 and row["own_nll_sum"] > 0 for row in rows)


def test_what_a_model_reads_is_a_draw_of_all_shards(pages: Bench) -> None:
    """Where it may read less than there is, not the beginning of the first shard."""
    rows = folded(pages, reference={"folds": 2, "ngram": {**NGRAMS, "max_bytes": 600}})
    few = folded(pages, "whole", reference={"folds": 2, "ngram": NGRAMS})
    assert [rows[name]["kn_nll_sum"] for name in rows] != [few[name]["kn_nll_sum"] for name in rows]
    for fold in range(2):
        (path,) = pages.root.glob(f"out/store/ngram_references/fold{fold}/*.done")
        assert 0 < json.loads(path.read_text())["facts"]["tokens"] <= 400  # of two bytes at least, the last text's too


def test_an_n_gram_model_reads_no_more_of_what_is_held_out(pages: Bench) -> None:
    """The texts until there are so many bytes, the last one whole."""
    for out, bound in (("few", {"max_bytes": 50}), ("all", {})):
        pages.run(out, reference={"holdout": 0.5, "ngram": {**NGRAMS, **bound}}, score=KN)
    told = [
        json.loads(next(pages.root.glob(f"{out}/store/ngram_reference/*.done")).read_text()) for out in ("few", "all")
    ]
    few, every = (marker["facts"]["tokens"] for marker in told)
    assert few <= 25 + 28 < every


def test_signs_of_a_model_in_a_text_stop_no_run(pages: Bench, tmp_path: Path) -> None:
    """Pages strike words out by <s>; they are read as spaces, as by `lmplz --skip_symbols`, which is told."""
    texts = {"x0": "rain <s> sea </s> hill", "x1": "of <unk> <UNK> tree", "x2": "one<s> x"}
    pages.shard("signs.jsonl", [{"id": name, "text": text} for name, text in texts.items()])
    rows = folded(pages)
    spaces = {"x0": "rain   sea   hill", "x1": "of     tree"}
    others = [spaces.get(row["doc_id"], row["text"]) for row in rows.values() if row["fold"] != rows["d07"]["fold"]]
    assert rows["d07"]["kn_nll_sum"] == pytest.approx(nats(others, rows["d07"]["text"], tmp_path))
    counts = [sum(2 for name in spaces if rows[name]["fold"] != fold) for fold in range(2)]
    told = [line for line in warnings_of(pages) if "signs of n-gram models" in line]
    assert told
    assert len(told) == sum(count > 0 for count in counts)
    assert all(any(f"fold{n}: {count} words" in line for line in told) for n, count in enumerate(counts) if count)


def test_missing_pieces_are_told_before_anything_is_read(pages: Bench) -> None:
    """In one line, as for a score of a model that is there."""
    from siftlm.errors import UserError

    pieces = {"unit": "pieces", "pieces": "none.model"}
    with pytest.raises(UserError, match=r"^none.model: must be a SentencePiece model, got .*No such file"):
        folded(pages, reference={"folds": 2, "ngram": {**NGRAMS, **pieces}}, score=[{**KN[0], **pieces}])
    assert not list(pages.root.glob("out/store/documents/*.done"))


def test_texts_too_short_for_the_order_are_told_with_their_place(bench: Bench) -> None:
    from siftlm.errors import UserError

    bench.shard("0.jsonl", [{"id": f"a{n}", "text": f"one {n}"} for n in range(20)])
    with pytest.raises(UserError, match=r"^reference.ngram without fold 0: order: must be at most 4"):
        folded(bench, reference={"folds": 2, "ngram": {**NGRAMS, "order": 5}})
    with pytest.raises(UserError, match=r"^reference.ngram: no Kneser-Ney .*: discount_fallback"):
        folded(bench, reference={"holdout": 0.9, "ngram": {"order": 2}})


def test_copies_in_other_folds_are_told_with_what_finds_them(pages: Bench) -> None:
    pages.shard("copies.jsonl", [{"id": f"c{n}", "text": "the very same words again and again"} for n in range(12)])
    folded(pages)
    assert any(line.endswith("find their copies by [dedup]") for line in warnings_of(pages))


def test_the_lowest_of_every_fold(pages: Bench) -> None:
    """Dragoman keeps the lower six tenths of each fold, whose models cannot be compared (arXiv 2404.15196)."""
    band = {"kind": "band", "column": "kn_perplexity", "criterion": "low", "rate": 0.6, "within": "fold"}
    every, kept = folded(pages, "every"), folded(pages, select={"rules": [band]})
    for fold in range(3):
        of = sorted((row["kn_perplexity"], name) for name, row in every.items() if row["fold"] == fold)
        assert {name for name, row in kept.items() if row["fold"] == fold} == {
            name for place, (_, name) in enumerate(of) if (place + 0.5) / len(of) < 0.6
        }


def test_what_a_killed_run_has_trained_stays(pages: Bench) -> None:
    """A fold's model is an output of its own."""
    folded(pages)
    before = pages.markers()
    (gone,) = pages.root.glob("out/store/ngram_references/fold1/*.done")
    gone.unlink()
    folded(pages)
    changed = {name for name, when in pages.markers().items() if before.get(name) != when}
    assert {name.rpartition("/")[0] for name in changed} == {"ngram_references/fold1"}


MISTAKES = {
    "reference: holdout must be left out with folds": {"reference": {"folds": 2, "holdout": 0.2}},
    "needs a [reference.ngram] table": {"reference": {"folds": 2}, "score": KN},
    "needs a [reference] table": {"score": KN},
    "unit must be that of [reference.ngram], 'bytes', got 'words'": {
        "reference": {"ngram": {"unit": "bytes"}},
        "score": KN,
    },
    "token_masks must be left out with reference.copies": {
        "reference": {"copies": 2},
        "score": [{"name": "own", "model": "trained", "token_masks": [{"name": "hard", "above": 2.5}]}],
    },
}


@pytest.mark.parametrize("told", MISTAKES)
def test_folds_that_cannot_be(bench: Bench, told: str) -> None:
    from siftlm.config import parse
    from siftlm.errors import UserError

    with pytest.raises(UserError) as error:
        parse(bench.tree(**MISTAKES[told]), [])
    assert told in str(error.value)


def test_a_command_that_wants_one_model_says_so(
    pages: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pages.root)
    config = (
        "name = 'x'\nreference = { folds = 2 }\n[[input]]\nsource = 'web'\npaths = ['in']\n[output]\nfolder = 'out'\n"
    )
    Path("run.toml").write_text(config)
    assert "reference: must be without folds and copies" in mistake(capsys, "train-reference", "run.toml", "model")


def test_documents_too_few_for_a_fold(bench: Bench) -> None:
    """One line, whatever there is: no document, or one."""
    from siftlm.errors import UserError

    bench.shard("0.jsonl", [{"id": "a", "text": "one text alone"}])
    with pytest.raises(UserError, match="must have text to train on, got none"):
        folded(bench)


def test_a_model_that_scores_what_it_was_trained_on_is_told(pages: Bench) -> None:
    """From the sketch beside it; on other texts, or without a sketch, nothing is."""
    from siftlm.ngram.settings import NgramTraining
    from siftlm.ngram.train import train_ngram

    model = pages.root / "own.bin"
    train_ngram([str(pages.root / "in/1.jsonl")], [str(model)], NgramTraining.model_validate(NGRAMS))
    score = [{"name": "kn", "kind": "ngram", "path": str(model)}]
    (told,) = [line for line in pages.run(score=score).manifest["warnings"] if line.startswith("score ")]
    assert told.startswith("score 'kn': its model was trained on about 33.3% of the documents that it scores")
    Path(f"{model}.seen").unlink()
    assert not [line for line in pages.run("other", score=score).manifest["warnings"] if line.startswith("score ")]


def test_the_copy_of_a_document_in_another_fold_is_told(pages: Bench) -> None:
    """Nobody looked for duplicates, so they are dealt out like other documents."""
    pages.shard("copies.jsonl", [{"id": f"c{n}", "text": "the very same words again and again"} for n in range(15)])
    warned = pages.run(reference={"folds": 3, "ngram": NGRAMS}, score=KN).manifest["warnings"]
    assert [line for line in warned if "trained on about 20.0%" in line]
    warned = pages.run("b", dedup={"near": False}, reference={"folds": 3, "ngram": NGRAMS}, score=KN).manifest[
        "warnings"
    ]
    assert not [line for line in warned if "trained on" in line]

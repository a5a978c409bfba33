"""The files that the examples of methods name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.models import Models, save_classifier
from tests.scorers.test_ngram_lm import ARPA

from siftlm.scorers.linear_text import LinearText
from siftlm.scorers.ngrams import ImportanceWeights

OWN = """
def readability(batch):
    return {"grade": [len(text) / 2 for text in batch["text"].to_pylist()]}
"""


def example_files(folder: Path, tiny_model: Models) -> None:
    """Writes every file that the example of an annotator or a score names."""
    import fasttext

    lines = ["__label__good good words here", "__label__bad bad things"] * 40
    (folder / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    model = fasttext.train_supervised(str(folder / "train.txt"), dim=8, bucket=1000, epoch=2, thread=12, verbose=0)
    model.save_model(str(folder / "quality.bin"))
    ImportanceWeights(2, np.random.default_rng(0).normal(size=100)).save(str(folder / "dsir.npz"))
    (folder / "benchmark.jsonl").write_text('{"text": "the rain in the north stays the south is dry"}\n')
    (folder / "model.arpa").write_text(ARPA)
    (folder / "cutoff.csv").write_text(",en\n30,10\n60,100\n")
    (folder / "my_scores.py").write_text(OWN)
    tiny_model(folder / "model")
    tiny_model(folder / "trained", seed=1)
    (folder / "objective.jsonl").write_text('{"text": "the rain in the north stays and the south is dry"}\n')
    LinearText(2, np.random.default_rng(0).normal(size=101), 0.5).save(str(folder / "learner.npz"))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    save_classifier(folder / "rater", "BertConfig", num_labels=1, **small)

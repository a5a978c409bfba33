"""What small models learn from the halves that eleven methods select of one corpus, side by side.

    python tests/bench/methods.py WORK [--replicates 3] [--nulls 6]

The corpus is that of `conf/prove_quickstart.toml`, a third of whose web pages are noise. Each arm keeps half of the
documents of every source by the column of one method, but for the rules of FineWeb. What scores is trained on documents
that no arm selects from: the run's held-out share, and articles of the quickstart that are no part of the corpus.
Writes `results/methods.json` and prints the table of `pipeline/docs/measurements.md`. What WORK's store already holds
is not trained again. The working directory must be the repository's root.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from defaults import band, summary, table

from siftlm.config import read_toml
from siftlm.engine.progress import Progress
from siftlm.proving.prove import prove
from siftlm.proving.settings import proof_plan
from siftlm.proxies.trainer import ReferenceSettings, train_reference

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results" / "methods.json"
ARTICLES = "conf/quickstart/wikipedia/en-00001-of-00002.parquet"
ARMS: Mapping[str, list[str]] = {
    "medium_perplexity": band("reference_perplexity", "medium", 0.5),
    "low_bits": band("reference_bits_per_byte", "low", 0.5),
    "low_ngram_bits": band("kn_bits_per_byte", "low", 0.5),
    "articles_minus_corpus": band("articles_minus_corpus", "low", 0.5),
    "medium_el2n": band("reference_el2n_mean", "medium", 0.5),
    "medium_token_prior": band("prior_mean", "medium", 0.5),
    "medium_compression": band("zstd_ratio", "medium", 0.5),
    "low_self_influence": band("influence", "low", 0.5),
    "high_weight_alignment": band("alignment", "high", 0.5),
    "fineweb": ["select.rules=[]", "select.preset=fineweb"],
    "random_half": ["select.rules=[{kind='sample', rate=0.5}]"],
}


def proof_tree(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The proof of the quickstart with a column of every method."""
    model = str(work / "articles-model")
    if not Path(model).exists():
        texts = pq.read_table(ROOT / ARTICLES, columns=["text"])["text"].to_pylist()
        train_reference(texts, ReferenceSettings(epochs=3.0), model)
    tree = read_toml(str(ROOT / "conf" / "prove_quickstart.toml"))
    tree["name"] = "methods"
    tree["reference"]["ngram"] = {"order": 3, "discount_fallback": True}
    tree["score"][0]["per_document"] = ["el2n_mean"]
    tree["score"] += [
        {"kind": "ngram", "name": "kn", "path": "trained"},
        {"name": "articles", "model": model, "device": "cpu"},
    ]
    tree["columns"] = [{"name": "articles_minus_corpus", "expr": "articles_bits_per_byte - reference_bits_per_byte"}]
    tree["prior"] = [{"tokenizer": model}]
    tree["annotate"] |= {
        "others": [{"kind": "compression", "name": "zstd", "codec": "zstd"}],
        "models": [
            {"kind": "self_influence", "name": "influence", "model": model, "device": "cpu"},
            {"kind": "weight_alignment", "name": "alignment", "model": model, "device": "cpu"},
        ],
    }
    tree["output"]["folder"] = str(work / "run")
    tree["prove"] |= {
        "replicates": options.replicates,
        "null_replicates": options.nulls,
        "held_out": [of for of in tree["prove"]["held_out"] if of["source"] == "pages"],
        "arms": [{"name": name, "set": of} for name, of in ARMS.items()],
    }
    return tree


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--replicates", type=int, default=3)
    parser.add_argument("--nulls", type=int, default=6)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    report = prove(proof_plan(proof_tree(options.work, options), [], "methods"), Progress())
    assert report is not None, "this is no dry run"
    results = {"quickstart": summary(report)}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()

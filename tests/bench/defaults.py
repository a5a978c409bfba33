"""Which stock selection teaches a small model more, on corpora of three kinds: the evidence for the defaults.

    python tests/bench/defaults.py DATA WORK [--corpora web-with-noise web-pages library] [--replicates 3]

Builds the corpora in WORK from the folder DATA (`defaults_corpora.py` says what is needed of it, and stops where it is
not there), proves the stock choices on each, writes `results/defaults.json`, and prints a table for
`pipeline/docs/measurements.md`. What WORK's stores already hold is not trained again, so more replicates or arms
cost only what is new. The working directory must be the repository's root.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import defaults_corpora as corpora

from siftlm.config import read_toml
from siftlm.engine.progress import Progress
from siftlm.proving.prove import prove
from siftlm.proving.settings import proof_plan
from siftlm.proxies.trainer import ReferenceSettings, train_reference
from siftlm.report.proof import ProofReport

KEPT_OF_ARMS = ("name", "kind", "documents", "drawn_share", "epochs", "overall", "replicates")
ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results" / "defaults.json"
QUICKSTART = "web-with-noise"
BUILT: Mapping[str, Callable[[Path], corpora.Corpus]] = {"web-pages": corpora.pages, "library": corpora.library}


def band(column: str, criterion: str, rate: float) -> list[str]:
    rule = f"{{kind='band', column='{column}', criterion='{criterion}', rate={rate}, within='source'}}"
    return [f"select.rules=[{rule}]"]


ARMS: Mapping[str, list[str]] = {
    "medium_perplexity": band("reference_perplexity", "medium", 0.5),
    "low_perplexity": band("reference_perplexity", "low", 0.5),
    "medium_bits": band("reference_bits_per_byte", "medium", 0.5),
    "low_bits": band("reference_bits_per_byte", "low", 0.5),
    "low_bits_quarter": band("reference_bits_per_byte", "low", 0.25),
    "low_bits_three_quarters": band("reference_bits_per_byte", "low", 0.75),
    "low_wikipedia_bits": band("wikipedia_bits_per_byte", "low", 0.5),
    "gaussian_bits": ["select.rules=[{kind='gaussian', column='reference_bits_per_byte', rate=0.5}]"],
    "fineweb": ["select.rules=[]", "select.preset=fineweb"],
    "quality": ["select.rules=[]", "select.preset={name='quality', score='reference'}"],
    "disguise": ["select.rules=[{kind='sample', rate=0.5}]"],
    "clean": ["select.rules=[{kind='threshold', column='kind', in=['text']}]"],
    "shuffled": ["select.rules=[{kind='threshold', column='kind', in=['shuffled']}]"],
}


def quickstart(model: str) -> dict[str, Any]:
    """The repository's own proof, with a reference model more; its paths are those from the repository's root."""
    tree = read_toml(str(ROOT / "conf" / "prove_quickstart.toml"))
    tree["score"].append({"name": "wikipedia", "model": model, "device": "cpu"})
    return tree


def built(name: str, folder: Path, model: str) -> dict[str, Any]:
    """A proof on a corpus that was built in a folder."""
    tree = quickstart(model)
    tree["name"] = f"defaults-{name}"
    tree["input"] = [_source(path) | {"columns": {"kind": "string"}} for path in sorted((folder / "pool").iterdir())]
    tree["prove"] |= {"held_out": [_source(path) for path in sorted((folder / "held_out").iterdir())]}
    return tree


def _source(path: Path) -> dict[str, Any]:
    return {"source": path.name.partition(".")[0], "paths": [str(path)], "id_field": "id"}


def proved(name: str, data: Path, work: Path, options: argparse.Namespace) -> ProofReport:
    """Builds a corpus where it is not there, and proves the arms on it."""
    model = work / "wikipedia-model"
    if not model.exists():
        train_reference(corpora.encyclopedia(data), ReferenceSettings(epochs=3.0), str(model))
    if name == QUICKSTART:
        tree = quickstart(str(model))
    else:
        folder = work / "corpora" / name
        if not folder.exists():
            BUILT[name](data).write(folder)
        tree = built(name, folder, str(model))
    tree["output"]["folder"] = str(work / "runs" / name)
    tree["prove"]["arms"] = [{"name": arm, "set": ARMS[arm]} for arm in options.arms if arm in usable(name)]
    tree["prove"] |= {
        "replicates": options.replicates,
        "null_replicates": options.nulls,
        **json.loads(options.settings),
    }
    report = prove(proof_plan(tree, [], name), Progress())
    assert report is not None, "this is no dry run"
    return report


def usable(name: str) -> list[str]:
    """The arms that a corpus has text for: only the library has a tenth of its words shuffled."""
    absent = {QUICKSTART: {"clean", "shuffled"}, "web-pages": {"shuffled"}}.get(name, set())
    return [arm for arm in ARMS if arm not in absent]


def summary(report: ProofReport) -> dict[str, Any]:
    """What is kept of a proof: its design, and every arm's effects with their intervals and verdicts."""
    made = report.as_json()
    kept = ("arm", "null", "overall", "domains", "own_noise")
    return {
        "design": made["design"],
        "domains": made["domains"],
        "arms": [{key: arm[key] for key in KEPT_OF_ARMS} for arm in made["arms"]],
        "comparisons": [{key: one[key] for key in kept} for one in made["comparisons"]],
    }


def row(corpus: str, one: Mapping[str, Any]) -> str:
    effect = one["overall"]
    interval = f"{effect['low']:+.3f} to {effect['high']:+.3f}"
    return f"| {corpus} | {one['arm']} | {one['null']} | {effect['effect']:+.3f} | {interval} | {effect['verdict']} |"


def table(results: Mapping[str, Any]) -> str:
    """The results as a table of Markdown."""
    head = "| corpus | arm | null | effect | interval | verdict |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(row(name, one) for name, of in results.items() for one in of["comparisons"])])


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--corpora", nargs="+", choices=[QUICKSTART, *BUILT], default=[QUICKSTART, *BUILT])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--replicates", type=int, default=3)
    parser.add_argument("--nulls", type=int, default=6)
    parser.add_argument("--settings", default="{}", help="other settings of [prove], as JSON")
    return parser.parse_args(arguments)


def main() -> None:
    """Proves the stock choices on the corpora, and adds what came out to the results."""
    asked = options()
    if missing := corpora.missing(asked.data):
        raise SystemExit(f"defaults: skipped, for {asked.data} must have {', '.join(corpora.NEEDED)}, got no {missing}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in asked.corpora:
        results[name] = summary(proved(name, asked.data, asked.work.resolve(), asked))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table({name: results[name] for name in asked.corpora}))


if __name__ == "__main__":
    main()

"""Which shares every method of `siftlm mix --train` gives three planted domains, and what models learn from them.

    python tests/bench/mixtures.py WORK [--tokens 200_000] [--methods doremi odm ...]

Writes a domain of a language of 200 words that a model learns by and by, one of random letters, and one of a sentence
again and again into WORK; finds shares of them by every method; and writes `results/mixtures.json` and a table for
`pipeline/docs/measurements.md`. What WORK holds already is not trained again. The gain is that of the bits per byte of
held-out text over a model on the shares that the domains have by themselves, the mean over domains.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from siftlm.config import validated
from siftlm.engine.progress import Progress
from siftlm.mixtures.learning import LearntMixture
from siftlm.mixtures.settings import MixConfig
from siftlm.mixtures.trained.run import train_mix

RESULTS = Path(__file__).parent / "results" / "mixtures.json"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
DOCUMENTS = 4000
METHODS: dict[str, dict[str, Any]] = {
    "doremi": {},
    "doge": {},
    "skill_it": {},
    "aioli": {"update_steps": 50, "turn_steps": 2, "sweeps": 2},
    "odm": {},
    "bilevel": {"every": 20},
    "merged": {"mixtures": 32},
}


def texts(name: str) -> Iterator[str]:
    """The documents of a domain, of about 600 bytes each."""
    draw = random.Random(name)
    words = ["".join(draw.choices(LETTERS, k=5)) for _ in range(200)]
    follow = {word: draw.sample(words, 3) for word in words}
    for number in range(DOCUMENTS):
        if name == "learnable":
            word = draw.choice(words)
            chain = [word := draw.choice(follow[word]) for _ in range(120)]
            yield " ".join(chain)
        elif name == "noise":
            yield "".join(draw.choices(f"{LETTERS} ", k=600))
        else:
            yield "the same words again and again. " * 20 + str(number)


def inputs(work: Path) -> list[dict[str, Any]]:
    """Writes the domains that are not there, and returns the tables of their inputs."""
    made = []
    for name in ("learnable", "noise", "trivial"):
        path = work / f"{name}.jsonl"
        if not path.exists():
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts(name)))
        made.append({"source": name, "paths": [str(path)]})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    train = {
        "input": inputs(arguments.work), "folder": str(arguments.work / "trained"), "tokens": arguments.tokens,
        "vocabulary": 1024, "training": {"batch_tokens": 1024, "learning_rate": 4e-3},
    }  # fmt: skip
    rows = []
    for method in arguments.methods:
        tree = {
            "mix": {"method": method, **METHODS[method]}, "train": train,
            "output": str(arguments.work / f"{method}.json"),
        }  # fmt: skip
        started = time.monotonic()
        made = train_mix(validated(MixConfig, tree, [], "bench"), Progress())
        assert isinstance(made, LearntMixture)
        told = {
            "method": method,
            "shares": made.shares,
            "prior": made.prior,
            "gain": made.gain,
            "warnings": made.warnings,
        }
        rows.append({**told, "seconds": round(time.monotonic() - started, 1), "parameters": made.parameters})
    RESULTS.write_text(json.dumps({"tokens": arguments.tokens, "methods": rows}, indent=1) + "\n")
    print("| method | learnable | noise | trivial | gain in bits per byte |\n|---|---|---|---|---|")
    print("| by their tokens | " + " | ".join(f"{share:.3f}" for share in rows[0]["prior"].values()) + " | |")
    for row in rows:
        gain, low, high = row["gain"]
        shares = " | ".join(f"{share:.3f}" for share in row["shares"].values())
        print(f"| `{row['method']}` | {shares} | {gain:+.4f} ({low:+.4f} to {high:+.4f}) |")


if __name__ == "__main__":
    main()

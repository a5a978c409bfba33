"""Soups beside trained models: arms of the quickstart's text with other shares of its sources.

    python tests/bench/soups.py FOLDER [KEY=VALUE ...]

Five selections keep other shares of the web pages (a third of them noise), articles and PEPs of conf/quickstart; each
has its null, and there is the random draw. Prints what `siftlm prove` prints, and the seconds that it took: at the end
how the soups order the arms. Settings may follow, `prove.soups.tokens=50000` for instance; models that FOLDER has are
not trained again.
"""

from __future__ import annotations

import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from siftlm.cli.prove import print_proof
from siftlm.engine.progress import Progress
from siftlm.proving.prove import prove
from siftlm.proving.settings import proof_plan

CONF = Path(__file__).parents[2] / "conf" / "prove_quickstart.toml"
SHARES = {  # that an arm keeps of each source
    "web_wiki": {"web": 1, "wikipedia": 1, "peps": 0.02},
    "wiki": {"web": 0.05, "wikipedia": 1, "peps": 0.05},
    "noise_web": {"web": 1, "wikipedia": 0.02, "peps": 0.02},
    "peps": {"web": 0.1, "wikipedia": 0.1, "peps": 1},
    "some": {"web": 0.3, "wikipedia": 0.9, "peps": 0.6},
}
PROVE = {
    "tokens": 100_000,
    "replicates": 2,
    "null_replicates": 3,
    "documents": 60,
    "marks": 2,
    "soups": {"by": ["source", "language"], "tokens": 20_000, "most": 6},
}


def tree(folder: str) -> dict[str, Any]:
    """The quickstart's proof without its reference model, with a source more and other arms."""
    made = tomllib.loads(CONF.read_text())
    del made["reference"], made["score"]
    made["input"].append({"source": "peps", "paths": ["conf/quickstart/peps/peps-00000.warc.gz"]})
    arms = [
        {"name": name, "set": [f"select.rules=[{', '.join(map(rule, of.items()))}]"]} for name, of in SHARES.items()
    ]
    return {
        **made,
        "name": "soups",
        "select": {},
        "output": {"folder": folder},
        "prove": {**made["prove"], **PROVE, "arms": arms},
    }


def rule(kept: tuple[str, float]) -> str:
    """A rule that keeps a share of a source, as --set has it."""
    return f"{{kind='sample', rate={kept[1]:g}, when={{source=['{kept[0]}']}}}}"


def main() -> None:
    """Prints a proof and how long it took."""
    folder, *settings = sys.argv[1:]
    started = time.monotonic()
    made = prove(proof_plan(tree(folder), settings, "soups"), Progress())
    assert made is not None, "it was no dry run"
    print_proof(made, folder)
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

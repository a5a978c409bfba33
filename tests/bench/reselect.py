"""Selecting again over stored scores: CPU seconds of a run that scores, and of one more with another selection.

    python tests/bench/reselect.py [--documents 2000]

The corpus is real text (see corpus.py), the model a GPT-2 of 6 layers and 384 units with random weights; half of the
documents of every source are kept by perplexity, then a third by bits per byte. Every run is a process of its own, so
the second has the start of Python and Beam in it, too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from corpus import mixed_corpus

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.models import save_model

CONF = """
name = "reselect"
input = [{{ source = "mixed", paths = ["{folder}/input"] }}]
score = [{{ name = "lm", model = "{folder}/model", device = "cpu" }}]
output = {{ folder = "{folder}/run" }}
[select]
rules = [{{ kind = "band", column = "lm_perplexity", criterion = "medium", rate = 0.5 }}]
"""
OTHER = 'select.rules=[{kind="top", column="lm_bits_per_byte", direction="lowest", rate=0.33}]'


def cpu_seconds(*arguments: str) -> float:
    """CPU seconds of a run and its workers."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "siftlm.cli", "run", *arguments, "--quiet"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Prints the CPU seconds of both runs and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2000)
    documents = parser.parse_args().documents
    texts = mixed_corpus()
    texts = texts[:: max(1, len(texts) // documents)][:documents]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input").mkdir()
        (folder / "input/0.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        save_model(folder / "model", texts=texts, tokens=16_384, n_embd=384, n_layer=6, n_head=6, n_positions=1024)
        (folder / "conf.toml").write_text(CONF.format(folder=folder))
        first = cpu_seconds(str(folder / "conf.toml"))
        again = cpu_seconds(str(folder / "conf.toml"), "--set", OTHER)
    size = sum(len(text.encode()) for text in texts)
    print(f"{len(texts):,} documents, {size / 1e6:.1f} MB: scored and selected in {first:.1f} CPU s")
    print(f"selected again in {again:.1f} CPU s: {100 * again / first:.2f} %")


if __name__ == "__main__":
    main()

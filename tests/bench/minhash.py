"""MinHash: MB/s of one core from UTF-8 bytes to 14 x 8 bands, beside datasketch, rensa, datatrove and dupekit.

    python tests/bench/minhash.py [--megabytes 36] [--slow-megabytes 2]

Every row is the median of its rounds, in CPU time of all threads in one run, so that ratios hold on a busy machine;
the peers read a sample of the documents. Peers that are not installed are left out: `pip install "siftlm[bench]"`
brings them.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from corpus import mixed_corpus, ragged

from siftlm_kernels.minhash import minhash, minhash_bands, shingle_hashes

NGRAM, PERMUTATIONS, BANDS, SEED = 5, 112, 14, 1
Text = TypeVar("Text")
WARM = "import time; start = time.perf_counter(); from siftlm_kernels.__main__ import main; main(); "
WARM += "print(time.perf_counter() - start)"


def python_shingles(text: str) -> list[str]:
    """Word 5-grams as users write them."""
    words = re.findall(r"\w+", text.lower())
    return [" ".join(words[k : k + NGRAM]) for k in range(len(words) - NGRAM + 1)]


def megabytes_per_second(work: Callable[[], object], size_bytes: int, rounds: int) -> float:
    """The median of `rounds` runs, by CPU time."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return size_bytes / 1e6 / statistics.median(seconds)


def each(work: Callable[[Text], None], texts: Iterable[Text]) -> None:
    """The work on every text, one after the other."""
    for text in texts:
        work(text)


def own_rows(texts: list[str]) -> Iterator[tuple[str, float]]:
    """The kernels over all texts, compiled beforehand."""
    values, offsets = ragged(texts)
    forms: dict[str, Callable[..., object]] = {
        "siftlm minhash_bands": lambda v, o: minhash_bands(v, o, seed=SEED),
        "siftlm minhash": lambda v, o: minhash(v, o, seed=SEED),
        "siftlm shingle_hashes": shingle_hashes,
        'siftlm minhash(impl="datasketch")': lambda v, o: minhash(v, o, seed=SEED, impl="datasketch"),
    }
    for name, form in forms.items():
        form(values, offsets[:2])
        yield name, megabytes_per_second(partial(form, values, offsets), len(values), 5)


def peer_rows(texts: list[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    """What each installed peer does with the same texts."""
    for peer in (datasketch_rows, rensa_rows, datatrove_rows, dupekit_rows):
        try:
            yield from peer(texts)
        except ImportError as missing:
            print(f"left out: {missing}; install the `bench` extra", file=sys.stderr)


def datasketch_rows(texts: list[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    """`update_batch`, with permutations shared by all documents."""
    import datasketch

    first = datasketch.MinHash(PERMUTATIONS, seed=SEED)

    def sign(text: str) -> None:
        first.copy().update_batch([shingle.encode() for shingle in python_shingles(text)])

    yield "datasketch update_batch", lambda: each(sign, texts)


def rensa_rows(texts: list[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    """RMinHash in Rust, on shingles made in Python and on shingles that are there already."""
    from rensa import RMinHash

    def sign(shingles: list[str]) -> None:
        sketch = RMinHash(PERMUTATIONS, SEED)
        sketch.update(shingles)
        sketch.digest()

    ready = [python_shingles(text) for text in texts]
    yield "rensa, shingles in Python", lambda: each(sign, map(python_shingles, texts))
    yield "rensa, without the shingling", lambda: each(sign, ready)


def datatrove_rows(texts: list[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    """The signature step's own arithmetic, without its files."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    step = MinhashDedupSignature(tempfile.mkdtemp(), MinhashConfig(n_grams=NGRAM, seed=SEED))

    def sign(text: str) -> None:
        shingles = step.get_shingles(text)
        if shingles.size:
            step.get_signature(shingles)

    sign("one two three four five six")
    yield "datatrove signature step", lambda: each(sign, texts)


def dupekit_rows(texts: list[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Marin's steps in Rust on an Arrow batch: text without case and ASCII marks, 5-grams of characters, bands."""
    import dupekit
    import pyarrow as pa

    steps = dupekit.Transformation
    sign = [
        steps.CleanText("text", "clean"),
        steps.MinHash("clean", "signature", PERMUTATIONS, NGRAM, SEED),
        steps.MinHashLSH("signature", "bands", BANDS),
    ]
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    yield "dupekit, 5-grams of characters", lambda: dupekit.transform(batch, sign)


def report_compilation() -> None:
    """Seconds until every kernel is ready in a fresh process: compiled, then from the cache."""
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "cached"):
            command = ["env", f"NUMBA_CACHE_DIR={cache}", sys.executable, "-c", WARM]
            seconds = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"ready in a fresh process, {state}: {seconds:.1f} s, numba's import included")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=float, default=36.0)
    arguments.add_argument("--slow-megabytes", type=float, default=2.0)
    chosen = arguments.parse_args()
    texts = mixed_corpus()
    texts = texts[:: max(1, round(sum(map(len, texts)) / 1e6 / chosen.megabytes))]
    sample = texts[:: max(1, round(chosen.megabytes / chosen.slow_megabytes))]
    size_bytes = len(ragged(sample)[0])
    own = 0.0
    for name, rate in own_rows(texts):
        own = own or rate
        print(f"{name:40} {rate:8.2f} MB/s per core")
    for name, run in peer_rows(sample):
        rate = megabytes_per_second(run, size_bytes, 3)
        print(f"{name:40} {rate:8.2f} MB/s per core   minhash_bands is {own / rate:7.1f} x")
    report_compilation()


if __name__ == "__main__":
    main()

"""Compiles every kernel into numba's cache, so that workers need not compile any.

python -m siftlm_kernels
"""

from __future__ import annotations

from importlib import import_module

import numpy as np

from siftlm_kernels.commonness import count_ngrams, empty_counts, mean_nll
from siftlm_kernels.components import UnionFind
from siftlm_kernels.minhash import band_hashes, minhash, minhash_bands, set_jaccard, shingle_hashes
from siftlm_kernels.ngram_model import NgramModel
from siftlm_kernels.paragraphs import cut_spans, paragraphs, without_spans

EAGER = ("fasttext_linear_kernel", "text_signals_kernel")
"""Modules whose kernels have signatures, and are compiled when they are imported."""
BIGRAM = b"""\\data\\
ngram 1=3
ngram 2=1

\\1-grams:
-1\t<unk>
0\t<s>\t-1
-1\t</s>

\\2-grams:
-1\t<s> </s>

\\end\\
"""


def main() -> None:
    """Compiles the kernels that numba's cache (in `NUMBA_CACHE_DIR`, else beside the source) does not hold yet."""
    for name in EAGER:
        import_module(f"siftlm_kernels.{name}")
    text = np.frombuffer(b"a\nb", np.uint8), np.array([0, 3])
    minhash_bands(*text)
    band_hashes(minhash(*text), 1, 2)
    minhash(*text, impl="datasketch")
    set_jaccard(*shingle_hashes(*text), np.zeros((1, 2), np.int64))
    forest = UnionFind()
    forest.add(np.arange(2000), np.arange(2000))
    forest.components()
    without_spans(*text, *cut_spans(*text, np.ones(len(paragraphs(*text)[0]), np.bool_)))
    table = empty_counts(4)
    count_ngrams(*text, table)
    mean_nll(*text, table)
    NgramModel.parse(BIGRAM).log10(*text)


if __name__ == "__main__":
    main()

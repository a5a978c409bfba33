"""Computes label probabilities of a supervised fastText model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from siftlm_kernels.fasttext_linear_file import FastTextFile, FloatArray, read_fasttext

if TYPE_CHECKING:
    from siftlm_kernels.fasttext_linear_compiled import CompiledModel

Impl = Literal["auto", "reference", "fasttext"]

LOG_OFFSET = 1e-5
_FOLDED_ROWS = 1 << 16  # rows of the input matrix that are multiplied at a time


@dataclass(frozen=True)
class FastTextLinear:
    """Computes label probabilities of a supervised fastText model (.bin or .ftz).

    For softmax the model is linear up to its last step, so `input_matrix @ output_matrix.T` is folded once, less the
    column of the first label, which a softmax does not see: for two labels a word costs one float instead of `dim`
    (a model of 2,000,000 buckets takes 8 MB). Hierarchical softmax is folded to its inner nodes in the same way.
    Where labels are more than `dim`, and for the sigmoids of one-vs-all, which fastText reads from a coarse table
    that shows every rounding, rows stay `dim` wide; those of an unquantised model stay mapped from the file.
    """

    path: str
    file: FastTextFile

    @staticmethod
    def load(path: str) -> FastTextLinear:
        """Returns the model that a file holds.

        Raises:
            ValueError: not a supervised fastText model, cut short or inconsistent; the message names the file.
            OSError: the file can't be read.
        """
        return FastTextLinear(path, read_fasttext(path))

    @property
    def labels(self) -> tuple[str, ...]:
        """Returns the labels in the order of the columns, with the prefix `__label__` as in the file."""
        return self.file.labels

    def probabilities(
        self, values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, impl: Impl = "auto"
    ) -> FloatArray:
        """Returns the probability of every label for every document, shape (documents, labels).

        Equal, up to 1e-5, to `fasttext.load_model(path).predict(text.replace("\\n", " "), k=-1, threshold=-1)`: the
        same words (white space is space, newline, return, tab, vertical tab, form feed and NUL; what follows a
        literal `</s>` is not read; words that begin with `__label__` are left out), and the same probabilities,
        which for fastText are p + 1e-5 (so that the best may read 1.00001). A text of which the model knows
        nothing, for which fastText returns no label, is NaN. On a text that repeats one word many thousand times
        fastText's own float32 sums are off by more than 1e-5, and so is the difference.

        Args:
            values: valid UTF-8 of all documents. Shape (bytes,).
            offsets: where each document begins, and the end of the last. Shape (documents + 1,).
            impl: "auto" for the compiled path, "reference" for plain Python over the unfolded matrices, "fasttext"
                for the package itself.
        """
        if impl == "auto":
            return self._compiled.probabilities(values, offsets)
        from siftlm_kernels import fasttext_linear_reference as reference

        if impl == "fasttext":
            return reference.package_probabilities(self.path, self.labels, values, offsets)
        if impl == "reference":
            return reference.reference_probabilities(self.file, values, offsets)
        raise ValueError(f"impl: must be 'auto', 'reference' or 'fasttext', got {impl!r}")

    @cached_property
    def _compiled(self) -> CompiledModel:
        from siftlm_kernels.fasttext_linear_compiled import CompiledModel

        return CompiledModel.of(self.file)


def folding(file: FastTextFile) -> FloatArray | None:
    """Returns the matrix (width, dim) to multiply all input rows with once, or None where that does not pay."""
    if file.loss not in ("softmax", "hs") or len(file.labels) - 1 > file.dim:
        return None
    output = file.output[: len(file.labels)]
    return output[1:] - output[:1] if file.loss == "softmax" else output[:-1]


def fold(file: FastTextFile, matrix: FloatArray | None) -> FloatArray:
    """Returns `input_matrix @ matrix.T` (rows, width), computed in blocks; the input matrix where `matrix` is None."""
    rows = file.input.shape[0]
    if matrix is None:
        return file.input[:rows]
    folded = np.empty((rows, len(matrix)), np.float32)
    for begin in range(0, rows, _FOLDED_ROWS):
        end = min(rows, begin + _FOLDED_ROWS)
        with np.errstate(all="ignore"):  # a corrupt model may hold anything; its probabilities are NaN
            np.matmul(file.input[begin:end], matrix.T, out=folded[begin:end])
    return folded


def tree_children(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Returns (left, right) of every inner node of the Huffman tree that fastText builds from label counts.

    Nodes are numbered with the labels first; ties go to the inner node, as in fastText.

    Raises:
        ValueError: counts that no training can have written.
    """
    labels = len(counts)
    weights = [int(count) for count in counts] + [10**15] * labels
    children = np.zeros((labels - 1, 2), np.int32)
    leaf, node = labels - 1, labels
    for inner in range(labels, 2 * labels - 1):
        for side in (0, 1):
            if leaf >= 0 and weights[leaf] < weights[node]:
                children[inner - labels, side], leaf = leaf, leaf - 1
            else:
                children[inner - labels, side], node = node, node + 1
        if node > inner:
            raise ValueError("counts of labels out of range")
        weights[inner] = sum(weights[child] for child in children[inner - labels])
    return children

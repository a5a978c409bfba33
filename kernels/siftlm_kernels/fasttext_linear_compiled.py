"""Prepares a fastText model for the compiled kernels: a hash table of its vocabulary, and its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siftlm_kernels.fasttext_linear import LOG_OFFSET, fold, folding, tree_children
from siftlm_kernels.fasttext_linear_file import FastTextFile, FloatArray, Loss
from siftlm_kernels.fasttext_linear_kernel import (
    Shape,
    Vocabulary,
    fill_vocabulary,
    products,
    sigmoid_table_outputs,
    sum_rows,
    sum_subwords,
    tree_outputs,
)


@dataclass(frozen=True)
class CompiledModel:
    """Holds the arrays from which the kernels compute a model's probabilities.

    `output` is None where the rows are multiplied with the output matrix already.
    """

    loss: Loss
    labels: int
    vocabulary: Vocabulary
    shape: Shape
    word_rows: FloatArray
    word_sizes: npt.NDArray[np.int32]
    ngram_rows: FloatArray
    output: FloatArray | None
    children: npt.NDArray[np.int32]

    @staticmethod
    def of(file: FastTextFile) -> CompiledModel:
        matrix = folding(file)
        rows = fold(file, matrix)
        vocabulary, shape = _vocabulary(file), _shape(file)
        word_rows, ngram_rows = rows[: file.words], rows[file.words :]
        sizes = np.zeros(0, np.int32)
        if file.has_subwords and file.loss in ("softmax", "hs"):
            sums, sizes = np.empty_like(word_rows), np.empty(file.words, np.int32)
            entries = vocabulary.entry_bytes, vocabulary.entry_offsets
            sum_subwords(*entries, file.words, shape, word_rows, ngram_rows, sums, sizes)
            word_rows = sums
        output = None if matrix is not None else np.ascontiguousarray(file.output[: len(file.labels)])
        children = tree_children(file.label_counts) if file.loss == "hs" else np.zeros((0, 2), np.int32)
        labels = len(file.labels)
        return CompiledModel(file.loss, labels, vocabulary, shape, word_rows, sizes, ngram_rows, output, children)

    def probabilities(self, values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> FloatArray:
        documents = len(offsets) - 1
        sums = np.empty((documents, self.word_rows.shape[1]), np.float32)
        added = np.empty(documents, np.int64)
        sum_rows(
            np.ascontiguousarray(values), np.ascontiguousarray(offsets), self.vocabulary, self.shape, self.word_rows,
            self.word_sizes, self.ngram_rows, sums, added,
        )  # fmt: skip
        with np.errstate(all="ignore"):  # a corrupt model may hold anything; its probabilities are NaN
            sums *= (1.0 / np.maximum(added, 1)).astype(np.float32)[:, None]
            probabilities = self._outputs(sums)
        probabilities[added == 0] = np.nan
        return probabilities

    def _outputs(self, means: FloatArray) -> FloatArray:
        """Probabilities from the mean of the rows, folded or `dim` wide."""
        probabilities = np.empty((len(means), self.labels), np.float32)
        if self.loss == "hs":
            logits = means if self.output is None else self._logits(means, self.labels - 1)
            tree_outputs(logits, self.children, probabilities)
            return probabilities
        if self.loss == "softmax":
            first = np.zeros((len(means), 1), np.float32)  # the column that was subtracted from the others
            logits = np.hstack([first, means]) if self.output is None else self._logits(means, self.labels)
            probabilities[:] = softmax(logits.astype(np.float64))
        else:
            assert self.output is not None
            sigmoid_table_outputs(means, self.output, probabilities)
        probabilities += np.float32(LOG_OFFSET)
        return probabilities

    def _logits(self, means: FloatArray, rows: int) -> FloatArray:
        """The products of every mean with the first rows of the output matrix, shape (documents, rows)."""
        assert self.output is not None
        logits = np.empty((len(means), rows), np.float32)
        products(means, np.ascontiguousarray(self.output[:rows].T), logits)
        return logits


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the softmax of every row."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _vocabulary(file: FastTextFile) -> Vocabulary:
    entries = len(file.entry_offsets) - 1
    slots = 1 << max(4, (2 * entries).bit_length())
    keys, names = np.zeros(slots, np.uint64), np.full(slots, -1, np.int32)
    fill_vocabulary(file.entry_bytes, file.entry_offsets, keys, names)
    return Vocabulary(keys, names, file.entry_bytes.copy(), file.entry_offsets.copy(), file.words)


def _shape(file: FastTextFile) -> Shape:
    bits, rows = np.zeros(0, np.uint8), np.zeros(0, np.int32)
    if file.pruned is not None:
        kept = np.zeros(file.bucket + 1, np.bool_)
        kept[file.pruned[:, 0]] = True
        bits = np.packbits(kept, bitorder="little")
        rows = np.zeros(file.bucket + 1, np.int32)
        rows[file.pruned[:, 0]] = file.pruned[:, 1]
    return Shape(file.word_ngrams, file.bucket, file.minn, file.maxn, bits, rows)

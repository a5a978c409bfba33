"""Measures a model on the documents of a token file: exact sums of nats, a document each.

A document is predicted from its separator on. One of more tokens than the context is cut into pieces of so many, each
of which begins with the token before it and sees nothing earlier. Every token but separators is predicted once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from siftlm.proxies.training.sampler import Floats
from siftlm.proxies.training.tokens import Ints, TokenFile

TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 1 << 16}  # of a batch of pieces, padding included


@dataclass(frozen=True)
class PieceBatch:
    """Holds pieces of documents padded to one length: inputs and targets int64 [B, T], and what is no padding."""

    documents: Ints  # [B]
    inputs: Tensor
    targets: Tensor
    real: Tensor  # bool [B, T]


def batches(file: TokenFile, context: int, device: str) -> Iterator[PieceBatch]:
    """Yields the pieces of all documents, the short ones first, in the same batches always."""
    documents, starts, lengths = _pieces(file, context)
    at = 0
    while at < len(documents):
        last = at + 1
        while last < len(documents) and (last + 1 - at) * lengths[last] <= TOKENS_AT_ONCE[device]:
            last += 1
        rows = slice(at, last)
        yield _batch(file, documents[rows], starts[rows], lengths[rows])
        at = last


def _pieces(file: TokenFile, context: int) -> tuple[Ints, Ints, Ints]:
    """(document, place of the token before it, predicted tokens) of each piece, by length."""
    counts = -(-file.token_counts // context)
    documents = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = file.starts[documents] + within * context
    lengths = np.minimum(context, file.starts[documents + 1] - 1 - starts)
    order = np.argsort(lengths, kind="stable")
    return documents[order], starts[order], lengths[order]


def _batch(file: TokenFile, documents: Ints, starts: Ints, lengths: Ints) -> PieceBatch:
    longest = int(lengths[-1])
    places = starts[:, None] + np.minimum(np.arange(longest + 1), lengths[:, None])
    tokens = torch.from_numpy(file.tokens[places].astype(np.int64))
    real = torch.from_numpy(np.arange(longest) < lengths[:, None])
    return PieceBatch(documents, tokens[:, :-1], tokens[:, 1:], real)


def add_nats(sums: Floats, batch: PieceBatch, nats: Tensor) -> None:
    """Adds the nats [B, T] of a batch to its documents' sums, float64 [documents]."""
    real = torch.where(batch.real, nats.cpu().double(), 0.0).sum(1)
    np.add.at(sums, batch.documents, real.numpy())

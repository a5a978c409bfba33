"""Marks tokens of documents by their values, as compact columns: a bit a token, or the lengths of runs.

A mask covers the scored tokens of a document in their order. `decode_mask` gives it back as booleans.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from siftlm.errors import UserError
from siftlm.settings import Settings

Bools = NDArray[np.bool_]
Encoding = Literal["bitmap", "runs"]
MASK, MASKED = "_mask", "_masked"  # what the names of a mask's two columns end with


class TokenMask(Settings):
    """Marks the tokens whose value is above `above` or below `below`.

    Clear Minds (arXiv 2501.14315) leaves tokens with a perplexity above 2.5 out of the loss: `value = "perplexity"`,
    `above = 2.5`. The value of a first token that nothing precedes is not known, so it has no bit.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the mask: `<score>_<name>_mask`.")
    value: Literal["nll", "perplexity", "entropy", "el2n", "max_log_p", "quantile", "top_p"] = Field(
        "perplexity",
        description="The value of a token: nats, their exponential, entropy of the prediction, EL2N norm, ...",
    )
    above: float | None = Field(None, description="Marks tokens with a higher value.")
    below: float | None = Field(None, description="Marks tokens with a lower value.")
    encoding: Encoding = Field(
        "bitmap", description="A bit a token, the first in the lowest bit of the first byte; or the lengths of runs of "
        "unmarked and marked tokens in turn, unmarked first, as LEB128 numbers.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("above or below must be set, got neither")
        return self

    @property
    def reads(self) -> str:
        """Returns the name of the tokens' values that the mask needs."""
        return "nll" if self.value == "perplexity" else self.value

    def fields(self) -> list[pa.Field]:
        """Returns the columns: the mask, and the number of marked tokens."""
        return [pa.field(f"{self.name}{MASK}", pa.large_binary()), pa.field(f"{self.name}{MASKED}", pa.int64())]

    def marked(self, values: NDArray[Any]) -> Bools:
        """Returns bool[T], True for the tokens that are marked by their values, floats [T]."""
        with np.errstate(over="ignore"):
            exact = np.exp(values.astype(np.float64)) if self.value == "perplexity" else values
        made = np.zeros(len(values), np.bool_)
        if self.above is not None:
            made |= exact > self.above
        if self.below is not None:
            made |= exact < self.below
        return made

    def columns(
        self, values: Mapping[str, NDArray[Any]], starts: NDArray[np.int64], stops: NDArray[np.int64], null: Bools
    ) -> list[pa.Array]:
        """Returns the columns of documents; the arguments are those of `DocumentNumbers.columns`."""
        marked = self.marked(values[self.reads])
        each = [
            None if out else marked[start:stop]
            for start, stop, out in zip(starts.tolist(), stops.tolist(), null.tolist(), strict=True)
        ]
        masks = [None if one is None else encode_mask(one, self.encoding) for one in each]
        counts = [None if one is None else int(np.count_nonzero(one)) for one in each]
        return [pa.array(masks, pa.large_binary()), pa.array(counts, pa.int64())]


def encode_mask(mask: Bools, encoding: Encoding) -> bytes:
    """Returns a mask, bool[T], as bytes."""
    if encoding == "bitmap":
        return np.packbits(mask, bitorder="little").tobytes()
    changes = np.flatnonzero(np.diff(mask, prepend=False))
    return b"".join(map(_leb128, np.diff(changes, prepend=0, append=len(mask)).tolist())) if len(mask) else b""


def decode_mask(content: bytes, tokens: int, encoding: Encoding = "bitmap") -> Bools:
    """Returns the mask of a document as bool[tokens].

    Args:
        content: A value of the column `<score>_<name>_mask`.
        tokens: Scored tokens of the document, `<score>_scored_token_count`.
        encoding: That of the mask in the configuration.

    Raises:
        UserError: the bytes are not a mask of so many tokens, or there is no such encoding.
    """
    if encoding not in get_args(Encoding):
        raise UserError(f"mask: encoding must be {' or '.join(get_args(Encoding))}, got {encoding!r}")
    if encoding == "bitmap":
        if len(content) != -(-tokens // 8):
            raise UserError(f"mask: must have {-(-tokens // 8)} bytes for {tokens} tokens, got {len(content)}")
        return np.unpackbits(np.frombuffer(content, np.uint8), count=tokens, bitorder="little").astype(np.bool_)
    lengths = _numbers(content)
    if sum(lengths) != tokens:
        raise UserError(f"mask: must have runs of {tokens} tokens, got {sum(lengths)}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def _leb128(number: int) -> bytes:
    """An unsigned number in groups of seven bits, the lowest first; the highest bit of a byte says that more follow."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


def _numbers(content: bytes) -> list[int]:
    made, number, shift = list[int](), 0, 0
    for byte in content:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            made.append(number)
            number, shift = 0, 0
    if shift:
        raise UserError("mask: must end with a whole number, got bytes that are cut short")
    return made

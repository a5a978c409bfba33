"""Measures how much text a model compresses for its cost (Yuan et al. 2025, arXiv 2511.08066).

IC = (TS - NLL + b) / log2(F): TS is the size of the text in bits a token, NLL what the model needs for it, F the
floating-point operations of a token, and b an offset that was fitted so that models of one family agree.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.errors import UserError

OFFSET = -24.0  # bits; of the published mixed text, for other texts they found -18.7 and -27
SCHEMA = pa.schema(
    [("model", pa.string()), *((name, pa.float64()) for name in ("text_bits", "model_bits", "information_capacity"))]
)
NEEDED = ("model", "unit", "nll_sum", "byte_count", "token_count")


def information_capacity(text_bits: float, model_bits: float, flops: float, offset: float = OFFSET) -> float:
    """Returns the information capacity of a model.

    Args:
        text_bits: Mean size of a text, in bits a token.
        model_bits: The bits a token that the model needs.
        flops: Floating-point operations of a token: about twice the active parameters.
        offset: b, in bits.
    """
    if not flops > 1:
        raise UserError(f"information_capacity: flops must be above 1, got {flops:g}")
    return (text_bits - model_bits + offset) / float(np.log2(flops))


def information_capacities(matrix: pa.Table, flops: Mapping[str, float], offset: float = OFFSET) -> pa.Table:
    """Returns the information capacity of every model of a long matrix.

    As published, the size of the text is a mean over texts, here the units of the matrix, and the bits that the model
    needs are a mean over all tokens. Units without tokens or without a score are left out.

    Args:
        matrix: A row a model and unit, with model, unit, nll_sum (nats), byte_count and token_count (predicted tokens).
        flops: Floating-point operations of a token by model.
        offset: b, in bits.

    Returns:
        A row a model: model, text_bits, model_bits, information_capacity.

    Raises:
        UserError: a column or the operations of a model are missing, or a model has no scored unit.
    """
    if missing := [name for name in NEEDED if name not in matrix.column_names]:
        raise UserError(f"information_capacities: the matrix must have {', '.join(NEEDED)}, got none of {missing[0]!r}")
    rows = []
    for model in sorted({str(name) for name in matrix["model"].to_pylist()}):
        if model not in flops:
            raise UserError(f"information_capacities: flops must name every model, got none for {model!r}")
        of_model = matrix.filter(pc.equal(matrix["model"].cast(pa.string()), model))
        nats, sizes, tokens = (_numbers(of_model, name) for name in ("nll_sum", "byte_count", "token_count"))
        scored = np.isfinite(nats) & (tokens > 0)
        if not scored.any():
            raise UserError(f"information_capacities: {model!r} must have a unit with tokens and a score, got none")
        text_bits = float((8 * sizes[scored] / tokens[scored]).mean())
        model_bits = float(nats[scored].sum() / np.log(2) / tokens[scored].sum())
        rows.append((model, text_bits, model_bits, information_capacity(text_bits, model_bits, flops[model], offset)))
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    try:
        return np.asarray(table[name].cast(pa.float64()).fill_null(np.nan).to_numpy())
    except pa.ArrowException:
        raise UserError(f"information_capacities: column {name!r} must hold numbers, got others") from None

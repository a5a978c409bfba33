"""The signals scorer turns documents into the chosen columns, row for row."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from siftlm.scorers.signals import SignalsScorer, SignalsSettings
from siftlm_kernels.text_signals import SIGNALS
from siftlm_kernels.text_signals_reference import signals_of

TEXTS = ["One line.\nOne line.\n\nAnd another {line}", "", "Ein Wörtchen…", "a b a b a b"]


def documents(texts: list[str], kind: pa.DataType | None = None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, kind or pa.large_string())})


def test_columns_are_the_signals_of_each_text() -> None:
    """In the order of `SIGNALS`, with the declared types, never null."""
    scorer = SignalsScorer(SignalsSettings())
    scored = scorer.score(documents(TEXTS))
    assert scored.schema == pa.schema(scorer.fields())
    assert scored.schema.names == [signal.name for signal in SIGNALS]
    for row, text in zip(scored.to_pylist(), TEXTS, strict=True):
        assert row == pytest.approx(signals_of(text), rel=1e-6)


def test_a_slice_of_a_batch_gives_its_own_rows() -> None:
    """Offsets that do not begin at 0, no rows at all, and 32-bit strings."""
    scorer = SignalsScorer(SignalsSettings())
    whole = scorer.score(documents(TEXTS))
    assert scorer.score(documents(TEXTS).slice(1, 2)).equals(whole.slice(1, 2))
    assert scorer.score(documents(TEXTS).slice(2, 0)).num_rows == 0
    assert scorer.score(documents([])).num_rows == 0
    assert scorer.score(documents(TEXTS, pa.string())).equals(whole)


def test_groups_choose_columns() -> None:
    """Only the chosen ones, in their fixed order; a group named twice or unknown is an error."""
    scorer = SignalsScorer(SignalsSettings(groups=["fineweb", "c4"]))
    chosen = [signal.name for signal in SIGNALS if signal.group in ("c4", "fineweb")]
    assert scorer.score(documents(TEXTS)).schema.names == chosen
    assert scorer.digest() != SignalsScorer(SignalsSettings()).digest()
    with pytest.raises(ValidationError, match="groups must differ"):
        SignalsSettings(groups=["c4", "c4"])
    with pytest.raises(ValidationError):
        SignalsSettings(groups=["c5"])  # type: ignore[list-item]

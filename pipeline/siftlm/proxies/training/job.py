"""Says what a training depends on, and what is left of it when it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from siftlm.proxies.training.marks import MARKS as MARKS
from siftlm.proxies.training.mixer import OnlineMixer
from siftlm.proxies.training.saved import SavedWeights
from siftlm.proxies.training.schedule import learning_rate
from siftlm.proxies.training.settings import Training
from siftlm.proxies.training.tokenizer import DocumentTokenizer
from siftlm.proxies.training.tokens import TokenFile
from siftlm.store import digest

STEPS, SHARES = "steps.parquet", "shares.parquet"
MIXER = "mixer.json"  # the state of the mixer after the last step
Progress = Callable[[int, int], None]
"""Is called with the steps that are done, and those of the training."""

STEP_SCHEMA = pa.schema(
    [("step", pa.int64()), ("tokens", pa.int64()), ("nats_per_token", pa.float32()), ("learning_rate", pa.float64())]
)
"""A row for each step, from 1 on; tokens are those until then."""
MARK_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("tokens", pa.int64()),  # trained on until then
        ("averaged", pa.bool_()),  # whether the mean of the last weights was measured
        ("document", pa.int64()),  # its number in the held-out file
        ("group", pa.dictionary(pa.int32(), pa.string())),
        ("nll_sum", pa.float64()),
        ("byte_count", pa.int64()),
        ("token_count", pa.int64()),
    ]
)
"""A row for each mark and held-out document."""
SHARE_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),  # after which the shares hold
        ("group", pa.string()),
        ("share", pa.float64()),
        ("loss_weight", pa.float64()),
        ("windows", pa.int64()),  # drawn until then
    ]
)
"""A row for each group at the start, whenever a mixer changed something, and at the end."""


@dataclass(frozen=True)
class Job:
    """Holds all that a training depends on.

    `evaluate` is measured at the marks, and `mixer` may change shares. With `start` the model begins with the weights
    of another, not with random ones, and is trained at a constant learning rate, as one that goes on (Na et al. 2024,
    arXiv 2410.15661): the rate that a schedule begins with would undo what was learnt.
    """

    training: Training
    tokens: TokenFile
    tokenizer: DocumentTokenizer
    evaluate: TokenFile | None = None
    mixer: OnlineMixer | None = None
    start: SavedWeights | None = None

    def identity(self) -> str:
        """Returns a digest of all that the trained bytes depend on, for keys."""
        held_out = self.evaluate.digest if self.evaluate else None
        mixer = self.mixer.identity() if self.mixer else None
        start = [self.start.digest] if self.start else []
        return digest(self.training.identity(), self.tokens.digest, self.tokenizer.identity(), held_out, mixer, *start)

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a step, from 0 on."""
        peak = self.training.optimisation.learning_rate
        return peak if self.start else learning_rate(step, self.training.steps, peak)

    @property
    def marks(self) -> list[int]:
        """Returns the steps after which the held-out file is measured, the last always among them."""
        steps = self.training.steps
        return sorted({mark for mark in self.training.marks if mark <= steps} | {steps}) if self.evaluate else []


@dataclass(frozen=True)
class Trained:
    """Holds a trained model: its folder in transformers' format, and its figures.

    `facts` are `steps`, `tokens`, `parameters`, `nats_per_token` (mean of the last 20 steps), and by group
    `tokens_by_group` and `epochs_by_group`.
    """

    folder: str
    facts: dict[str, Any]

    def table(self, name: str) -> pa.Table:
        """Returns the table of a file of the folder: STEPS, MARKS or SHARES."""
        return pq.read_table(f"{self.folder}/{name}")

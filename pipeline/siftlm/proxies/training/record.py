"""Records the losses, measurements and shares of a training, and writes them as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from siftlm.proxies.training.job import MARK_SCHEMA, MARKS, SHARE_SCHEMA, SHARES, STEP_SCHEMA, STEPS, Job
from siftlm.proxies.training.marks import Evaluation
from siftlm.proxies.training.sampler import Floats, Sampler

LAST = 20  # steps whose mean loss is told


class TrainingRecord:
    """Collects what a training is told by; `losses` float32 [steps] lie on the device, so that no step waits."""

    def __init__(self, job: Job, device: torch.device) -> None:
        self._job = job
        self.losses = torch.zeros(job.training.steps, dtype=torch.float32, device=device)
        self.evaluations: list[Evaluation] = []
        self._turns: list[tuple[int, list[float], list[float], list[int]]] = []

    def turned(self, step: int, sampler: Sampler, loss_weights: Floats) -> None:
        """Notes the shares after a step; once a step."""
        self._turns = [turn for turn in self._turns if turn[0] != step]
        self._turns.append((step, sampler.shares.tolist(), loss_weights.tolist(), sampler.drawn.tolist()))

    def last_nats(self) -> float:
        """Returns the mean nats per token of the last steps."""
        return round(float(self.losses[-LAST:].double().mean()), 4)

    def tensors(self, step: int) -> dict[str, Tensor]:
        """Returns the part of the record that is arrays, for a checkpoint after `step` steps."""
        sums = {f"nll_sums.{n}": torch.as_tensor(made.nll_sums) for n, made in enumerate(self.evaluations)}
        return {"losses": self.losses[:step], **sums}

    def told(self) -> dict[str, Any]:
        """Returns the rest of the record, as JSON."""
        return {
            "evaluations": [(made.step, made.tokens, made.averaged) for made in self.evaluations],
            "turns": self._turns,
        }

    def restore(self, tensors: dict[str, Tensor], told: dict[str, Any]) -> None:
        """Takes back what `tensors` and `told` returned."""
        self.losses[: len(tensors["losses"])] = tensors["losses"].to(self.losses.device)
        for n, (step, tokens, averaged) in enumerate(told["evaluations"]):
            self.evaluations.append(Evaluation(step, tokens, averaged, tensors[f"nll_sums.{n}"].numpy()))
        self._turns = [tuple(turn) for turn in told["turns"]]

    def save(self, folder: Path) -> None:
        """Writes the tables of steps and shares, and that of marks where something was measured."""
        pq.write_table(self._steps(), folder / STEPS)
        pq.write_table(self._shares(), folder / SHARES)
        if self.evaluations:
            pq.write_table(pa.concat_tables(map(self._mark, self.evaluations)), folder / MARKS)

    def _steps(self) -> pa.Table:
        training, count = self._job.training, len(self.losses)
        steps = np.arange(1, count + 1)
        rates = [self._job.learning_rate(step) for step in range(count)]
        columns = [steps, steps * training.step_tokens, self.losses.cpu().numpy(), rates]
        return pa.table([pa.array(column) for column in columns], schema=STEP_SCHEMA)

    def _shares(self) -> pa.Table:
        groups = list(self._job.tokens.groups)
        tables = [
            pa.table([[step] * len(groups), groups, shares, weights, windows], schema=SHARE_SCHEMA)
            for step, shares, weights, windows in self._turns
        ]
        return pa.concat_tables(tables)

    def _mark(self, made: Evaluation) -> pa.Table:
        file = self._job.evaluate
        assert file is not None, "a held-out file was measured"
        count = len(made.nll_sums)
        groups = pa.DictionaryArray.from_arrays(file.document_groups.astype(np.int32), list(file.groups))
        repeated = [np.full(count, value) for value in (made.step, made.tokens, made.averaged)]
        columns = [*repeated, np.arange(count), groups, made.nll_sums, file.byte_counts, file.token_counts]
        return pa.table([pa.array(column) for column in columns], schema=MARK_SCHEMA)

"""Token ids to the nats of every predicted token: packed rows where the model allows it, padded batches elsewhere.

Shapes: T tokens of a row, P predicted tokens, B windows of a batch, L tokens of a window, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np
import torch

from siftlm.errors import UserError
from siftlm.scorers.lm_model import LanguageModel
from siftlm.scorers.lm_packing import Packing, Row, Window, aligned, build_row
from siftlm_kernels.linear_nll import linear_nll
from siftlm_kernels.linear_nll_reference import TokenStatistics, linear_token_statistics

log = logging.getLogger(__name__)

LOGITS = 1 << 27  # float32 values of a padded batch's logits: 512 MiB
Columns = list[np.ndarray]  # nll, or nll, entropy and el2n; float32 [P]


@dataclass(frozen=True)
class Batch:
    """Windows that go through the model together, and the pass that gives their columns in the same order."""

    members: list[int]
    columns: Callable[[], list[Columns]]


def single_threaded_workers(count: int) -> ThreadPoolExecutor:
    """Threads that run one batch each, every operation on one core.

    Batches in parallel beat operations in parallel (two of one thread against one of two: no waiting at the end of
    every operation), and products split over no threads have the same bits for any number of them.
    """
    return ThreadPoolExecutor(count, "forward", initializer=torch.set_num_threads, initargs=(1,))


@dataclass
class Forward:
    """Runs windows through one model. `packing` shrinks when memory runs out, and stays so."""

    place: str
    model: LanguageModel
    workers: ThreadPoolExecutor
    packing: Packing
    statistics: bool  # entropy and EL2N beside the nats
    fill: int
    longest: int  # tokens of a window or a stretch of filler at most

    def nats(self, stretches: Sequence[Window], documents: Sequence[np.ndarray]) -> list[Columns]:
        """The columns of the tokens that each window scores, in the order of `stretches`.

        Windows go through the model by length and, among equals, by their tokens: so the batches, and with them the
        last bits on devices whose kernels look at the position in a batch, do not depend on the order of `stretches`.
        """
        order = sorted(range(len(stretches)), key=lambda index: _key(stretches[index], documents))
        results: dict[int, Columns] = {}
        plan = self._packed if self.model.packed else self._padded
        while pending := [index for index in order if index not in results]:
            batches = plan(pending, stretches, documents)
            row_tokens = self.packing.row_tokens
            for batch, columns in zip(batches, self.workers.map(_attempt, batches), strict=True):
                results.update(zip(batch.members, columns or (), strict=columns is not None))
            if len(results) < len(order):
                self._halve(row_tokens, max(stretches[index].length for index in order if index not in results))
        return [results[index] for index in range(len(stretches))]

    def _halve(self, row_tokens: int, longest: int) -> None:
        """Rows of half of `row_tokens`, which were too many; UserError when the longest window does not fit."""
        half = row_tokens // 2
        if half < longest:
            raise UserError(
                f"{self.place}.context_tokens: must fit in the memory of {self.model.device}, got windows of "
                f"{longest} tokens; set a smaller one, or a smaller model"
            )
        torch.cuda.empty_cache()
        log.warning("%s: out of memory, batches of %d tokens from here", self.place, half)
        self.packing = replace(self.packing, row_tokens=half, max_documents=max(1, self.packing.max_documents // 2))

    def _packed(
        self, order: Sequence[int], stretches: Sequence[Window], documents: Sequence[np.ndarray]
    ) -> list[Batch]:
        packing = self.packing
        rows = packing.rows([stretches[index].length for index in order])
        return [
            Batch(members, partial(self._row, members, stretches, documents, packing))
            for members in ([order[position] for position in row] for row in rows)
        ]

    def _row(
        self,
        members: Sequence[int],
        stretches: Sequence[Window],
        documents: Sequence[np.ndarray],
        packing: Packing,
    ) -> list[Columns]:
        row = build_row([stretches[index] for index in members], documents, packing, self.fill)
        return _split(self._row_columns(row), [_scored(stretches[index]) for index in members])

    @torch.inference_mode()
    def _row_columns(self, row: Row) -> Columns:
        device = self.model.device
        on_cuda_half = device.type == "cuda" and self.model.dtype != "fp32"
        hidden_TD = self.model.body(
            torch.from_numpy(row.tokens)[None].to(device),
            position_ids=torch.from_numpy(row.positions)[None].to(device),
            cu_seq_lens_q=torch.from_numpy(row.offsets).to(device if on_cuda_half else "cpu"),
            max_length_q=self.longest,
            use_cache=False,
        ).last_hidden_state[0]
        hidden_PD = hidden_TD[torch.from_numpy(row.read).to(device)]
        targets = torch.from_numpy(row.targets).to(device)
        head, bias = self.model.classifier, self.model.classifier_bias
        if self.statistics:
            return _arrays(linear_token_statistics(hidden_PD, head, targets, bias=bias))
        return _arrays([linear_nll(hidden_PD, head, targets, bias=bias)])

    def _padded(
        self, order: Sequence[int], stretches: Sequence[Window], documents: Sequence[np.ndarray]
    ) -> list[Batch]:
        area = min(self.packing.row_tokens, LOGITS // self.model.vocabulary)
        batches = []
        for length, same in groupby(order, key=lambda index: padded_length(stretches[index].length)):
            waiting, rows = list(same), max(1, area // length)
            for start in range(0, len(waiting), rows):
                members = waiting[start : start + rows]
                stretch = [stretches[index] for index in members]
                batches.append(Batch(members, partial(self._batch, stretch, documents, (rows, length))))
        return batches

    @torch.inference_mode()
    def _batch(self, batch: Sequence[Window], documents: Sequence[np.ndarray], shape: tuple[int, int]) -> list[Columns]:
        """The columns of the windows of one batch, which is filled up to `shape` whatever it holds."""
        ids_BL = torch.full(shape, self.fill)
        mask_BL = torch.zeros(shape, dtype=torch.int64)
        mask_BL[:, 0] = 1
        for row, window in enumerate(batch):
            ids = documents[window.document][window.start : window.stop - 1]
            ids_BL[row, : len(ids)] = torch.from_numpy(ids)
            mask_BL[row, : len(ids)] = 1
        device = self.model.device
        logits_BLV = self.model.logits(ids_BL.to(device), mask_BL.to(device))
        return [self._of_logits(logits_BLV[row], window, documents) for row, window in enumerate(batch)]

    def _of_logits(self, logits_LV: torch.Tensor, window: Window, documents: Sequence[np.ndarray]) -> Columns:
        span = slice(window.first_new - 1 - window.start, window.length)
        new = documents[window.document][window.first_new : window.stop]
        targets = torch.from_numpy(new).to(logits_LV.device, torch.int64)
        log_p_PV = logits_LV[span].float().log_softmax(-1)
        return _arrays(token_statistics(log_p_PV, targets) if self.statistics else [target_nll(log_p_PV, targets)])


def padded_length(length: int) -> int:
    """The length to which a window is padded: its own, rounded up to an eighth of its octave.

    Windows of one padded length share batches of a fixed shape, so neighbours change nothing.
    """
    return aligned(length, max(8, 1 << max(0, length.bit_length() - 4)))


def target_nll(log_p_PV: torch.Tensor, target_P: torch.Tensor) -> torch.Tensor:
    """Nats of the targets."""
    return -log_p_PV.gather(1, target_P[:, None])[:, 0]


def token_statistics(log_p_PV: torch.Tensor, target_P: torch.Tensor) -> TokenStatistics:
    """Nats, entropy and EL2N of stored log-probabilities."""
    p = log_p_PV.exp()
    nll = target_nll(log_p_PV, target_P)
    el2n = (p.square().sum(-1) - 2 * (-nll).exp() + 1).clamp_min(0.0).sqrt()
    return TokenStatistics(nll, torch.special.entr(p).sum(-1), el2n)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocator gave up: CUDA has a class for it, the CPU's raises a RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def _attempt(batch: Batch) -> list[Columns] | None:
    """The columns of a batch, or None where memory ran out."""
    try:
        return batch.columns()
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return None


def _key(window: Window, documents: Sequence[np.ndarray]) -> tuple[int, bytes]:
    return -window.length, documents[window.document][window.start : window.stop].tobytes()


def _scored(window: Window) -> int:
    return window.stop - window.first_new


def _arrays(columns: Sequence[torch.Tensor]) -> Columns:
    return [column.cpu().numpy() for column in columns]


def _split(columns: Columns, counts: Sequence[int]) -> list[Columns]:
    ends = np.cumsum(counts)[:-1]
    return [list(parts) for parts in zip(*(np.split(column, ends) for column in columns), strict=True)]

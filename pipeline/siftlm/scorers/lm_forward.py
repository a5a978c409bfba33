"""Computes the nats of predicted tokens, with several documents in one row where the model allows it.

Else documents are padded.

Shapes: T tokens of a row, P predicted tokens, B windows of a batch, L tokens of a window, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from siftlm.errors import NoRoomError, UserError
from siftlm.scorers.lm_head import block_positions, filled
from siftlm.scorers.lm_model import LanguageModel
from siftlm.scorers.lm_packing import Packing, Row, Windows, aligned, build_row, predicted
from siftlm_kernels.linear_nll import linear_nll
from siftlm_kernels.linear_nll_reference import TokenRanks, TokenStatistics, linear_token_ranks, linear_token_statistics

log = logging.getLogger(__name__)

LOGITS = 1 << 27  # float32 values of a batch's logits where they exist at once: 512 MiB
Tokens = NDArray[np.int32]
Floats = NDArray[np.float32]
Planned = tuple[NDArray[np.int64], Callable[[Windows, Tokens, Sequence[Floats]], None]]
"""Which windows go together, and what fills in the columns of a pass at their tokens."""


@dataclass(frozen=True)
class Pass:
    """Holds windows that the model is computing, and the columns that their results go into."""

    stretches: Windows
    tokens: Tokens
    columns: Sequence[Floats]
    row_tokens: int
    batches: list[tuple[NDArray[np.int64], Future[bool]]]  # windows that go together, and whether memory had room

    def cancel(self) -> None:
        """Cancels the batches that have not begun."""
        for _, done in self.batches:
            done.cancel()


def single_threaded_workers(count: int) -> ThreadPoolExecutor:
    """Returns a pool of threads that each run one batch with single-threaded operations.

    Batches in parallel beat operations in parallel (two of one thread against one of two: no waiting at the end of
    every operation), and products split over no threads have the same bits for any number of them.
    """
    return ThreadPoolExecutor(count, "forward", initializer=torch.set_num_threads, initargs=(1,))


@dataclass
class Forward:
    """Runs windows of tokens through one model, with smaller batches once memory has run out.

    `packing` shrinks then, and stays so.
    """

    place: str
    model: LanguageModel
    workers: ThreadPoolExecutor
    packing: Packing
    statistics: bool  # entropy and EL2N beside the nats
    ranks: bool  # and where tokens stand among all tokens
    fill: int
    context: int  # tokens of a window at most
    longest: int  # tokens of a window or a stretch of filler at most

    @property
    def columns(self) -> int:
        """Returns the number of values for each token: nll alone, with two statistics, or with three ranks too."""
        return 6 if self.ranks else 3 if self.statistics else 1

    def begin(self, stretches: Windows, tokens: Tokens, columns: Sequence[Floats]) -> Pass:
        """Starts computing windows, queued after those that the model has already, and returns without waiting.

        Windows go through the model by length and, among equals, by their tokens: so the batches, and with them the
        last bits on devices whose kernels look at the position in a batch, do not depend on the order of `stretches`.

        Args:
            columns: float32 `[tokens]` each; `finish` fills them in at the tokens that the windows score.
        """
        return self._begun(_order(stretches, tokens), stretches, tokens, columns)

    def finish(self, going: Pass) -> None:
        """Waits for the windows of `begin`, and repeats those that ran out of memory in smaller batches."""
        while going.batches:
            failed = [members for members, done in going.batches if not done.result()]
            pending = np.concatenate([np.zeros(0, np.int64), *failed])
            if failed:
                self._halve(going.row_tokens, int(going.stretches[pending].length.max()))
            going = self._begun(pending, going.stretches, going.tokens, going.columns)

    def _begun(self, order: NDArray[np.int64], stretches: Windows, tokens: Tokens, columns: Sequence[Floats]) -> Pass:
        packing = self.packing
        plan = self._packed if self.model.packed else self._padded
        batches = [
            (members, self.workers.submit(_attempt, self.place, work, stretches[members], tokens, columns))
            for members, work in plan(order, stretches[order].length.tolist(), packing)
        ]
        return Pass(stretches, tokens, columns, packing.row_tokens, batches)

    def _halve(self, row_tokens: int, longest: int) -> None:
        """Rows of half of `row_tokens`, which were too many; UserError when the longest window does not fit."""
        half = row_tokens // 2
        if half < longest:
            raise NoRoomError(
                f"{self.place}.context_tokens: must fit in the memory of {self.model.device}, got windows of "
                f"{longest} tokens; set a smaller one, or a smaller model"
            )
        torch.cuda.empty_cache()
        if half < self.packing.row_tokens:  # else another pass was here before
            log.warning("%s: out of memory, batches of %d tokens from here", self.place, half)
            most = max(1, self.packing.max_documents // 2)
            self.packing = replace(self.packing, row_tokens=half, max_documents=most)

    def _packed(self, order: NDArray[np.int64], lengths: list[int], packing: Packing) -> list[Planned]:
        return [(order[row], partial(self._row, packing)) for row in packing.rows(lengths)]

    def _row(self, packing: Packing, chosen: Windows, tokens: Tokens, columns: Sequence[Floats]) -> None:
        row = build_row(chosen, tokens, packing, self.fill)
        for column, values in zip(columns, self._row_columns(row, tokens[row.places].astype(np.int64)), strict=True):
            column[row.places] = values

    @torch.inference_mode()
    def _row_columns(self, row: Row, targets: NDArray[np.int64]) -> list[Floats]:
        hidden_TD = self.model.states(row.tokens, row.positions, row.offsets, self.longest)
        hidden_PD = hidden_TD[self.model.moved(row.read)]
        target_P = self.model.moved(targets)
        head, bias = self.model.classifier, self.model.classifier_bias
        nll_P = linear_nll(hidden_PD, head, target_P, bias=bias)
        if not self.statistics:
            return _arrays([nll_P])
        found = linear_token_statistics(hidden_PD, head, target_P, bias=bias, nll_R=nll_P)
        ranks = linear_token_ranks(hidden_PD, head, target_P, found.nll, bias=bias) if self.ranks else ()
        return _arrays([*found, *ranks])

    def _padded(self, order: NDArray[np.int64], lengths: list[int], packing: Packing) -> list[Planned]:
        area = packing.row_tokens if self.model.parts else min(packing.row_tokens, LOGITS // self.model.vocabulary)
        batches: list[Planned] = []
        padded = [min(padded_length(length), self.context) for length in lengths]  # there may be no more positions
        for length, same in groupby(range(len(order)), key=padded.__getitem__):
            waiting, rows = order[list(same)], max(1, area // length)
            for start in range(0, len(waiting), rows):
                batches.append((waiting[start : start + rows], partial(self._batch, (rows, length))))
        return batches

    @torch.inference_mode()
    def _batch(self, shape: tuple[int, int], chosen: Windows, tokens: Tokens, columns: Sequence[Floats]) -> None:
        """One batch through the model, which is filled up to `shape` whatever it holds."""
        ids_BL, lengths_B = torch.full(shape, self.fill), torch.ones(shape[0], dtype=torch.int64)
        for row, (start, stop) in enumerate(zip(chosen.start.tolist(), chosen.stop.tolist(), strict=True)):
            ids_BL[row, : stop - start - 1] = torch.from_numpy(tokens[start : stop - 1])
            lengths_B[row] = stop - start - 1
        device, parts = self.model.device, self.model.parts
        ids_BL = ids_BL.to(device)
        values_BLX = parts.states(ids_BL) if parts else self.model.logits(ids_BL, lengths_B)
        self._fill_in(columns, chosen, values_BLX, tokens)

    def _fill_in(self, columns: Sequence[Floats], chosen: Windows, values_BLX: torch.Tensor, tokens: Tokens) -> None:
        """The columns from hidden states, block by block, or from logits where the head is not to be had alone."""
        parts, positions = self.model.parts, block_positions(self.model.vocabulary)
        places, rows = predicted(chosen), np.repeat(np.arange(len(chosen)), chosen.stop - chosen.first_new)
        at = places - chosen.start[rows] - 1
        for start in range(0, len(places), positions):
            block = slice(start, start + positions)
            values_CX = values_BLX[torch.from_numpy(rows[block]), torch.from_numpy(at[block])]
            logits_CV = parts.logits(filled(values_CX, positions))[: len(values_CX)] if parts else values_CX
            log_p_CV = logits_CV.float().log_softmax(-1)
            target_C = torch.from_numpy(tokens[places[block]].astype(np.int64)).to(log_p_CV.device)
            values_C = token_statistics(log_p_CV, target_C) if self.statistics else [target_nll(log_p_CV, target_C)]
            ranks_C = token_ranks(log_p_CV, target_C) if self.ranks else ()
            for column, values in zip(columns, _arrays([*values_C, *ranks_C]), strict=True):
                column[places[block]] = values


def padded_length(length: int) -> int:
    """Returns the length to which a window is padded, which windows of similar length share.

    It is the window's own, rounded up to a multiple of an eighth of its highest power of two (at least of 8).
    Windows of one padded length share batches of a fixed shape, so neighbours change nothing.
    """
    return aligned(length, max(8, 1 << max(0, length.bit_length() - 4)))


def target_nll(log_p_PV: torch.Tensor, target_P: torch.Tensor) -> torch.Tensor:
    """Returns the negative log-likelihood of each target in nats, from log-probabilities."""
    return -log_p_PV.gather(1, target_P[:, None])[:, 0]


def token_statistics(log_p_PV: torch.Tensor, target_P: torch.Tensor) -> TokenStatistics:
    """Returns the nats, entropy and EL2N norm of each target from stored log-probabilities."""
    p = log_p_PV.exp()
    nll = target_nll(log_p_PV, target_P)
    el2n = (p.square().sum(-1) - 2 * (-nll).exp() + 1).clamp_min(0.0).sqrt()
    return TokenStatistics(nll, torch.special.entr(p).sum(-1), el2n)


def token_ranks(log_p_PV: torch.Tensor, target_P: torch.Tensor) -> TokenRanks:
    """Returns where each target stands among all tokens, from stored log-probabilities."""
    own_P1 = log_p_PV.gather(1, target_P[:, None])
    mass_P = (log_p_PV.exp() * (log_p_PV >= own_P1)).sum(-1).clamp_max(1.0)
    return TokenRanks(log_p_PV.max(-1).values, (log_p_PV <= own_P1).float().mean(-1), mass_P)


def _attempt(place: str, work: Callable[..., None], *arguments: object) -> bool:
    """Whether a batch is done, and not out of memory."""
    try:
        work(*arguments)
    except IndexError as error:
        raise UserError(
            f"{place}.context_tokens: must be positions that the model has, got too few of them; {error}"
        ) from error
    except RuntimeError as error:
        if out_of_memory(error):
            return False
        raise
    return True


def out_of_memory(error: RuntimeError) -> bool:
    """Tells whether an error of torch is about memory, of CUDA or of a CPU's allocator."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _order(stretches: Windows, tokens: Tokens) -> NDArray[np.int64]:
    """Indices of the windows by length, the longest first, then by a hash of their tokens."""
    spans = zip(stretches.start.tolist(), stretches.stop.tolist(), strict=True)
    hashes = np.array([xxhash.xxh3_64_intdigest(tokens[start:stop].data) for start, stop in spans], np.uint64)
    return np.lexsort((hashes, -stretches.length))


def _arrays(columns: Sequence[torch.Tensor]) -> list[Floats]:
    return [column.cpu().numpy() for column in columns]

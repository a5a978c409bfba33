"""Continues the beginnings of texts greedily, by a causal language model of transformers.

On a CPU every text goes through the model alone, so that the most probable token does not depend on its
neighbours; single-threaded passes in parallel make up for it. On CUDA texts share a batch: all prompts have the same
length.

Shapes: N texts, B texts of a batch, M tokens of a prompt, K tokens of a continuation.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from numpy.typing import NDArray

from siftlm.errors import UserError, reason_of
from siftlm.scorers.batches import Batches
from siftlm.scorers.devices import pick_device
from siftlm.scorers.lm_causal import FORWARD_ERRORS, has_parted_head, usable_positions
from siftlm.scorers.lm_files import ModelFiles
from siftlm.scorers.lm_forward import single_threaded_workers
from siftlm.scorers.lm_model import DTYPES, causal_model, check_vocabulary, half_precision
from siftlm.scorers.lm_tokens import load_tokenizer
from siftlm.scorers.memorization_options import MemorizationOptions

CHARACTERS = 16  # of a text for each token, at first: more are looked at where they are too few
CUDA_WORKERS = 2


@dataclass(frozen=True)
class Prompts:
    """Holds the beginnings of N texts, of which only those that are long enough have tokens.

    Attributes:
        ids: int64[texts, M + K], a row for every text that is long enough, in their order.
        enough: bool[N], which texts are.
    """

    ids: NDArray[np.int64]
    enough: NDArray[np.bool_]


@dataclass
class Continuing(Batches):
    """Holds the shares of N texts, float32 [N], that the model is computing."""

    prompts: Prompts
    schema: pa.Schema
    shares: NDArray[np.float32]

    def finish(self) -> pa.RecordBatch:
        """Returns the columns, one row for each text, in order; cancels the remaining work on an error."""
        with self.finished():
            enough = self.prompts.enough
            values = np.zeros(len(enough), np.float32)
            values[enough] = self.shares
        return pa.RecordBatch.from_arrays([pa.array(values, mask=~enough), pa.array(~enough)], schema=self.schema)


class GreedyModel:
    """Computes how much of the continuation of texts a model finds by itself."""

    def __init__(self, settings: MemorizationOptions, files: ModelFiles) -> None:
        self.settings, self.files, self.place = settings, files, settings.place
        self.device = pick_device(f"{self.place}.device", settings.device)
        cores = settings.threads or len(os.sched_getaffinity(0))
        self.workers = single_threaded_workers(cores if self.device.type == "cpu" else CUDA_WORKERS)
        place = f"{self.place}.model"
        self.tokenizer = load_tokenizer(place, files, settings.bos_mode, False, "auto", settings.trust_remote_code)
        self.model = causal_model(place, files, settings.trust_remote_code)
        check_vocabulary(place, self.model, self.tokenizer.size)
        positions = usable_positions(self.model)
        if positions is not None and self.read > positions:
            raise UserError(
                f"{self.place}.tokens: must leave room in the model's {positions} positions, got {self.read} with "
                "prompt_tokens and the token before the text"
            )
        has_parted_head(place, files.name, self.model, positions)  # which refuses models that are not causal
        self.dtype = "fp32" if self.device.type == "cpu" else half_precision(self.model, self.device, use_cache=False)
        self.model = self.model.to(device=self.device, dtype=DTYPES[self.dtype])

    @cached_property
    def _cache(self) -> str:
        """The name that the model's forward has for its keys and values of earlier tokens, which changes in 5.40."""
        return "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"

    @property
    def read(self) -> int:
        """Returns the tokens that the model reads of a text, the one before it included."""
        return (self.tokenizer.prefix is not None) + self.settings.prompt_tokens + self.settings.tokens

    def tokenise(self, texts: pa.Array) -> Prompts:
        """Returns the first tokens of every text that has enough of them.

        The tokenizer sees a beginning that has at least twice as many tokens, or the whole text.
        """
        strings = [text or "" for text in texts.to_pylist()]
        wanted = self.settings.prompt_tokens + self.settings.tokens
        rows: dict[int, NDArray[np.int32]] = {}
        waiting, characters = list(range(len(strings))), CHARACTERS * wanted
        while waiting:
            encoded = self.tokenizer.encode([strings[number][:characters] for number in waiting]).texts()
            again = []
            for number, ids in zip(waiting, encoded, strict=True):
                if len(strings[number]) > characters and len(ids) < 2 * wanted:
                    again.append(number)
                elif len(ids) >= wanted:
                    rows[number] = ids[:wanted]
            waiting, characters = again, 4 * characters
        enough = np.array([number in rows for number in range(len(strings))], np.bool_)
        chosen = [rows[number] for number in sorted(rows)]
        return Prompts(np.array(chosen, np.int64).reshape(-1, wanted), enough)

    def begin(self, prompts: Prompts, schema: pa.Schema) -> Continuing:
        """Starts the model on prompts, queued after those that it has already, and returns without waiting."""
        size = 1 if self.device.type == "cpu" else self.settings.batch_texts
        going = Continuing(prompts, schema, np.zeros(len(prompts.ids), np.float32))
        for start in range(0, len(prompts.ids), size):
            rows = slice(start, start + size)
            going.batches.append(self.workers.submit(self._fill_in, prompts.ids[rows], going.shares[rows]))
        return going

    def metadata(self) -> dict[str, str]:
        """Returns strings that describe the model and its settings, for the metadata of a file of values."""
        return {
            "model": self.settings.model,
            "model_digest": self.files.digest(),
            "revision": self.files.revision or self.settings.revision or "",
            "model_type": str(self.model.config.model_type),
            "prefix_token": str(self.tokenizer.prefix),
            "dtype": self.dtype,
            "device": self.device.type,
            "tokenizer_class": self.tokenizer.class_name,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        }

    def _fill_in(self, ids_BX: NDArray[np.int64], shares_B: NDArray[np.float32]) -> None:
        """Fills in the shares of some texts from their first M + K tokens."""
        prompt, truth_BK = ids_BX[:, : self.settings.prompt_tokens], ids_BX[:, self.settings.prompt_tokens :]
        try:
            shares_B[:] = share_of_positions(self._continued(prompt, truth_BK.shape[1]), truth_BK)
        except FORWARD_ERRORS as error:
            raise UserError(
                f"{self.place}.model: must continue a text, got {self.files.name!r}; {reason_of(error)}"
            ) from error

    @torch.inference_mode()
    def _continued(self, prompt_BM: NDArray[np.int64], tokens: int) -> NDArray[np.int64]:
        """The greedy continuation [B, tokens] of prompts, with a cache of keys and values where the model has one."""
        prefix = [self.tokenizer.prefix] if self.tokenizer.prefix is not None else []
        before = np.full((len(prompt_BM), len(prefix)), prefix or 0, np.int64)
        ids_BL = torch.from_numpy(np.concatenate([before, prompt_BM], axis=1)).to(self.device)
        made, cache, given_BL = list[torch.Tensor](), None, ids_BL
        for _ in range(tokens):
            said: Any = self.model(given_BL, use_cache=True, **{self._cache: cache})
            next_B1 = said.logits[:, -1].argmax(-1, keepdim=True)
            made.append(next_B1)
            cache = getattr(said, self._cache, None)
            ids_BL = torch.cat([ids_BL, next_B1], 1)
            given_BL = ids_BL if cache is None else next_B1
        continued: NDArray[np.int64] = torch.cat(made, 1).cpu().numpy()
        return continued


def share_of_positions(continued_BK: NDArray[Any] | Sequence[Any], truth_BK: NDArray[Any]) -> NDArray[np.float32]:
    """Returns the share of the positions of each text at which its continuation has the text's own token, [B]."""
    return np.asarray((np.asarray(continued_BK) == truth_BK).mean(axis=1), np.float32)

"""Takes steps of training: losses and gradients of windows, shared among threads, and one update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siftlm.proxies.training import head, model
from siftlm.proxies.training.device import threads
from siftlm.proxies.training.evaluation import PieceBatch, add_nats, batches
from siftlm.proxies.training.sampler import Floats
from siftlm.proxies.training.settings import Training
from siftlm.proxies.training.tokens import Ints, TokenFile
from siftlm.proxies.training.weights import AdamW, FlatWeights

LANE_TOKENS = 512  # of the windows that one thread of a CPU has at a time
States = Callable[..., Tensor]
"""Computes hidden states as `model.hidden_states` does."""


class Learner:
    """Holds a model in training on one device; every operation of a CPU runs in one thread of `pool`."""

    def __init__(
        self, training: Training, vocabulary: int, separator: int, device: torch.device, pool: ThreadPoolExecutor
    ) -> None:
        self.shape, self._settings = training.shape, training.optimisation
        self.weights = FlatWeights(training.shape, vocabulary, training.seeds.weights, device)
        self.optimizer = AdamW(self.weights)
        self._separator, self.device, self._pool = separator, device, pool
        self._threads = threads(self._settings) if device.type == "cpu" else 1
        states: States = model.hidden_states
        # windows have one form and are worth a program of their own; pieces that are measured have many
        self._trained_states = torch.compile(states, dynamic=False) if self._settings.compiled else states

    def step(self, windows: Ints, factors: Floats, rate: float) -> Tensor:
        """Trains on windows [B, T + 1], and returns the nats of their tokens before the update, float32 [B, T].

        The loss is the sum over windows of factor * nats, with factors [B].
        """
        nats = self._gradients(windows, factors)
        self.optimizer.update(rate)
        return nats

    def gradient(self, windows: Ints) -> Tensor:
        """Returns the gradient of the mean nats over windows [B, T + 1], flat."""
        tokens = windows.shape[0] * (windows.shape[1] - 1)
        self._gradients(windows, np.full(len(windows), 1.0 / tokens))
        return self.weights.gradient

    def _gradients(self, windows: Ints, factors: Floats) -> Tensor:
        """The nats of windows, whose gradients are added up in the order of their lanes, for any number of threads."""
        waiting, nats = iter(self._parts(*windows.shape)), []
        self.weights.gradient.zero_()
        while some := list(islice(waiting, self._threads)):
            for made, gradients in self._each(lambda part: self._lane(windows[part], factors[part]), some):
                self.weights.add(gradients)
                nats.append(made)
        return torch.cat(nats)

    def _parts(self, windows: int, tokens: int) -> list[slice]:
        """The windows of each lane."""
        step = max(1, LANE_TOKENS // (tokens - 1)) if self.device.type == "cpu" else windows
        return [slice(start, start + step) for start in range(0, windows, step)]

    def _each(self, work: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
        """The results for all parts, in threads where there are several."""
        return [work(part) for part in parts] if self._threads == 1 else list(self._pool.map(work, parts))

    def _lane(self, windows: Ints, factors: Floats) -> tuple[Tensor, Sequence[Tensor]]:
        tokens = torch.from_numpy(windows).to(self.device)
        factor = torch.from_numpy(factors.astype(np.float32)).to(self.device)
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:]
        hidden = self._computed(self._trained_states, inputs, self._documents(inputs))
        factor = factor[:, None].expand(targets.shape).flatten()
        total, nats = head.weighed_nats(hidden, self._head(), targets.flatten(), factor)
        return nats.view(targets.shape), torch.autograd.grad(total, list(self.weights.by_name.values()))

    def _head(self) -> Tensor:
        return model.embedding(self.shape, self.weights.by_name)

    def _documents(self, inputs: Tensor) -> Tensor | None:
        """The number of each token's document within its window, where documents do not see each other."""
        return (inputs == self._separator).cumsum(1) if self._settings.document_mask else None

    def _computed(self, compute: States, inputs: Tensor, documents: Tensor | None) -> Tensor:
        """The hidden states [B * T, D], in the numbers that the head is computed in."""
        with self._precision():
            states = compute(self.shape, self.weights.by_name, inputs, documents)
        states = states.view(-1, self.shape.width)
        return states.bfloat16() if self._settings.precision == "bfloat16" else states

    def _precision(self) -> AbstractContextManager[Any]:
        if self._settings.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @torch.no_grad()
    def token_nats(self, inputs: Tensor, targets: Tensor, documents: Tensor | None = None) -> Tensor:
        """Returns the nats of targets [B, T], float32; nothing is trained."""
        states = self._computed(model.hidden_states, inputs.contiguous().to(self.device), documents)
        narrow = self._head().to(states.dtype)
        return head.token_nats(states, narrow, targets.flatten().to(self.device)).view(targets.shape)

    def window_nats(self, windows: Ints) -> Tensor:
        """Returns the nats of the tokens of windows [B, T + 1], float32 [B, T]; nothing is trained."""
        waiting, nats = iter(self._parts(*windows.shape)), list[Tensor]()
        while some := list(islice(waiting, self._threads)):
            nats += self._each(lambda part: self._seen(windows[part]), some)
        return torch.cat(nats)

    def _seen(self, windows: Ints) -> Tensor:
        tokens = torch.from_numpy(windows)
        documents = self._documents(tokens[:, :-1].to(self.device))
        return self.token_nats(tokens[:, :-1], tokens[:, 1:], documents)

    def document_nats(self, file: TokenFile) -> Floats:
        """Returns the sum of nats of every document of a file, float64 [documents]; 0 for one without tokens."""
        sums = np.zeros(len(file.byte_counts), np.float64)
        waiting = batches(file, self.shape.context_tokens, self.device.type)
        while some := list(islice(waiting, self._threads)):
            for batch, nats in zip(some, self._each(self._measured, some), strict=True):
                add_nats(sums, batch, nats)
        return sums

    def _measured(self, batch: PieceBatch) -> Tensor:
        return self.token_nats(batch.inputs, batch.targets)

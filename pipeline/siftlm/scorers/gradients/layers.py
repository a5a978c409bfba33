"""Finds the parameters whose gradients are taken, and catches what their modules read and what comes back to them.

Shapes: B documents, L tokens, D width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from threading import local
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.scorers.gradients.products import Dense, FactoredGradients, OneHot, Outer

OUTPUT = "output"


class UnknownModuleError(Exception):
    """Says that a module holds parameters whose gradients are not known from its input and output."""


@dataclass(frozen=True)
class Layers:
    """Holds the chosen parameters of a model by name, and the modules that use each of them.

    Attributes:
        parameters: Name -> parameter.
        uses: Module -> its own name for a parameter -> the parameter's name.
    """

    parameters: Mapping[str, torch.Tensor]
    uses: Mapping[torch.nn.Module, Mapping[str, str]]


def find_layers(place: str, model: Any, wanted: str) -> Layers:
    """Returns the parameters that `layers = wanted` names.

    Raises:
        UserError: at `place`, where there are none, or the model's head is no linear layer for `output`.
    """
    if wanted == OUTPUT:
        return _output(place, model)
    pattern = {"all": "*"}.get(wanted, wanted)
    if wanted in ("first_block", "last_block"):
        pattern = f"{_blocks(place, model, wanted)}.*"
    names = {parameter: name for name, parameter in model.named_parameters()}
    chosen = {parameter for parameter, name in names.items() if fnmatchcase(name, pattern)}
    if not chosen:
        there = name_some(list(names.values()), 6)
        raise UserError(f"{place}: must name parameters of the model, got {wanted!r}; there are {there}")
    uses: dict[torch.nn.Module, dict[str, str]] = defaultdict(dict)
    for module in model.modules():
        for own, parameter in module.named_parameters(recurse=False):
            if parameter in chosen:
                uses[module][own] = names[parameter]
    return Layers({names[parameter]: parameter for parameter in names if parameter in chosen}, uses)


def _output(place: str, model: Any) -> Layers:
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        raise UserError(
            f"{place}: must be layers that the model has, got 'output' for a {model.config.model_type} whose head is "
            f"{'no layer of its own' if head is None else type(head).__name__}"
        )
    return Layers({OUTPUT: head.weight}, {head: {"weight": OUTPUT}})


def _blocks(place: str, model: Any, wanted: str) -> str:
    """The name of the first or the last block: of the longest list of modules."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)]
    name, blocks = max(lists, key=lambda pair: len(pair[1]), default=("", ()))
    if not len(blocks):
        raise UserError(f"{place}: must be layers that the model has, got {wanted!r} for a model without blocks")
    return f"{name}.{0 if wanted == 'first_block' else len(blocks) - 1}"


@dataclass
class _Call:
    """A call of a module: what it read, and what it gave."""

    module: torch.nn.Module
    read: torch.Tensor
    gave: torch.Tensor


@dataclass
class Capture:
    """Catches calls of the modules that use the chosen parameters, for each thread its own.

    Attributes:
        slopes: For a module that scales its input by a vector, two copies of it whose difference is what is scaled.
    """

    layers: Layers
    slopes: dict[torch.nn.Module, tuple[torch.nn.Module, torch.nn.Module]] = field(default_factory=dict)
    calls: local = field(default_factory=local)

    @classmethod
    def of(cls, layers: Layers) -> Capture:
        """Returns a capture whose hooks are in the model from now on.

        Raises:
            UnknownModuleError: for a module of no known kind.
        """
        slopes = {module: _slopes(module) for module in layers.uses if not _is_known(module)}
        made = cls(layers, slopes)
        for module in layers.uses:
            module.register_forward_hook(made._note)
        return made

    def _note(self, module: torch.nn.Module, read: tuple[Any, ...], gave: Any) -> torch.Tensor | None:
        calls: list[_Call] | None = getattr(self.calls, "now", None)
        if calls is None:
            return None
        if not gave.requires_grad:  # nothing before it is asked for, so the graph begins here
            gave = gave.detach().requires_grad_()
        calls.append(_Call(module, read[0].detach(), gave))
        return gave  # type: ignore[no-any-return]

    @contextmanager
    def calling(self) -> Iterator[list[_Call]]:
        """Yields the list that calls of this thread are noted in."""
        self.calls.now = list[_Call]()
        try:
            yield self.calls.now
        finally:
            self.calls.now = None

    def gradients(self, calls: Sequence[_Call], logits_BLV: torch.Tensor, slope_BLV: torch.Tensor) -> FactoredGradients:
        """Returns the gradients of all documents of a batch, given the gradient of their losses at the logits.

        Raises:
            UnknownModuleError: for what does not have a row for each document.
        """
        back = torch.autograd.grad(logits_BLV, [call.gave for call in calls], slope_BLV, allow_unused=True)
        shape = (logits_BLV.shape[0], logits_BLV.shape[1])
        matrices: dict[str, list[Outer]] = defaultdict(list)
        vectors: dict[str, torch.Tensor] = {}
        for call, slope in zip(calls, back, strict=True):
            if slope is not None:
                read, slope_BLD = (_by_document(call.module, each, shape) for each in (call.read, slope))
                self._add(call.module, read, slope_BLD.float(), matrices, vectors)
        return FactoredGradients(matrices, vectors)

    def _add(
        self,
        module: torch.nn.Module,
        read: torch.Tensor,
        slope_BLD: torch.Tensor,
        matrices: dict[str, list[Outer]],
        vectors: dict[str, torch.Tensor],
    ) -> None:
        for own, name in self.layers.uses[module].items():
            if own == "bias":
                made = _over_tokens(slope_BLD)
            elif module in self.slopes:
                made = _over_tokens(slope_BLD * self._scaled(module, read))
            else:
                matrices[name].append(_outer(module, read, slope_BLD))
                continue
            vectors[name] = vectors[name] + made if name in vectors else made

    @torch.no_grad()
    def _scaled(self, module: torch.nn.Module, read: torch.Tensor) -> torch.Tensor:
        one, zero = self.slopes[module]
        scaled: torch.Tensor = one(read) - zero(read)
        return scaled.float()


def _over_tokens(values: torch.Tensor) -> torch.Tensor:
    """The sum over tokens, and over the heads where a norm is shared by them, [B, D]."""
    return values.sum(tuple(range(1, values.dim() - 1)))


def _by_document(module: torch.nn.Module, values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """What a module read or got back, a row a document, of which some families make one long row."""
    if tuple(values.shape[:2]) == shape:
        return values
    if len(values) == shape[0] * shape[1]:
        return values.view(*shape, *values.shape[1:])
    raise UnknownModuleError(f"{type(module).__name__} does not keep documents apart")


def _outer(module: torch.nn.Module, read: torch.Tensor, slope_BLD: torch.Tensor) -> Outer:
    """The gradient of the weight of a layer, in the shape that the layer has it in."""
    back = Dense(slope_BLD)
    if isinstance(module, torch.nn.Embedding):
        if module.padding_idx is not None:  # which learns nothing
            back = Dense(slope_BLD.masked_fill((read == module.padding_idx)[..., None], 0.0))
        return Outer(OneHot(read, module.num_embeddings), back)
    return Outer(back, Dense(read.float())) if isinstance(module, torch.nn.Linear) else Outer(Dense(read.float()), back)


def _is_known(module: torch.nn.Module) -> bool:
    return type(module) in (torch.nn.Linear, torch.nn.Embedding, Conv1D)


def _slopes(module: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Copies of a norm with weights of 1 and of 0, whose difference is what the weight multiplies."""
    shapes = {name: parameter.dim() for name, parameter in module.named_parameters(recurse=False)}
    if not shapes.keys() <= {"weight", "bias"} or set(shapes.values()) != {1} or list(module.children()):
        raise UnknownModuleError(f"{type(module).__name__} holds {', '.join(shapes)}")
    one, zero = deepcopy(module), deepcopy(module)
    for copy, value in ((one, 1.0), (zero, 0.0)):
        copy.weight.data.fill_(value)  # type: ignore[operator]
        if "bias" in shapes:
            copy.bias.data.fill_(0.0)  # type: ignore[operator]
    return one, zero

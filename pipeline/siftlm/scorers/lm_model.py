"""Loads a causal language model, and checks it for faults that would give wrong scores."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pickle import UnpicklingError
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from siftlm.errors import UserError, reason_of
from siftlm.scorers.lm_attention import fuse_gelu, use_packed_attention
from siftlm.scorers.lm_blocks import use_blocked_attention
from siftlm.scorers.lm_causal import has_parted_head, usable_positions
from siftlm.scorers.lm_files import ModelFiles
from siftlm.scorers.lm_head import PartedHead
from siftlm_kernels.packed_attention import query_blocks

log = logging.getLogger(__name__)

DtypeName = Literal["auto", "fp32", "fp16", "bf16"]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PACKED_FAMILIES = frozenset({"gpt2", "gpt_neox", "llama"})  # checked against one document at a time
POSITION_ROPE = frozenset({"default", "linear", "llama3", "yarn"})  # others look at the longest sequence of a batch
LOAD_ERRORS = (
    OSError, ValueError, KeyError, IndexError, RuntimeError, TypeError, AttributeError, ImportError, EOFError,
    SafetensorError, UnpicklingError,
)  # fmt: skip
"""What transformers raises on files that are missing, cut short, of another architecture or of no format at all."""


@dataclass
class LanguageModel:
    """Runs a causal language model on a device.

    `body` maps tokens to hidden states where documents can be packed, else it is None.
    """

    model: Any
    body: Any
    device: torch.device
    dtype: str
    context: int | None
    model_type: str
    parts: PartedHead | None = None  # of a model that is not packed, where its head can be called alone

    def moved(self, array: NDArray[Any]) -> torch.Tensor:
        """Returns the array as a tensor on the model's device, without waiting for the copy."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def states(
        self, tokens: NDArray[np.int64], positions: NDArray[np.int64], offsets: NDArray[np.int32], longest: int
    ) -> torch.Tensor:
        """Returns the hidden states `[T, D]` of a row of packed documents of at most `longest` tokens each."""
        kernels = self.device.type == "cuda" and self.dtype != "fp32"
        extra: dict[str, Any] = {}
        if kernels:
            extra["attention_blocks"] = self.moved(query_blocks(offsets))
            torch._dynamo.mark_dynamic(extra["attention_blocks"], 0)
        hidden_1TD: torch.Tensor = self.body(
            self.moved(tokens)[None],
            position_ids=self.moved(positions)[None],
            cu_seq_lens_q=self.moved(offsets) if kernels else torch.from_numpy(offsets),
            max_length_q=longest,
            use_cache=False,
            **extra,
        ).last_hidden_state
        return hidden_1TD[0]

    @property
    def packed(self) -> bool:
        return self.body is not None

    @property
    def classifier(self) -> torch.Tensor:
        weight: torch.Tensor = self.model.get_output_embeddings().weight
        return weight

    @property
    def classifier_bias(self) -> torch.Tensor | None:
        bias: torch.Tensor | None = getattr(self.model.get_output_embeddings(), "bias", None)
        return bias

    @property
    def vocabulary(self) -> int:
        """Returns the number of rows of the output embedding."""
        return int(self.classifier.shape[0])

    @property
    def width(self) -> int:
        """Returns the number of values in a hidden state."""
        return int(self.classifier.shape[1])

    def logits(self, ids_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Returns the logits `[B, L, V]` of a batch that is padded on the right behind `lengths_B` tokens.

        Nothing is masked, as in `PartedHead.states`; engines that leave out filler read the lengths.
        """
        mask_BL = torch.ones_like(ids_BL)
        logits_BLV: torch.Tensor = self.model(ids_BL, attention_mask=mask_BL, use_cache=False).logits
        return logits_BLV


def load_model(
    place: str, files: ModelFiles, device: torch.device, dtype: DtypeName, *, pack: bool, compiled: bool, trust: bool
) -> LanguageModel:
    """Returns the model in evaluation mode on its device.

    On a CPU `auto` is float32 (half precision is slower there and less exact); on CUDA it is float16 if a probe gives
    finite hidden states with room to spare, else bfloat16.

    Raises:
        UserError: at `place`, for files that do not load, miss weights or hold values that are not finite, and for
            models that are not causal.
    """
    model = causal_model(place, files, trust)
    context = usable_positions(model)
    parted = has_parted_head(place, files.name, model, context)
    packs = pack and can_pack(model.config)
    if not packs:
        use_blocked_attention(place, model, context, use_cache=False)
    name: str = dtype
    if dtype == "auto":
        name = "fp32" if device.type == "cpu" else half_precision(model, device, use_cache=False)
    model = model.to(device=device, dtype=DTYPES[name])
    model_type = str(model.config.model_type)
    kernels = device.type == "cuda" and name != "fp32"
    body = _packed_body(model, kernels, compiled) if packs else None
    if body is None:
        log.warning("%s: %s documents are padded, not packed", place, model_type)
    parts = PartedHead.of(model) if parted and body is None else None
    return LanguageModel(model, body, device, name, context, model_type, parts)


def can_pack(config: Any) -> bool:
    """Tells whether documents of this model can share a row.

    Its family must be a checked one, and its positions must not depend on other documents.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    return config.model_type in PACKED_FAMILIES and rope.get("rope_type", "default") in POSITION_ROPE


def check_vocabulary(place: str, model: Any, tokens: int) -> None:
    """Raises a UserError where the tokenizer has more ids than the transformers model has embeddings."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    if tokens > rows:
        raise UserError(
            f"{place}: must have an embedding for every token of its tokenizer, got {rows} embeddings "
            f"and {tokens} tokens"
        )


def read_model(place: str, files: ModelFiles, wanted: str, kind: Any, *, trust: bool) -> tuple[Any, dict[str, Any]]:
    """Returns a model in float32, and what transformers reports of its loading, for `checked`.

    Args:
        kind: The class of transformers that loads it, AutoModelForCausalLM for instance.

    Raises:
        UserError: at `place`, for files that do not load as `wanted`.
    """
    source: dict[str, Any] = (
        {"gguf_file": files.gguf_file} if files.gguf_file else {"use_safetensors": not files.pickled}
    )
    try:
        with _loading, quiet_progress():
            loaded: Any = kind.from_pretrained(
                str(files.folder), dtype=torch.float32, trust_remote_code=trust, local_files_only=True,
                output_loading_info=True, **source,
            )  # fmt: skip
    except LOAD_ERRORS as error:
        raise UserError(
            f"{place}: must be {wanted} that transformers can load, got {files.name!r}; {reason_of(error)}"
        ) from error
    model, report = loaded
    return model, report


def causal_model(place: str, files: ModelFiles, trust: bool) -> Any:
    """Returns a causal language model in float32 and in evaluation mode.

    Raises:
        UserError: at `place`, for files that do not load, miss weights or hold values that are not finite, and for the
            decoder of an encoder.
    """
    from transformers import AutoModelForCausalLM

    loaded = read_model(place, files, "a causal language model", AutoModelForCausalLM, trust=trust)
    if _reads_a_source(files, trust):
        raise UserError(
            f"{place}: must be a causal language model, got {loaded[0].config.model_type} {files.name!r}, whose "
            "decoder was trained beside an encoder"
        )
    return checked(place, files, loaded)


def _reads_a_source(files: ModelFiles, trust: bool) -> bool:
    """Whether the files are of an encoder and a decoder, of which the loaded model is the decoder alone."""
    from transformers import AutoConfig

    source: dict[str, Any] = {"gguf_file": files.gguf_file} if files.gguf_file else {}
    config = AutoConfig.from_pretrained(str(files.folder), trust_remote_code=trust, local_files_only=True, **source)
    return bool(getattr(config, "is_encoder_decoder", False))


_loading = Lock()  # transformers changes classes of its own while it loads: of two threads one misses tied weights


@contextmanager
def quiet_progress() -> Iterator[None]:
    """Turns transformers' own progress bars off within the block, since a step shows its own."""
    from transformers.utils import logging as transformers_logging

    bars: Any = transformers_logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


@contextmanager
def quiet_warnings() -> Iterator[None]:
    """Keeps warnings of transformers off the terminal within the block, for code of others."""
    from transformers.utils import logging as transformers_logging

    levels: Any = transformers_logging
    before = levels.get_verbosity()
    levels.set_verbosity_error()
    try:
        yield
    finally:
        levels.set_verbosity(before)


def checked(place: str, files: ModelFiles, loaded: tuple[Any, dict[str, Any]]) -> Any:
    """Returns a model that `read_model` gave in evaluation mode.

    Raises:
        UserError: at `place`, for a weight that is missing or holds a value that is not finite.
    """
    model, report = loaded
    absent = sorted(str(key) for key in [*report.get("missing_keys", ()), *report.get("mismatched_keys", ())])
    if absent:
        raise UserError(
            f"{place}: must hold every weight of its architecture, got {files.name!r} without {absent[0]}"
            f" and {len(absent) - 1} others"
        )
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise UserError(f"{place}: must hold finite weights, got NaN or infinity in {name} of {files.name!r}")
    return model.eval().requires_grad_(False)


def _packed_body(model: Any, kernels: bool, compiled: bool) -> Any:
    """The body with attention within documents; `kernels` where those of CUDA in half precision run it."""
    use_packed_attention(model)
    model.config.pad_token_id = None  # a filler token is no padding: nothing to warn of, no look at the ids
    if kernels:
        fuse_gelu(model)
    return torch.compile(model.base_model, dynamic=False) if kernels and compiled else model.base_model


def half_precision(model: Any, device: torch.device, **options: Any) -> str:
    """Returns fp16 where hidden states of a probe stay below a quarter of its range (65,504), else bf16."""
    ids = torch.arange(min(512, int(model.config.vocab_size)), device=device)[None]
    probe = deepcopy(model).to(device=device, dtype=torch.float16)
    with torch.inference_mode():
        states = probe.base_model(ids, output_hidden_states=True, **options).hidden_states
    largest = max(float(state.abs().max()) for state in states)
    return "fp16" if largest < 65504 / 4 else "bf16"  # NaN compares false

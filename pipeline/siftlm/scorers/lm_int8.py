"""Runs a model in 8-bit integers on a CPU.

Weights are rounded once, activations row by row, and products are sums of integers: exact, so a document's neighbours
change no bit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from siftlm.errors import UserError, reason_of
from siftlm.scorers.lm_model import LanguageModel, quiet_warnings

CONVERSION_ERRORS = (AttributeError, ImportError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What CTranslate2's converters raise on architectures, activations and position encodings that they don't know."""


@dataclass
class Int8Model(LanguageModel):
    """Runs a model converted by CTranslate2: `logits` of padded batches, no body, and no weights in torch."""

    generator: Any = None
    rows: int = 0

    @property
    def vocabulary(self) -> int:
        return self.rows

    def logits(self, ids_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        from ctranslate2 import StorageView

        ids = StorageView.from_array(ids_BL.numpy().astype(np.int32))
        lengths = StorageView.from_array(lengths_B.numpy().astype(np.int32))
        return torch.from_numpy(np.array(self.generator.forward_batch(ids, lengths), copy=False))


def check_installed(place: str, device: torch.device) -> None:
    """Raises a UserError at `place` (`score.<name>.dtype`) where int8 cannot run, before anything is loaded."""
    if device.type != "cpu":
        raise UserError(f'{place}: must be fp32, fp16 or bf16 on CUDA, got int8; device = "cpu" allows it')
    if find_spec("ctranslate2") is None:
        raise UserError(
            f"{place}: must be a dtype of this machine, got int8 without CTranslate2; pip install 'siftlm[int8]'"
        )


def int8_model(place: str, model: LanguageModel, workers: int) -> Int8Model:
    """Returns the model converted to int8 for `workers` parallel threads; the float32 one cannot be used afterwards.

    Raises:
        UserError: at `place`, for an architecture that CTranslate2 does not convert.
    """
    from ctranslate2 import Generator, __version__

    rows = model.vocabulary
    with TemporaryDirectory() as folder:
        try:
            _convert(model.model, rows, Path(folder))
            generator = Generator(
                f"{folder}/int8", compute_type="int8", inter_threads=workers, intra_threads=1, max_queued_batches=-1
            )
        except CONVERSION_ERRORS as error:
            raise UserError(
                f"{place}: must be a dtype of this architecture, got int8 for {model.model_type}, which CTranslate2 "
                f"{__version__} does not convert; {reason_of(error)}"
            ) from error
    return Int8Model(None, None, model.device, "int8", model.context, model.model_type, generator=generator, rows=rows)


def _convert(model: Any, rows: int, folder: Path) -> None:
    """Writes the converted model to `folder`/int8."""
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):  # type: ignore[misc]
        """Takes the model that is in memory, whatever file it came from, and numbers for a vocabulary."""

        def load_model(self, *_: Any, **__: Any) -> Any:
            return model

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return _Numbers(rows)

    _name_as_transformers_4(model)
    (folder / "config.json").write_text(json.dumps({"model_type": model.config.model_type}))
    with quiet_warnings():  # it reads attributes that transformers has renamed
        Converter(str(folder)).convert(str(folder / "int8"), quantization="int8")


def _name_as_transformers_4(model: Any) -> None:
    """Gives attributes that CTranslate2 4.8 reads the names they had in transformers 4."""
    config = model.config
    if hasattr(config, "quantization_config"):  # of a GGUF file, whose weights are float32 by now
        del config.quantization_config
    if config.model_type == "gpt_neox":
        config.rotary_pct = config.rope_parameters.get("partial_rotary_factor", 1.0)
        model.embed_out = model.lm_head


class _Numbers:
    """Stands for a tokenizer whose tokens are their ids: text never reaches CTranslate2."""

    bos_token = eos_token = unk_token = "0"

    def __init__(self, size: int) -> None:
        self._size = size

    def get_vocab(self) -> dict[str, int]:
        return {str(number): number for number in range(self._size)}

"""Runs a model in 8-bit integers on a CPU, and checks that it ranks texts as float32 does.

Weights are rounded once, activations row by row, and products are sums of integers: exact, so a document's neighbours
change no bit. What rounding does to a model cannot be known without it: every model is measured when it loads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from siftlm.errors import UserError, reason_of
from siftlm.scorers.lm_model import LanguageModel
from siftlm.statistics.ranks import spearman
from siftlm.statistics.units import bits_per_byte, perplexity

log = logging.getLogger(__name__)

RANK_AGREEMENT = 0.995  # Spearman's, at least; SmolLM2-135M has 0.997
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


def sample_texts() -> pa.Array:
    """Returns 64 texts of up to 800 characters: 48 web pages of C4 and 16 PEPs."""
    lines = resources.files("siftlm.scorers").joinpath("lm_samples.jsonl").read_text(encoding="utf-8").splitlines()
    return pa.array([json.loads(line)["text"] for line in lines], pa.large_string())


def check_ranks(place: str, exact: pa.RecordBatch, rounded: pa.RecordBatch) -> float:
    """Returns the lower of the rank correlations of perplexity and bits per byte between two scores of equal texts.

    Raises:
        UserError: at `place`, where it is below RANK_AGREEMENT.
    """
    agreement = {
        name: _spearman([rate(batch["nll_sum"], batch[count]) for batch in (exact, rounded)])
        for name, rate, count in (
            ("perplexity", perplexity, "scored_token_count"),
            ("bits per byte", bits_per_byte, "byte_count"),
        )
    }
    said = ", ".join(f"{value:.4f} by {name}" for name, value in agreement.items())
    log.info("%s: int8 ranks %d sample texts as fp32 does: Spearman %s", place, len(exact), said)
    lowest = min(agreement.values())
    if not lowest >= RANK_AGREEMENT:
        raise UserError(
            f"{place}: must rank sample texts as fp32 does, with a Spearman correlation of {RANK_AGREEMENT} or more, "
            f"got int8 with {said}; use fp32"
        )
    return lowest


def _spearman(rates: Sequence[pa.Array]) -> float:
    exact, rounded = (np.asarray(rate.fill_null(np.nan)) for rate in rates)
    agreement = None if np.isnan([exact, rounded]).any() else spearman(exact, rounded)
    return np.nan if agreement is None else agreement


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

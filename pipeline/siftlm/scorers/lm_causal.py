"""Tests by trial whether a model is causal and how many positions it takes.

Shapes: B rows, L tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch

from siftlm.errors import UserError, reason_of
from siftlm.scorers.lm_head import PartedHead

PROBE_TOKENS = 24  # half of them the beginning that two texts share
LEAK = 1e-4  # of the change behind it: float32 noise is below 1e-6, BERT's kin with random weights above 1e-3
SAME = 1e-4  # of the largest logit, between a model and its parts
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions", "max_sequence_length")
TABLE_POSITIONS = 1 << 13  # tables of learned positions are no longer
FORWARD_ERRORS = (IndexError, RuntimeError, ValueError, TypeError, AttributeError, KeyError)
"""What a model's own code raises on tokens that it was not made for."""


class _ReachedError(Exception):
    """The first block of the model was called: the embeddings took the tokens."""


def usable_positions(model: Any) -> int | None:
    """Returns the longest window that the model has positions for, or None where it names no limit.

    RoBERTa's table has two rows that no window reaches, others name a limit that their table does not have: where
    there is a table beside that of the tokens, the longest window is the longest that passes the embeddings.
    """
    named = [getattr(model.config, name, None) for name in POSITIONS]
    limit = next((number for number in named if isinstance(number, int) and number > 0), None)
    if limit is None or limit > TABLE_POSITIONS or not _has_tables(model) or _embeds(model, limit):
        return limit
    low, high = 0, limit  # the first passes, the second does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _embeds(model, middle) else (low, middle)
    return low


def _has_tables(model: Any) -> bool:
    tokens = model.get_input_embeddings()
    return any(isinstance(module, torch.nn.Embedding) and module is not tokens for module in model.modules())


def _embeds(model: Any, length: int) -> bool:
    """Whether so many tokens reach the first block."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module)]
    if not lists:
        return True

    def stop(*_: object) -> None:
        raise _ReachedError

    hook = max(lists, key=len)[0].register_forward_pre_hook(stop)
    try:
        with torch.inference_mode():
            model(probe_ids(model, 1, length))
    except _ReachedError:
        return True
    except FORWARD_ERRORS:
        return False
    finally:
        hook.remove()
    return True


@torch.inference_mode()
def has_parted_head(place: str, name: str, model: Any, positions: int | None) -> bool:
    """Tells whether the model's head can be called without its body, after a check that the model is causal.

    Raises:
        UserError: at `place`, for the model `name` whose beginnings depend on what comes after them, or that does not
            run at all.
    """
    half = max(1, min(PROBE_TOKENS, positions or PROBE_TOKENS) // 2)
    ids_BL = probe_ids(model, 2, 2 * half)
    ids_BL[1, :half] = ids_BL[0, :half]
    mask_BL = torch.ones_like(ids_BL)
    try:
        logits_BLV = model(ids_BL, attention_mask=mask_BL, use_cache=False).logits.float()
        alone_BLV = model(ids_BL[:1, :half], attention_mask=mask_BL[:1, :half], use_cache=False).logits.float()
    except FORWARD_ERRORS as error:
        message = f"{place}: must score a text of {2 * half} tokens, got {name!r}; {reason_of(error)}"
        raise UserError(message) from error
    change_L = (logits_BLV[0] - logits_BLV[1]).abs().amax(-1)
    change_L[:half] = change_L[:half].maximum((logits_BLV[0, :half] - alone_BLV[0]).abs().amax(-1))  # with no ending
    # Weights that give no numbers say nothing of the order; every document is then an error, `non_finite_nll`.
    if bool(change_L.isfinite().all()) and float(change_L[:half].max()) > LEAK * float(change_L.max()):
        raise UserError(
            f"{place}: must be a causal language model, got {model.config.model_type} {name!r}, which reads the end of "
            "a text before it predicts the beginning"
        )
    return _parts_agree(model, ids_BL, logits_BLV)


def _parts_agree(model: Any, ids_BL: torch.Tensor, logits_BLV: torch.Tensor) -> bool:
    try:
        parts = PartedHead.of(model)
        states_BLD = parts.states(ids_BL)
        again_BLV = torch.stack([parts.logits(states_LD).float() for states_LD in states_BLD])
        difference = float((again_BLV - logits_BLV).abs().max())
    except FORWARD_ERRORS:
        return False
    return difference <= SAME * float(logits_BLV.abs().max())


def probe_ids(model: Any, rows: int, length: int) -> torch.Tensor:
    """Returns tokens drawn with a fixed seed, of which none is the padding token, whose position may be none."""
    size, padding = int(model.get_input_embeddings().weight.shape[0]), getattr(model.config, "pad_token_id", None)
    drawn = torch.randint(0, max(1, size - 1), (rows, length), generator=torch.Generator().manual_seed(0))
    return drawn if padding is None else drawn + (drawn >= padding).to(drawn.dtype)

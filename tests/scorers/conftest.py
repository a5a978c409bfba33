"""Tiny language models, made on the fly: random weights, a tokenizer trained on a few sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FAMILIES = ("gpt2", "gpt_neox", "llama", "opt")
CONTEXT = 64
VOCABULARY = 320
PADDED_VOCABULARY = 328  # rows of the embedding, more than there are tokens
SENTENCES = (
    "The committee met on Tuesday to discuss the budget for the coming year.",
    "Rain is expected in the north; the south will stay dry, with sunny spells.",
    "She opened the window, looked at the sea, and said nothing for a while.",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))",
)


@pytest.fixture(scope="session")
def language_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each family, as transformers saves it."""
    import torch

    torch.set_num_threads(1)  # tests share the machine; threads that wait for each other cost more than they give
    tokenizer = _tokenizer()
    folders = {}
    for family in FAMILIES:
        folders[family] = tmp_path_factory.mktemp(family)
        _model(family).save_pretrained(folders[family])
        tokenizer.save_pretrained(folders[family])
    return folders


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end)


def _model(family: str) -> Any:
    import torch
    import transformers as hf

    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, **ends}
    classes: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}),
        "gpt_neox": (hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig, {**shape, "intermediate_size": 64}),
        "llama": (hf.LlamaForCausalLM, hf.LlamaConfig, {**shape, "intermediate_size": 48, "num_key_value_heads": 2}),
        "opt": (hf.OPTForCausalLM, hf.OPTConfig, {**shape, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    }
    model_class, config_class, arguments = classes[family]
    if family != "gpt2":
        arguments = {**arguments, "max_position_embeddings": CONTEXT}
    model = model_class(config_class(vocab_size=PADDED_VOCABULARY, **ends | arguments)).eval()
    with torch.no_grad():  # weights at their usual size predict all tokens alike, and a wrong mask would not show
        for weight in model.parameters():
            weight.mul_(4.0 if weight.dim() > 1 else 1.0)
    return model

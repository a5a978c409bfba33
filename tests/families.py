"""Configurations of small causal models, one for every family that reads or masks in a way of its own."""

from __future__ import annotations

from typing import Any

SIZE = 328
PADDED = {"pad_token_id": 5}
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
POSITIONS = {"max_position_embeddings": 64}
GROUPED = {**SHAPE, **POSITIONS, "num_key_value_heads": 2, "head_dim": 8}
SLIDING = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
SEQ2SEQ = {
    "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "encoder_layers": 2,
    "encoder_attention_heads": 4, "encoder_ffn_dim": 48, **POSITIONS,
}  # fmt: skip
CAUSAL: dict[str, tuple[str, dict[str, Any], int]] = {  # configuration, its settings, positions
    "qwen2": ("Qwen2Config", GROUPED, 64),
    "gemma2, whose logits have a soft cap": ("Gemma2Config", {**GROUPED, "final_logit_softcapping": 0.5}, 64),
    "cohere, which scales its logits": ("CohereConfig", {**SHAPE, **POSITIONS, "logit_scale": 3.0}, 64),
    "granite, which divides its logits": ("GraniteConfig", {**SHAPE, **POSITIONS, "logits_scaling": 0.25}, 64),
    "phi, whose head has a bias": ("PhiConfig", {**SHAPE, **POSITIONS}, 64),
    "mistral with a sliding window": ("MistralConfig", {**GROUPED, "sliding_window": 16}, 64),
    "gemma2, whose scores have a soft cap too": (
        "Gemma2Config",
        {**GROUPED, "attn_logit_softcapping": 1.5, "sliding_window": 16, "query_pre_attn_scalar": 8},
        64,
    ),
    "gemma3 with a sliding window": ("Gemma3TextConfig", {**GROUPED, **SLIDING}, 64),
    "qwen2 with a sliding window": ("Qwen2Config", {**GROUPED, **SLIDING, "use_sliding_window": True}, 64),
    "qwen3 with a sliding window": ("Qwen3Config", {**GROUPED, **SLIDING, "use_sliding_window": True}, 64),
    "cohere2 with a sliding window": ("Cohere2Config", {**GROUPED, **SLIDING, "logit_scale": 3.0}, 64),
    "phi3 with a sliding window": ("Phi3Config", {**GROUPED, "sliding_window": 16}, 64),
    "starcoder2 with a sliding window": ("Starcoder2Config", {**GROUPED, "sliding_window": 16}, 64),
    "olmo3 with a sliding window": ("Olmo3Config", {**GROUPED, **SLIDING}, 64),
    "gpt-oss, which has sinks": ("GptOssConfig", {**GROUPED, **SLIDING, "num_local_experts": 4}, 64),
    "llama4, which attends in chunks": (
        "Llama4TextConfig",
        {**GROUPED, "attention_chunk_size": 16, "num_local_experts": 2, "intermediate_size_mlp": 48,
         "layer_types": ["chunked_attention", "full_attention"]},
        64,
    ),
    "mixtral, which routes": ("MixtralConfig", {**GROUPED, "num_local_experts": 4}, 64),
    "opt, whose positions begin at 2": (
        "OPTConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48, "word_embed_proj_dim": 16,
         **POSITIONS},
        64,
    ),
    "bloom, with ALiBi and no limit": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4}, 2048),
    "mpt, with another name for its limit": (
        "MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}, 64,
    ),
    "gptj": ("GPTJConfig", {**GPT, "rotary_dim": 8}, 64),
    "mamba, without attention": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}, 2048),
    "bert as a decoder": ("BertConfig", {**SHAPE, **POSITIONS, "is_decoder": True}, 64),
    "roberta as a decoder, whose table has two rows too many": (
        "RobertaConfig", {**SHAPE, **POSITIONS, "is_decoder": True}, 58,
    ),
    "bart's decoder alone": ("BartConfig", SEQ2SEQ, 64),
}  # fmt: skip

"""Tiny models of any architecture of transformers: its config class with every size made small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

MOST_PARAMETERS = 20_000_000

_BY_SIZE: dict[int, str] = {
    32: "hidden_size d_model n_embd dim embed_dim embedding_size word_embed_proj_dim encoder_hidden_size image_size",
    37: "hidden_dim",
    3: "num_hidden_layers n_layer n_layers num_layers encoder_layers num_encoder_layers encoder_num_hidden_layers "
    "type_vocab_size",
    1: "decoder_layers num_decoder_layers decoder_num_hidden_layers",
    4: "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads num_experts "
    "encoder_num_attention_heads decoder_num_attention_heads num_local_experts n_routed_experts",
    2: "num_key_value_heads num_kv_heads num_experts_per_tok",
    8: "head_dim d_kv attention_head_size kv_channels patch_size sliding_window state_size qk_rope_head_dim "
    "qk_nope_head_dim v_head_dim",
    16: "projection_dim moe_intermediate_size q_lora_rank kv_lora_rank",
    48: "intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff d_inner ffn_hidden_size mlp_dim",
    64: "vocab_size",
    40: "max_position_embeddings n_positions n_ctx max_sequence_length max_source_positions max_target_positions",
}
SIZES = {name: size for size, names in _BY_SIZE.items() for name in names.split()}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
SPECIAL |= {"mask_token_id": 3, "decoder_start_token_id": 0}
STAGES = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 2, 1], "encoder_hidden_sizes": [8, 16, 16, 32]}
STAGES |= {"num_attention_heads": [1, 2, 2, 4], "num_heads": [1, 2, 2, 4]}
DEPTHS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "vocab_size", "encoder_layers", "decoder_layers"}
ATTEMPTS: tuple[set[str] | None, ...] = (None, DEPTHS | {"hidden_size", "d_model"}, DEPTHS, set())
"""Which sizes are made small, the first attempt that builds counts: all, width and depth, depth, none."""


def build(model_type: str) -> tuple[Any, Any]:
    """Config and model. Raises RuntimeError with the last attempt's reason where none builds small enough."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    why = ""
    for only in ATTEMPTS:
        try:
            config = _config(CONFIG_MAPPING[model_type], only)
            with torch.device("meta"):
                count = sum(part.numel() for part in transformers.AutoModel.from_config(config).parameters())
            if count > MOST_PARAMETERS:
                why = f"{count / 1e6:.0f} million parameters"
                continue
            torch.manual_seed(0)
            return config, transformers.AutoModel.from_config(config).eval()
        except Exception as error:  # any architecture of the library, with sizes that it may not take
            why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
    raise RuntimeError(why)


def _config(kind: Any, only: set[str] | None) -> Any:
    parts: dict[str, Any] = {}
    for name, part in (getattr(kind, "sub_configs", None) or {}).items():
        if part is not None and getattr(part, "model_type", ""):
            parts[name] = _config(part, only).to_dict()
    stated = kind().to_dict()
    sizes = {name: value for name, value in _small(stated).items() if only is None or name in only}
    return kind(**{name: value for name, value in sizes.items() if name not in parts}, **parts)


def _small(stated: Mapping[str, Any]) -> dict[str, Any]:
    small: dict[str, Any] = {}
    for name, value in stated.items():
        if isinstance(value, bool | str):
            continue
        if (
            isinstance(value, int) or (value is None and name in ("head_dim", "num_key_value_heads"))
        ) and name in SIZES:
            small[name] = SIZES[name]
        if name in SPECIAL and not isinstance(value, list):
            small[name] = SPECIAL[name]
        if isinstance(value, list | tuple) and len(value) == 4 and name in STAGES:
            small[name] = STAGES[name]
    return small

"""Tiny random models of the classes of transformers, made from their default
configs with every size cut down."""
import copy

import torch
import transformers

from dump_names import ATTEMPTS, model_classes

# The largest value of each field; what a config does not have stays away.
SIZES = {
    **dict.fromkeys(["hidden_size", "d_model", "n_embd", "dim", "embed_dim", "out_hidden_size", "text_hidden_size", "hidden_dim", "decoder_hidden_size", "embedding_size"], 32),
    **dict.fromkeys(["intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim", "d_ff", "intermediate_size_mlp", "mlp_dim", "ffn_hidden_size"], 48),
    **dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "expert_ffn_hidden_size"], 24),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers", "depth"], 2),
    **dict.fromkeys(["num_attention_heads", "n_head", "num_heads", "encoder_attention_heads", "decoder_attention_heads", "linear_num_value_heads", "index_n_heads"], 4),
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "index_topk", "num_queries", "mamba_dt_rank"], 4),
    **dict.fromkeys(["num_key_value_heads", "num_global_key_value_heads", "linear_num_key_heads", "num_experts_per_tok", "moe_k", "moe_topk", "top_k", "o_groups", "type_vocab_size"], 2),
    **dict.fromkeys(["head_dim", "global_head_dim", "linear_key_head_dim", "linear_value_head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "d_kv", "index_head_dim", "mamba_d_state", "num_mel_bins", "patch_size",
                     "hidden_size_per_layer_input"], 8),
    **dict.fromkeys(["q_lora_rank", "kv_lora_rank", "o_lora_rank", "qk_head_dim", "image_size", "projection_dim", "max_source_positions", "max_target_positions"], 16),
    **dict.fromkeys(["vocab_size", "max_position_embeddings", "vocab_size_per_layer_input"], 64),
    **dict.fromkeys(["n_group", "topk_group", "first_k_dense_replace"], 1),
    "num_labels": 3, "moe_layer_start_index": 0, "num_nextn_predict_layers": 0,
}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "image_token_id": 3, "image_token_index": 3, "video_token_id": 4, "audio_token_id": 5}
MOST = 3e7  # parameters: a class that stays larger is left out


def shrink(config, depth=0):
    for name, most in {**SIZES, **TOKENS}.items():
        try:
            now = getattr(config, name, None)
            if type(now) is int and (now > most or name in TOKENS):
                setattr(config, name, most)
        except Exception:  # computed, or one for each layer
            pass
    for name in ("layer_types", "mlp_layer_types"):
        kinds = getattr(config, name, None)
        if isinstance(kinds, list) and kinds and not isinstance(getattr(type(config), name, None), property):
            setattr(config, name, [kinds[0], kinds[-1]])
    rope = getattr(config, "rope_parameters", None)
    if isinstance(rope, dict) and "mrope_section" in rope:
        rope["mrope_section"] = [1, 1, 2]
    if len(getattr(config, "stage_names", None) or []) > 3 and getattr(config, "num_hidden_layers", 0) == 2:
        config.stage_names = ["stem", "stage1", "stage2"]
        config.set_output_features_output_indices(out_features=["stage1", "stage2"], out_indices=None)
    for name in getattr(config, "sub_configs", None) or {}:
        sub = getattr(config, name, None)
        if hasattr(sub, "to_dict") and depth < 3:
            shrink(sub, depth + 1)


def build(name):
    """A model of a class, or the first reason why there is none."""
    cls, error = getattr(transformers, name), None
    for attempt in ATTEMPTS:
        for steps in ((attempt, shrink), (shrink, attempt)):
            try:
                config = cls.config_class()
                for step in steps:
                    step(config)
                with torch.device("meta"):
                    size = sum(p.numel() for p in cls(copy.deepcopy(config)).parameters())
                if size > MOST:
                    raise ValueError(f"{size} parameters")
                return cls(config), None
            except Exception as e:
                error = error or f"{type(e).__name__}: {e}".strip().split("\n")[0]
    return None, error


def keys_of(data):
    """The keys of the map that apply to a model of each class."""
    keys, found = set(data["keys"]) | set(data["aliases"]), {}
    for name, _, _ in model_classes():
        c = data["classes"].get(name, {})
        of = {name, c.get("type")} | {p["class"] for p in c.get("parts", [])} | {p["type"] for p in c.get("parts", [])}
        if of & keys:
            found[name] = of & keys
    return found

#!/usr/bin/env python3
"""Names in memory and on disk: PEFT adapters of tiny random models of many
families, merged by loratool into the folder that save_pretrained wrote, beside
PEFT's merge in float64 with one rounding.

usage: check_names.py --loratool BIN [--only FAMILY...] [--verbose]

For each family the base is saved twice, with the names that transformers gives
it on disk and with those it has in memory. The adapter targets every linear
layer and every stack of experts. Our folder is loaded by from_pretrained, and
every parameter is compared bit for bit. The other way round, a change of every
weight is extracted, and PEFT must load what comes out and hold the change
within the certificates. Tiny models of all classes that can be built exercise
the rest of the map's keys; format/adapter/names/testdata/exercised.json says
which (--table writes it)."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings

warnings.filterwarnings("ignore")
for name, value in {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}.items():
    os.environ.setdefault(name, value)
import numpy as np
import torch
import transformers as T
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from dump_names import DATA, changed_classes, changed_families, retargeted
from tiny_models import build, keys_of

torch.set_num_threads(2)
V = 64
TEXT = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8, vocab_size=V, max_position_embeddings=64,
            pad_token_id=0, bos_token_id=1, eos_token_id=2)
MOE = dict(TEXT, moe_intermediate_size=24, num_experts=4, num_experts_per_tok=2)
VISION = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=16, patch_size=8)
BERT = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=V)
TEXT_TOWER = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=V, max_position_embeddings=16, projection_dim=16,
                  pad_token_id=0, bos_token_id=1, eos_token_id=2)


def sub(d, *without, **more):
    return {k: v for k, v in dict(d, **more).items() if k not in without}


def llama(**kw):
    return T.LlamaConfig(**dict(TEXT, **kw))


def qwen_vl(cls, config, vision, **text):
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    c = config(text_config=dict(TEXT, rope_parameters=rope, **text), vision_config=vision)
    return cls(c)


def deepseek(cls, config):
    return cls(config(**sub(TEXT, "head_dim"), moe_intermediate_size=24, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1, n_shared_experts=1, first_k_dense_replace=1,
                      q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8))


def llava_like(cls, config, text=None, vision=None, **kw):
    return cls(config(text_config=text or llama(), vision_config=vision or T.CLIPVisionConfig(**VISION, projection_dim=16), **kw))


FAMILIES = {
    # mixtures of experts: lists on disk, stacks in memory
    "mixtral": lambda: T.MixtralForCausalLM(T.MixtralConfig(**TEXT, num_local_experts=4)),
    "minimax_m2": lambda: T.MiniMaxM2ForCausalLM(T.MiniMaxM2Config(**TEXT, num_local_experts=4, num_experts_per_tok=2)),
    "qwen2_moe": lambda: T.Qwen2MoeForCausalLM(T.Qwen2MoeConfig(**sub(MOE, "head_dim"), shared_expert_intermediate_size=24)),
    "qwen3_moe": lambda: T.Qwen3MoeForCausalLM(T.Qwen3MoeConfig(**MOE)),
    "olmoe": lambda: T.OlmoeForCausalLM(T.OlmoeConfig(**sub(TEXT, "head_dim"), num_experts=4, num_experts_per_tok=2)),
    "deepseek_v2": lambda: deepseek(T.DeepseekV2ForCausalLM, T.DeepseekV2Config),
    "deepseek_v3": lambda: deepseek(T.DeepseekV3ForCausalLM, T.DeepseekV3Config),
    "glm4_moe": lambda: T.Glm4MoeForCausalLM(T.Glm4MoeConfig(**TEXT, moe_intermediate_size=24, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, first_k_dense_replace=1)),
    "gpt_oss": lambda: T.GptOssForCausalLM(T.GptOssConfig(**TEXT, num_local_experts=4, num_experts_per_tok=2)),
    "gpt_oss_square": lambda: T.GptOssForCausalLM(T.GptOssConfig(**dict(TEXT, intermediate_size=32), num_local_experts=4, num_experts_per_tok=2)),
    "llama4": lambda: T.Llama4ForCausalLM(T.Llama4TextConfig(**TEXT, intermediate_size_mlp=48, num_local_experts=4, num_experts_per_tok=1)),
    "llama4_square": lambda: T.Llama4ForCausalLM(T.Llama4TextConfig(**dict(TEXT, intermediate_size=32), intermediate_size_mlp=48, num_local_experts=4, num_experts_per_tok=1)),
    "granitemoe": lambda: T.GraniteMoeForCausalLM(T.GraniteMoeConfig(**sub(TEXT, "head_dim"), num_local_experts=4, num_experts_per_tok=2)),
    "jamba": lambda: T.JambaForCausalLM(T.JambaConfig(**sub(TEXT, "head_dim"), num_experts=4, num_experts_per_tok=2, attn_layer_period=2, attn_layer_offset=0, expert_layer_period=2, expert_layer_offset=1, use_mamba_kernels=False, mamba_d_state=8, mamba_dt_rank=4)),
    "phimoe": lambda: T.PhimoeForCausalLM(T.PhimoeConfig(**sub(TEXT, "head_dim"), num_local_experts=4, num_experts_per_tok=2)),
    "ernie4_5_moe": lambda: T.Ernie4_5_MoeForCausalLM(T.Ernie4_5_MoeConfig(**sub(TEXT, "head_dim"), moe_intermediate_size=24, moe_num_experts=4, moe_k=2, moe_layer_start_index=0)),
    "minimax": lambda: T.MiniMaxForCausalLM(T.MiniMaxConfig(**TEXT, num_local_experts=4, num_experts_per_tok=2)),
    "qwen3_next": lambda: T.Qwen3NextForCausalLM(T.Qwen3NextConfig(**MOE, shared_expert_intermediate_size=24, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8, layer_types=["linear_attention", "full_attention"])),
    # text, with other names or fused projections on disk
    "hrm_text": lambda: T.HrmTextForCausalLM(T.HrmTextConfig(**TEXT)),
    "nomic_bert": lambda: T.NomicBertModel(T.NomicBertConfig(**BERT)),
    "gte": lambda: T.GteModel(T.GteConfig(**BERT)),
    "jina_embeddings_v3": lambda: T.JinaEmbeddingsV3Model(T.JinaEmbeddingsV3Config(**BERT)),
    # text and images
    "aria": lambda: llava_like(T.AriaForConditionalGeneration, T.AriaConfig, T.AriaTextConfig(**sub(TEXT, "head_dim"), moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1), T.Idefics3VisionConfig(**VISION)),
    "aya_vision": lambda: llava_like(T.AyaVisionForConditionalGeneration, T.AyaVisionConfig, T.Cohere2Config(**TEXT), T.SiglipVisionConfig(**VISION)),
    "got_ocr2": lambda: llava_like(T.GotOcr2ForConditionalGeneration, T.GotOcr2Config, T.Qwen2Config(**sub(TEXT, "head_dim")), T.GotOcr2VisionConfig(**sub(VISION, "intermediate_size", image_size=32), output_channels=16, mlp_dim=48)),
    "ernie4_5_vl_moe": lambda: T.Ernie4_5_VLMoeForConditionalGeneration(T.Ernie4_5_VLMoeConfig(text_config=dict(sub(TEXT, "head_dim"), moe_intermediate_size=[24, 24], moe_num_experts=4, moe_k=2, moe_num_shared_experts=1, mlp_layer_types=["sparse", "sparse"],
                                                                                                                rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}), vision_config=dict(depth=2, hidden_size=32, intermediate_size=48, num_heads=4, patch_size=4))),
    "qwen2_vl": lambda: qwen_vl(T.Qwen2VLForConditionalGeneration, T.Qwen2VLConfig, dict(depth=2, embed_dim=32, hidden_size=32, num_heads=4, mlp_ratio=2, patch_size=4)),
    "qwen2_5_vl": lambda: qwen_vl(T.Qwen2_5_VLForConditionalGeneration, T.Qwen2_5_VLConfig, dict(depth=2, hidden_size=32, out_hidden_size=32, intermediate_size=48, num_heads=4, patch_size=4, window_size=16, fullatt_block_indexes=[1])),
    "qwen3_vl_moe": lambda: qwen_vl(T.Qwen3VLMoeForConditionalGeneration, T.Qwen3VLMoeConfig, dict(depth=2, hidden_size=32, out_hidden_size=32, intermediate_size=48, num_heads=4, patch_size=4, num_position_embeddings=16, deepstack_visual_indexes=[1]),
                                    moe_intermediate_size=24, num_experts=4, num_experts_per_tok=2),
    "llava": lambda: llava_like(T.LlavaForConditionalGeneration, T.LlavaConfig),
    "llava_next": lambda: llava_like(T.LlavaNextForConditionalGeneration, T.LlavaNextConfig, image_grid_pinpoints=[[16, 16]]),
    "paligemma": lambda: llava_like(T.PaliGemmaForConditionalGeneration, T.PaliGemmaConfig, T.GemmaConfig(**TEXT), T.SiglipVisionConfig(**VISION, projection_dim=32), projection_dim=32),
    "gemma3": lambda: llava_like(T.Gemma3ForConditionalGeneration, T.Gemma3Config, T.Gemma3TextConfig(**TEXT), T.SiglipVisionConfig(**VISION), mm_tokens_per_image=4),
    "mistral3": lambda: llava_like(T.Mistral3ForConditionalGeneration, T.Mistral3Config, T.MistralConfig(**TEXT), T.PixtralVisionConfig(**VISION)),
    "mllama": lambda: T.MllamaForConditionalGeneration(T.MllamaConfig(text_config=dict(sub(TEXT, "head_dim"), cross_attention_layers=[1], rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
                                                                       vision_config=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_global_layers=1, attention_heads=4, image_size=16, patch_size=8, vision_output_dim=64, intermediate_layers_indices=[0], max_num_tiles=1, supported_aspect_ratios=[[1, 1]]))),
    "internvl": lambda: llava_like(T.InternVLForConditionalGeneration, T.InternVLConfig, T.Qwen2Config(**sub(TEXT, "head_dim")), T.InternVLVisionConfig(**dict(VISION, image_size=[16, 16], patch_size=[8, 8]))),
    # vision
    "vit": lambda: T.ViTForImageClassification(T.ViTConfig(**VISION)),
    "deit": lambda: T.DeiTForImageClassification(T.DeiTConfig(**VISION)),
    "beit": lambda: T.BeitForImageClassification(T.BeitConfig(**VISION)),
    "dinov2_swiglu": lambda: T.Dinov2ForImageClassification(T.Dinov2Config(**sub(VISION, "intermediate_size"), use_swiglu_ffn=True, mlp_ratio=2)),
    "dinov2_with_registers": lambda: T.Dinov2WithRegistersForImageClassification(T.Dinov2WithRegistersConfig(**sub(VISION, "intermediate_size"), use_swiglu_ffn=True, mlp_ratio=2)),
    "vivit": lambda: T.VivitModel(T.VivitConfig(**VISION, num_frames=2, tubelet_size=[2, 8, 8])),
    "vit_mae": lambda: T.ViTMAEForPreTraining(T.ViTMAEConfig(**VISION, decoder_hidden_size=32, decoder_num_attention_heads=4, decoder_num_hidden_layers=1, decoder_intermediate_size=48)),
    "detr": lambda: T.DetrForObjectDetection(T.DetrConfig(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, num_queries=4,
                                                          backbone_config=T.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=["stage4"]))),
    "swin": lambda: T.SwinForImageClassification(T.SwinConfig(image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)),
    "segformer": lambda: T.SegformerForSemanticSegmentation(T.SegformerConfig(hidden_sizes=[16, 32], depths=[1, 1], num_encoder_blocks=2, num_attention_heads=[1, 2], decoder_hidden_size=32, sr_ratios=[2, 1], patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2])),
    "clip": lambda: T.CLIPModel(T.CLIPConfig(text_config=TEXT_TOWER, vision_config=dict(VISION, projection_dim=16), projection_dim=16)),
    "clip_text": lambda: T.CLIPTextModel(T.CLIPTextConfig(**TEXT_TOWER)),
    "clip_vision": lambda: T.CLIPVisionModel(T.CLIPVisionConfig(**VISION, projection_dim=16)),
    "siglip": lambda: T.SiglipModel(T.SiglipConfig(text_config=sub(TEXT_TOWER, projection_size=32), vision_config=VISION)),
    # text and sound
    "ast": lambda: T.ASTModel(T.ASTConfig(**sub(VISION, "image_size"), max_length=32, num_mel_bins=16)),
    "qwen2_audio": lambda: T.Qwen2AudioForConditionalGeneration(T.Qwen2AudioConfig(text_config=T.Qwen2Config(**sub(TEXT, "head_dim")), audio_config=dict(model_type="qwen2_audio_encoder", d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48, num_mel_bins=8, max_source_positions=16))),
    "gpt_neox": lambda: T.GPTNeoXForCausalLM(T.GPTNeoXConfig(**sub(TEXT, "head_dim", "num_key_value_heads"))),
    "whisper": lambda: T.WhisperForConditionalGeneration(T.WhisperConfig(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=V, num_mel_bins=8, max_source_positions=16, max_target_positions=16,
                                                                         pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)),
    "bert": lambda: T.BertForSequenceClassification(T.BertConfig(**sub(TEXT, "head_dim", "num_key_value_heads"))),
    "t5": lambda: T.T5ForConditionalGeneration(T.T5Config(d_model=32, d_ff=48, num_layers=2, num_heads=4, d_kv=8, vocab_size=V, decoder_start_token_id=0)),
    "llama": lambda: T.LlamaForCausalLM(llama()),
    "gpt2": lambda: T.GPT2LMHeadModel(T.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=V, n_positions=32, bos_token_id=0, eos_token_id=0)),
}


SHORT = {"mixtral", "olmoe", "gpt_oss", "qwen3_moe", "llama"}


def targets(model):
    """Every linear layer by its full name, and every stack of experts."""
    heads = [m for m in [model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None] if m is not None]
    linear, stacks = [], []
    for name, m in model.named_modules():
        if isinstance(m, (torch.nn.Linear, T.pytorch_utils.Conv1D)) and m not in heads:
            linear.append(name)
        for p, v in m.named_parameters(recurse=False):
            if v.dim() == 3 and p in ("gate_up_proj", "down_proj", "up_proj", "weight") and not isinstance(m, (torch.nn.Conv1d, torch.nn.Embedding)):
                stacks.append(f"{name}.{p}")
    return linear, stacks


def randomize(model, scale=0.1):
    g = torch.Generator().manual_seed(7)
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data.copy_(torch.randn(p.shape, generator=g) * scale)


def round_once(x, dtype):
    """float64 -> dtype, to nearest even, without rounding twice."""
    x = x.detach().numpy().astype(np.float64)
    f = x.astype(np.float32)
    if dtype == torch.float32:
        return torch.from_numpy(f)
    back = f.astype(np.float64)
    u = f.view(np.uint32).copy()
    inexact = (back != x) & ((u & 1) == 0) & np.isfinite(x)  # round to odd
    above = np.abs(back) > np.abs(x)
    u[inexact & above] -= 1
    u[inexact & ~above] += 1
    return torch.from_numpy(u.view(np.float32)).to(dtype)


def near_tie(ours, want, exact):
    """Whether every difference is one step and within float64's error of a tie."""
    at = ours != want
    a, b, e = ours[at].double(), want[at].double(), exact[at].double()
    return bool(((e - (a + b) / 2).abs() <= 1e-13 * e.abs().clamp_min(1e-3)).all())


def differences(got, expected, dtype):
    """Wrong elements and names, of what from_pretrained made of our folder."""
    bad = []
    for name, exact in expected.items():
        if name not in got:
            bad.append(f"{name}: missing")
            continue
        ours, want = got[name], exact
        if exact.is_floating_point():
            want = round_once(exact, ours.dtype)
        n = (ours != want).sum().item()
        if n and not near_tie(ours, want, exact):
            bad.append(f"{name}: {n} of {ours.numel()} elements differ, at most {(ours.double() - want.double()).abs().max().item():.3g}")
    return bad


def merge(args, base, adapter, out, *more):
    shutil.rmtree(out, ignore_errors=True)
    return subprocess.run([args.loratool, "merge", base, adapter, "-o", out, "--json", *more], capture_output=True, text=True)


def compare(args, cls, base, adapter, out, dtype, expected, modules):
    run = merge(args, base, adapter, out)
    if run.returncode:
        return [f"exit {run.returncode}: {run.stderr.strip()[:400]}"]
    report = json.loads(run.stdout)
    bad = []
    if report["adapters"][0]["applied"] != modules:
        bad.append(f"{report['adapters'][0]['applied']} of {modules} modules applied")
    loaded, info = cls.from_pretrained(out, dtype=dtype, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            bad.append(f"{kind}: {sorted(info[kind])[:3]}")
    if args.verbose:
        print("   ", report.get("notes"))
    return bad + differences(loaded.state_dict(), expected, dtype)


def family(args, name, work):
    """All checks of one family: a list of (what, faults)."""
    torch.manual_seed(1)
    dtype = torch.bfloat16 if len(name) % 2 else torch.float32
    model = FAMILIES[name]().to(dtype)
    for p in model.parameters():  # zeros and ones hide a wrong place
        p.data.copy_((torch.randn(p.shape) * 0.1).to(dtype))
    cls, linear_stacks = type(model), targets(model)
    base, memory, adapter, out = (os.path.join(work, x) for x in ("base", "memory", "adapter", "out"))
    for d in (base, memory, adapter):
        shutil.rmtree(d, ignore_errors=True)
    model.save_pretrained(base)
    model.save_pretrained(memory, save_original_format=False)
    linear, stacks = linear_stacks
    if name in SHORT:  # as people write them
        linear, stacks = (sorted({n.rsplit(".", 1)[-1] for n in x}) for x in (linear, stacks))
    config = LoraConfig(r=4, lora_alpha=6, target_modules=linear or None, target_parameters=stacks or None, lora_dropout=0.0)
    pm = get_peft_model(model, config)
    randomize(pm)
    pm.save_pretrained(adapter)
    keys = load_file(os.path.join(adapter, "adapter_model.safetensors"))
    modules = sum(k.endswith("lora_A.weight") for k in keys)
    if modules < len(stacks) + 4:  # PEFT makes stacks of the experts' targets in some families, and drops the dense layers of that name
        return [("adapter", [f"{modules} modules for {len(linear)} layers and {len(stacks)} stacks"])]
    exact = PeftModel.from_pretrained(cls.from_pretrained(base, dtype=torch.float64), adapter, autocast_adapter_dtype=False).merge_and_unload().state_dict()
    results = [("names on disk", compare(args, cls, base, adapter, out, dtype, exact, modules))]
    if not same_names(base, memory):
        results.append(("names in memory", compare(args, cls, memory, adapter, out, dtype, exact, modules)))
    return results


def names_of(folder):
    return {n for f in os.listdir(folder) if f.endswith(".safetensors") for n in load_file(os.path.join(folder, f))}


def same_names(a, b):
    return names_of(a) == names_of(b)


RANK = 3
# Classes whose entry in the data file is compared with what the installed transformers has.
CHECKED = ["MixtralForCausalLM", "Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM", "DeepseekV3ForCausalLM", "Glm4MoeForCausalLM", "GptOssForCausalLM", "Qwen2VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration",
           "LlavaForConditionalGeneration", "Gemma3ForConditionalGeneration", "Mistral3ForConditionalGeneration", "ViTForImageClassification", "CLIPTextModel", "WhisperForConditionalGeneration", "BertForSequenceClassification",
           "T5ForConditionalGeneration", "GPTNeoXForCausalLM", "LlamaForCausalLM", "GPT2LMHeadModel"]


def change(model):
    """Adds a matrix of rank RANK to every weight, and to every expert of a stack."""
    g, seen = torch.Generator().manual_seed(5), set()
    for path, m in model.named_modules():
        for name, p in m.named_parameters(recurse=False):
            stack = p.dim() == 3 and "experts" in f"{path}.{name}" and name in ("gate_up_proj", "down_proj", "up_proj", "weight")
            if id(p) in seen or not stack and (name != "weight" or p.dim() != 2) or min(p.shape[-2:]) <= RANK:
                continue
            seen.add(id(p))
            p.data += 0.02 * torch.randn(*p.shape[:-1], RANK, generator=g) @ torch.randn(*p.shape[:-2], RANK, p.shape[-1], generator=g)
    return len(seen)


def effective(cls, base, adapter):
    """The weights that PEFT computes with, by name, the names that it adapts, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pm = PeftModel.from_pretrained(cls.from_pretrained(base, dtype=torch.float64), adapter, autocast_adapter_dtype=False)
    weights, adapted = cls.from_pretrained(base, dtype=torch.float64).state_dict(), set()
    with torch.no_grad():
        for path, m in pm.base_model.model.named_modules():
            if hasattr(m, "get_delta_weight") and hasattr(m, "lora_A"):
                name = f"{path.replace('.base_layer', '')}.{getattr(m, 'parameter_name', 'weight')}"
                weights[name] = weights[name] + m.get_delta_weight("default")
                adapted.add(name)
    return weights, adapted, [str(w.message)[:300] for w in caught if "keys" in str(w.message)]


def extract(args, name, work):
    """extract writes the names that PEFT wants: it loads them all and has the
    change within the certificates, whatever names the two checkpoints have."""
    torch.manual_seed(1)
    model = FAMILIES[name]().float()
    cls = type(model)
    for p in model.parameters():
        p.data.copy_(torch.randn(p.shape) * 0.1)
    base, memory, tuned, adapter = (os.path.join(work, x) for x in ("base", "memory", "tuned", "adapter"))
    for d in (base, memory, tuned):
        shutil.rmtree(d, ignore_errors=True)
    model.save_pretrained(base)
    model.save_pretrained(memory, save_original_format=False)
    modules = change(model)
    model.save_pretrained(tuned)
    want, ties, results = cls.from_pretrained(tuned, dtype=torch.float64).state_dict(), getattr(model, "_tied_weights_keys", None) or {}, []
    for what, folder in (("names on disk", base), ("names in memory", memory)):
        if folder == memory and same_names(base, memory):
            continue
        shutil.rmtree(adapter, ignore_errors=True)
        run = subprocess.run([args.loratool, "extract", folder, tuned, "-o", adapter, "--rank", str(RANK), "--json"], capture_output=True, text=True)
        if run.returncode:
            results.append((f"extract, base with {what}", [f"exit {run.returncode}: {run.stderr.strip()[:400]}"]))
            continue
        report = json.loads(run.stdout)
        got, adapted, bad = effective(cls, folder, adapter)
        pairs = sum("lora_A" in n or "lora_embedding_A" in n for n in load_file(os.path.join(adapter, "adapter_model.safetensors")))
        if len(adapted) != pairs or len(report["modules"]) != modules or report.get("left_out"):
            bad.append(f"{len(adapted)} modules in PEFT, {pairs} in the file, {len(report['modules'])} reported, {modules} changed, left out {report.get('left_out', [])[:2]}")
        limits = {m["module"].removesuffix(".weight"): m["error"] * m["delta_norm"] for m in report["modules"]}
        for n, w in want.items():
            of = n if n in adapted else ties.get(n, n)  # PEFT's forward may not have what the model ties
            if w.is_floating_point() and w.numel():
                off, limit = (got[of] - w).abs().max().item(), limits.get(of.removesuffix(".weight"), 0)
                if off > 1.01 * limit + 1e-7:
                    bad.append(f"{n} is off by {off:.2g}, certified are {limit:.2g}")
        results.append((f"extract, base with {what}", bad))
    return results


PARTS = {
    # What adapters have beside factors, where the base stores parameters in parts.
    "mixtral": [dict(target_modules=["q_proj"], modules_to_save=["experts"]), dict(target_modules=["q_proj"], target_parameters=["gate.weight", "down_proj"], rank_pattern={"down_proj": 5}, alpha_pattern={"down_proj": 7})],
    "hrm_text": [dict(target_modules=["q_proj", "v_proj"], use_dora=True), dict(target_modules=["gate_proj", "up_proj", "k_proj"], use_dora=True)],
    "dinov2_swiglu": [dict(target_modules=["gate_proj"], lora_bias=True), dict(target_modules=["gate_proj", "up_proj"], use_dora=True), dict(target_modules=["gate_proj", "up_proj"], bias="lora_only")],
    "nomic_bert": [dict(target_modules=["k_proj"], use_dora=True)],
    "ernie4_5_vl_moe": [dict(target_modules=["q_proj"], modules_to_save=["text_moe", "vision_moe"])],
    "qwen3_vl_moe": [dict(target_modules=["q_proj"], modules_to_save=["experts"])],
}


def parts(args, name, work):
    """Magnitudes, biases and saved modules of parameters in parts; what was
    merged can be taken out again."""
    results = []
    for i, options in enumerate(PARTS[name]):
        torch.manual_seed(1)
        model = FAMILIES[name]()
        for p in model.parameters():
            p.data.copy_(torch.randn(p.shape) * 0.1)
        cls, g = type(model), torch.Generator().manual_seed(9)
        base, memory, adapter, out, record, back = (os.path.join(work, x) for x in ("base", "memory", "adapter", "out", "record", "back"))
        for d in (base, memory, adapter, back):
            shutil.rmtree(d, ignore_errors=True)
        model.save_pretrained(base)
        model.save_pretrained(memory, save_original_format=False)
        pm = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, lora_dropout=0.0, **options))
        randomize(pm)
        for n, p in pm.named_parameters():
            if "magnitude" in n or "modules_to_save" in n or options.get("bias") and n.endswith(".bias") and p.requires_grad or "lora_B" in n and n.endswith("bias"):
                p.data += torch.randn(p.shape, generator=g) * 0.1
        pm.save_pretrained(adapter)
        pairs = sum("lora_A" in n for n in load_file(os.path.join(adapter, "adapter_model.safetensors")))
        exact = PeftModel.from_pretrained(cls.from_pretrained(base, dtype=torch.float64), adapter, autocast_adapter_dtype=False).merge_and_unload().state_dict()
        for what, folder in (("names on disk", base), ("names in memory", memory)):
            bad = compare(args, cls, folder, adapter, out, torch.float32, exact, pairs)
            if folder == base and not bad:
                run = merge(args, base, adapter, out, "--record", record, "--force")
                undo = subprocess.run([args.loratool, "unmerge", out, adapter, "--record", record, "-o", back, "--force"], capture_output=True, text=True)
                if run.returncode or undo.returncode or any(open(os.path.join(base, f), "rb").read() != open(os.path.join(back, f), "rb").read() for f in os.listdir(base) if f.endswith(".safetensors")):
                    bad.append(f"not taken out again: {run.stderr.strip()[:200]} {undo.stderr.strip()[:200]}")
            results.append((f"parts, {options}, {what}", bad))
    return results


def sweep(args, name, work):
    """One class of the rest of the map: linear layers, routers and stacks of a
    tiny model, merged as PEFT merges them."""
    torch.manual_seed(1)
    model, error = build(name)
    if model is None:
        return [error]
    cls = type(model)
    for p in model.parameters():
        p.data.copy_(torch.randn(p.shape) * 0.1)
    base, adapter, out = (os.path.join(work, x) for x in ("base", "adapter", "out"))
    for d in (base, adapter):
        shutil.rmtree(d, ignore_errors=True)
    model.save_pretrained(base)
    linear, stacks = targets(model)
    taken = retargeted().get(model.config.model_type, [])  # PEFT makes experts of these
    ties = {n.removesuffix(".weight") for pair in (getattr(model, "_tied_weights_keys", None) or {}).items() for n in pair}
    linear = [n for n in linear if n.rsplit(".", 1)[-1] not in taken and n not in ties]
    pm = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=linear, target_parameters=stacks or None, lora_dropout=0.0))
    randomize(pm)
    pm.save_pretrained(adapter)
    modules = sum(k.endswith("lora_A.weight") for k in load_file(os.path.join(adapter, "adapter_model.safetensors")))
    exact = pm.double().merge_and_unload().state_dict()
    loaded = cls.from_pretrained(base).state_dict()
    bad = [f"{n}: transformers does not read back what it wrote" for n in exact if n not in loaded or exact[n].shape != loaded[n].shape]
    return bad or compare(args, cls, base, adapter, out, torch.float32, exact, modules)


EXERCISED = os.path.join(os.path.dirname(DATA), "testdata", "exercised.json")


def keys_of_families():
    """The keys of the map that apply to the models of FAMILIES."""
    data = json.load(open(DATA))
    keys = set(data["keys"]) | set(data["aliases"])
    models = {n: [m for m in make().modules() if isinstance(m, T.PreTrainedModel)] for n, make in FAMILIES.items()}
    return {n: sorted({x for m in ms for x in (type(m).__name__, m.config.model_type)} & keys) for n, ms in models.items()}


def table(args, work):
    """Which families and which classes beside them exercise which keys of the
    map, and why classes with more keys do not."""
    keys, families, models, failed = keys_of(json.load(open(DATA))), keys_of_families(), {}, {}
    covered = {k for of in families.values() for k in of}
    for name in sorted(keys, key=lambda n: (-len(keys[n]), not n.endswith(("ForConditionalGeneration", "ForCausalLM")), n)):
        if keys[name] <= covered:
            continue
        try:
            bad = sweep(args, name, work)
        except Exception as e:
            bad = [f"{type(e).__name__}: {e}"]
        if bad:
            failed[name] = bad[0].strip().split("\n")[0][:160].replace(work, "")
            print(f"{name}: {failed[name]}", flush=True)
        else:
            models[name], covered = sorted(keys[name]), covered | keys[name]
    return {"transformers": T.__version__, "families": families, "models": models, "not_exercised": failed}


def keys_exercised(exercised):
    """The table of keys is that of the data file."""
    keys, families = keys_of(json.load(open(DATA))), keys_of_families()
    wrong = [f"{n} exercises {of}, the table says {exercised['families'].get(n)}: run check_names.py --table" for n, of in families.items() if of != exercised["families"].get(n)]
    return [("table of keys", wrong + [f"{n} exercises {sorted(keys.get(n, []))}, the table says {of}: run check_names.py --table" for n, of in exercised["models"].items() if sorted(keys.get(n, [])) != of])]


def old_adapters(args, work):
    """Adapters with the names of transformers 4, one module for each expert: on
    a base of lists their delta is plain, on a base of stacks PEFT converts."""
    results = []
    for name, parent, projections in (("mixtral", "block_sparse_moe", ("w1", "w3", "w2")), ("qwen3_moe", "mlp", ("gate_proj", "up_proj", "down_proj"))):
        torch.manual_seed(2)
        model = FAMILIES[name]()
        cls = type(model)
        base, memory, adapter, out = (os.path.join(work, x) for x in ("base", "memory", "adapter", "out"))
        for d in (base, memory, adapter):
            shutil.rmtree(d, ignore_errors=True)
        model.save_pretrained(base)
        model.save_pretrained(memory, save_original_format=False)
        os.makedirs(adapter)
        tensors, disk, g = {}, load_file(os.path.join(base, "model.safetensors")), torch.Generator().manual_seed(3)
        for n, w in disk.items():
            if f".{parent}.experts." in n:
                path = "base_model.model." + n.removesuffix(".weight")
                tensors[path + ".lora_A.weight"] = torch.randn(4, w.shape[1], generator=g) * 0.1
                tensors[path + ".lora_B.weight"] = torch.randn(w.shape[0], 4, generator=g) * 0.1
        save_file(tensors, os.path.join(adapter, "adapter_model.safetensors"), {"format": "pt"})
        json.dump({"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": list(projections), "peft_version": "0.17.1", "task_type": "CAUSAL_LM"}, open(os.path.join(adapter, "adapter_config.json"), "w"))
        exact = PeftModel.from_pretrained(cls.from_pretrained(base, dtype=torch.float64), adapter, autocast_adapter_dtype=False).merge_and_unload().state_dict()
        for what, folder in (("names on disk", base), ("names in memory", memory)):
            results.append((f"{name}, adapter of transformers 4, {what}", compare(args, cls, folder, adapter, out, torch.float32, exact, len(tensors) // 2)))
    return results


# What transformers 4 called the parts of models of text and images.
OLD = {
    **dict.fromkeys(["llava", "paligemma", "gemma3", "mistral3"], {"model.language_model.": "language_model.model.", "model.vision_tower.": "vision_tower.", "model.multi_modal_projector.": "multi_modal_projector."}),
    "qwen2_vl": {"model.language_model.": "model.", "model.visual.": "visual."},
    "qwen2_5_vl": {"model.language_model.": "model.", "model.visual.": "visual."},
}


def old_vision(args, work):
    """Adapters for text and images with the names of transformers 4 do what
    the same adapters do with those of today."""
    results = []
    for name, renames in OLD.items():
        torch.manual_seed(2)
        model = FAMILIES[name]()
        cls, (linear, _) = type(model), targets(model)
        base, memory, adapter, out = (os.path.join(work, x) for x in ("base", "memory", "adapter", "out"))
        for d in (base, memory, adapter):
            shutil.rmtree(d, ignore_errors=True)
        model.save_pretrained(base)
        model.save_pretrained(memory, save_original_format=False)
        pm = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=[n for n in linear if "vision_model" not in n]))
        randomize(pm)
        pm.save_pretrained(adapter)
        exact = pm.double().merge_and_unload().state_dict()
        path, prefix = os.path.join(adapter, "adapter_model.safetensors"), "base_model.model."
        old = {prefix + next((o + n.removeprefix(prefix + new) for new, o in renames.items() if n.startswith(prefix + new)), n.removeprefix(prefix)): t for n, t in load_file(path).items()}
        save_file(old, path, {"format": "pt"})
        config = json.load(open(os.path.join(adapter, "adapter_config.json")))
        config["target_modules"] = sorted({n.rsplit(".", 3)[1] for n in old})
        json.dump(config, open(os.path.join(adapter, "adapter_config.json"), "w"))
        for what, folder in (("names on disk", base), ("names in memory", memory)):
            results.append((f"{name}, adapter of transformers 4, {what}", compare(args, cls, folder, adapter, out, torch.float32, exact, len(old) // 2)))
    return results


def other_family(args, work):
    """An adapter of one family on a base of another names three nearest tensors."""
    base, adapter, out = (os.path.join(work, x) for x in ("base", "adapter", "out"))
    results = []
    for of, on in (("mixtral", "vit"), ("vit", "mixtral"), ("t5", "llama"), ("qwen3_moe", "gpt_neox"), ("qwen2_vl", "mixtral"), ("llava", "qwen3_moe"), ("gpt_oss", "deepseek_v3"), ("qwen3_vl_moe", "llama"), ("deepseek_v3", "qwen2_vl"), ("mixtral", "qwen3_next"), ("gemma3", "bert")):
        for d in (base, adapter):
            shutil.rmtree(d, ignore_errors=True)
        model = FAMILIES[of]()
        linear, stacks = targets(model)
        pm = get_peft_model(model, LoraConfig(r=2, target_modules=linear, target_parameters=stacks or None))
        randomize(pm)
        pm.save_pretrained(adapter)
        FAMILIES[on]().save_pretrained(base)
        run = merge(args, base, adapter, out)
        bad = []
        if run.returncode != 3 or os.path.exists(out):
            bad.append(f"exit {run.returncode}, expected 3 and no output")
        hint = [line for line in run.stderr.splitlines() if "the nearest tensors are " in line]
        if not hint or len([n for n in names_of(base) if n in hint[0]]) < 3:
            bad.append(f"no three names of the base in: {run.stderr.strip()}")
        results.append((f"adapter of {of} on {on}", bad))
    return results


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--loratool", required=True)
    p.add_argument("--only", nargs="*")
    p.add_argument("--verbose", action="store_true")
    p.add_argument("--table", action="store_true", help="write which classes exercise which keys, and stop")
    args = p.parse_args()
    T.logging.set_verbosity_error()
    passed, failed = 0, []
    with tempfile.TemporaryDirectory() as work:
        if args.table:
            json.dump(table(args, work), open(EXERCISED, "w"), indent=1)
            return
        exercised = json.load(open(EXERCISED))
        jobs = {n: (lambda n=n: family(args, n, work) + extract(args, n, work) + (parts(args, n, work) if n in PARTS else [])) for n in FAMILIES}
        jobs["map"] = lambda: [("data file", [f"{k} differs from transformers {T.__version__}: run interop/dump_names.py" for k in changed_families() + changed_classes(CHECKED)])]
        jobs["keys"] = lambda: keys_exercised(exercised) + [(f"{n}, for {', '.join(keys)}", sweep(args, n, work)) for n, keys in exercised["models"].items()]
        jobs["transformers 4"] = lambda: old_adapters(args, work) + old_vision(args, work)
        jobs["other family"] = lambda: other_family(args, work)
        for name, job in jobs.items():
            if args.only and name not in args.only:
                continue
            try:
                results = job()
            except Exception:
                results = [("", [traceback.format_exc(limit=-4)])]
            for what, bad in results:
                passed += not bad
                if bad:
                    failed.append(name)
                    print(f"FAIL {name}: {what}" + "".join(f"\n  {b}" for b in bad[:6]) + (f"\n  and {len(bad) - 6} more" if len(bad) > 6 else ""), flush=True)
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()

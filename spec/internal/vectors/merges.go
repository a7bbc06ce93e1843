package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/merge"
)

// merges are vectors of whole merges. Their digests are those of this
// project's merge; the independent checker computes them in rational numbers.
func merges() ([]vector, error) {
	conv1D := plain().with("fan_in_fan_out", "true", "target_modules", `["c_attn"]`)
	layer := pair(q, 2, 4, 3)
	all := []vector{
		{name: "linear_bf16", comment: "a delta on a weight in BF16, rounded once", files: also(folder(plain(), pt, layer...), base("", bf16(q+".weight", -1, 0.5, 3, 4), bf16("model.norm.weight", 1, 0, 4)))},
		{name: "linear_f16", comment: "a delta on a weight in F16", files: also(folder(plain().with("lora_alpha", "3"), pt, layer...), base("", tensor{q + ".weight", "F16", []int{3, 4}, halves(12)}))},
		{name: "conv1d", comment: "the base stores [in, out]", files: also(folder(conv1D, pt, pair(attn, 2, 4, 3)...), base(`{"model_type":"gpt2"}`, bf16(attn+".weight", -1, 0.5, 4, 3)))},
		{name: "rslora", comment: "the scaling is alpha / sqrt(r) in float64", files: also(folder(plain().with("use_rslora", "true"), pt, layer...), base("", weight()))},
		{name: "patterns", comment: "two modules of two ranks and scalings", files: also(
			folder(plain().with("target_modules", `["q_proj","v_proj"]`, "rank_pattern", `{"v_proj":4}`, "alpha_pattern", `{".*v_proj":3}`), pt, append(factors(), pair("model.layers.0.self_attn.v_proj", 4, 4, 3)...)...),
			base("", bf16(q+".weight", -1, 0.5, 3, 4), bf16("model.layers.0.self_attn.v_proj.weight", 2, 0.25, 3, 4)))},
		{name: "embedding", comment: "the delta of an embedding is (B·A) transposed", files: also(
			folder(plain().with("target_modules", `["embed_tokens"]`), pt, f32(prefix+"model.embed_tokens.lora_embedding_A", 0.5, 0.25, 2, 5), f32(prefix+"model.embed_tokens.lora_embedding_B", -1, 0.5, 4, 2)),
			base("", bf16("model.embed_tokens.weight", 0, 1, 5, 4), bf16("lm_head.weight", 1, 1, 5, 4)))},
	}
	for i := range all {
		all[i].expect, all[i].base = "merge", "base"
		var err error
		if all[i].sha256, err = merged(all[i].files); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// halves are the F16 values 1, 1.5, 2, 3, …: rising bit patterns.
func halves(n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, 0, byte(0x3c+2*(i%4)))
	}
	return b
}

// merged returns the digest of the merged file.
func merged(files map[string][]byte) (string, error) {
	dir, err := os.MkdirTemp("", "vectors")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := writeFiles(dir, files); err != nil {
		return "", err
	}
	base, err := checkpoint.Open(filepath.Join(dir, "base"), checkpoint.Options{})
	if err != nil {
		return "", err
	}
	defer base.Close()
	adapter, err := dialect.OpenPEFT(filepath.Join(dir, "adapter"))
	if err != nil {
		return "", err
	}
	defer adapter.Close()
	out := filepath.Join(dir, "out")
	if _, err := merge.Apply(context.Background(), out, base, []merge.Weighted{{Adapter: adapter.Adapter, Weight: 1}}, merge.Options{}); err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(out, "model.safetensors"))
	return sum(data), err
}

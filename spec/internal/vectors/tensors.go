package main

import (
	"encoding/binary"
	"math"
)

// at sets one value of a tensor of F32.
func (t tensor) at(i int, x float32) tensor {
	t.data = append([]byte(nil), t.data...)
	binary.LittleEndian.PutUint32(t.data[4*i:], math.Float32bits(x))
	return t
}

const (
	nameA = prefix + q + ".lora_A.weight"
	nameB = prefix + q + ".lora_B.weight"
)

// tensors are the vectors of the rules AD about what is in the weights.
func tensors() []vector {
	a, b := factors()[0], factors()[1]
	with := func(ts ...tensor) map[string][]byte { return folder(plain(), pt, ts...) }
	reject := func(rule, name, comment string, files map[string][]byte) vector {
		return vector{name: name, expect: "reject", rules: rule, comment: comment, files: files}
	}
	warn := func(rule, name, comment string, files map[string][]byte) vector {
		return vector{name: rule + "_" + name, warn: rule, comment: comment, files: files}
	}
	deep := func(v vector) vector { v.deep = true; return v }
	nan := float32(math.NaN())
	two := []string{"target_modules", `["q_proj","v_proj"]`}
	v := pair("model.layers.0.self_attn.v_proj", 4, 8, 6)
	tokens := f32(prefix+"model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 1, 2, 4)
	return []vector{
		{name: "adapter_values", comment: "finite values, none of the factors zero", rules: "AD011 AD012 AD013 AD014 AD015 AD016 AD017 AD018 AD019 AD020 AD023 AD024 AD025 AD026 AD047", deep: true, files: with(a, b)},
		{name: "adapter_rank_pattern", comment: "two modules of two ranks and two alphas; patterns match the end of a path, and the first that matches counts", rules: "AD012 AD032 AD034 AD048 AD041",
			files: folder(plain().with(append(two, "rank_pattern", `{"v_proj":4,"layers.0.self_attn.v_proj":8}`, "alpha_pattern", `{"^model.layers.0.self_attn.v_proj":6}`, "peft_version", `"0.15.0"`)...), pt, append(factors(), v...)...)},
		{name: "adapter_rslora", comment: "the scaling is alpha divided by the root of the rank", rules: "AD041", files: folder(plain().with("use_rslora", "true"), pt, a, b)},
		{name: "adapter_dora", comment: "a magnitude for each output", rules: "AD031",
			files: folder(plain().with("use_dora", "true"), pt, a, b, f32(prefix+q+".lora_magnitude_vector", 1, 1, 3))},
		{name: "adapter_embedding", comment: "factors of an embedding have no .weight in their names", rules: "AD014",
			files: folder(plain().with("target_modules", `["embed_tokens"]`), pt, f32(prefix+"model.embed_tokens.lora_embedding_A", 1, 1, 2, 5), f32(prefix+"model.embed_tokens.lora_embedding_B", 1, 1, 4, 2))},
		{name: "adapter_conv", comment: "a convolution: the kernel is in A, and 1 in B", rules: "AD014",
			files: folder(plain().with("target_modules", `["conv"]`), pt, f32(prefix+"conv.lora_A.weight", 1, 1, 2, 4, 3, 3), f32(prefix+"conv.lora_B.weight", 1, 1, 5, 2, 1, 1))},
		{name: "adapter_modules_to_save", comment: "a replaced head beside a module", rules: "AD037",
			files: folder(plain().with("modules_to_save", `["score"]`), pt, a, b, f32(prefix+"score.weight", 1, 1, 2, 3))},
		{name: "adapter_tokens", comment: "two trained rows of the embedding", rules: "AD046",
			files: folder(plain().with("trainable_token_indices", `{"embed_tokens":[3,1]}`), pt, a, b, tokens)},
		{name: "adapter_lora_bias", comment: "B has a bias", rules: "AD011", files: folder(plain().with("lora_bias", "true"), pt, a, b, f32(prefix+q+".lora_B.bias", 1, 1, 3))},
		reject("AD011", "a_alone", "A without B", with(a)),
		reject("AD011", "b_alone", "B without A", with(b)),
		reject("AD012", "rank", "factors of rank 3 beside r of 2", with(pair(q, 3, 4, 3)...)),
		reject("AD013", "inner", "A of rank 2 and B of rank 3", with(a, f32(nameB, 1, 1, 3, 3))),
		reject("AD014", "vector", "A has one dimension", with(f32(nameA, 1, 1, 8), b)),
		reject("AD014", "kernel_in_b", "a kernel in B", folder(plain().with("target_modules", `["conv"]`), pt, f32(prefix+"conv.lora_A.weight", 1, 1, 2, 4, 1, 1), f32(prefix+"conv.lora_B.weight", 1, 1, 3, 2, 3, 3))),
		reject("AD015", "integers", "factors of integers", with(a.as("I32"), b.as("I32"))),
		warn("AD016", "mixed", "A and B of two dtypes", with(bf16(nameA, 0.5, 0.25, 2, 4), b)),
		deep(reject("AD017", "nan", "a NaN in B", with(a, b.at(4, nan)))),
		deep(reject("AD017", "infinite", "an infinity in A", with(a.at(7, float32(math.Inf(-1))), b))),
		deep(reject("AD017", "bias", "a NaN in the bias of B", folder(plain().with("lora_bias", "true"), pt, a, b, f32(prefix+q+".lora_B.bias", nan, 0, 3)))),
		deep(reject("AD017", "magnitude", "an infinity in a magnitude", folder(plain().with("use_dora", "true"), pt, a, b, f32(prefix+q+".lora_magnitude_vector", 1, 1, 3).at(1, float32(math.Inf(1)))))),
		deep(warn("AD017", "replaced", "a NaN in a replaced head, which may be meant", folder(plain().with("modules_to_save", `["score"]`), pt, a, b, f32(prefix+"score.weight", 1, 1, 2, 3).at(2, nan)))),
		deep(warn("AD017", "rows", "a NaN in a trained row of the embedding", folder(plain().with("trainable_token_indices", `{"embed_tokens":[3,1]}`), pt, a, b, tokens.at(5, nan)))),
		deep(warn("AD018", "zero", "a B of zeros", with(a, f32(nameB, 0, 0, 3, 2)))),
		deep(warn("AD019", "zero", "an A of zeros, one of them negative", with(f32(nameA, 0, 0, 2, 4).at(3, float32(math.Copysign(0, -1))), b))),
		warn("AD020", "stranger", "a tensor that is no part of LoRA", with(a, b, f32(prefix+"model.norm.running_mean", 1, 1, 2))),
		warn("AD020", "adapted_too", "a replacement for a weight that is adapted too", with(a, b, f32(prefix+q+".weight", 1, 1, 3, 4))),
		reject("AD023", "two_prefixes", "a module with and without the prefix", with(a, b, a.named(q+".lora_A.weight"))),
		warn("AD024", "default_infix", "names with the adapter's name in them, as a training state has them", with(a.named(prefix+q+".lora_A.default.weight"), b.named(prefix+q+".lora_B.default.weight"))),
		warn("AD024", "no_prefix", "names without the prefix", with(a.named(q+".lora_A.weight"), b.named(q+".lora_B.weight"))),
		reject("AD047", "two_adapters", "two adapters in one file", with(a.named(prefix+q+".lora_A.one.weight"), b.named(prefix+q+".lora_B.one.weight"),
			pair("model.layers.1.self_attn.q_proj", 2, 4, 3)[0].named(prefix+"model.layers.1.self_attn.q_proj.lora_A.two.weight"), pair("model.layers.1.self_attn.q_proj", 2, 4, 3)[1].named(prefix+"model.layers.1.self_attn.q_proj.lora_B.two.weight"))),
		reject("AD025", "empty", "empty factors, as DeepSpeed ZeRO-3 leaves them", with(f32(nameA, 0, 0, 0), f32(nameB, 0, 0, 0))),
		reject("AD026", "nothing", "a file without tensors", with()),
		reject("AD031", "no_magnitude", "use_dora without magnitudes", folder(plain().with("use_dora", "true"), pt, a, b)),
		warn("AD031", "magnitude", "a magnitude without use_dora, which PEFT drops", with(a, b, f32(prefix+q+".lora_magnitude_vector", 1, 1, 3))),
		warn("AD032", "no_match", "a rank_pattern that matches nothing", folder(plain().with("rank_pattern", `{"k_proj":4}`), pt, a, b)),
		warn("AD034", "no_match", "an alpha_pattern that matches nothing", folder(plain().with("alpha_pattern", `{"k_proj":4}`), pt, a, b)),
		warn("AD040", "rank", "a rank of 5 for a weight of 3 by 4", folder(plain().with("r", "5"), pt, pair(q, 5, 4, 3)...)),
		warn("AD041", "rslora", "use_rslora with a pattern", folder(plain().with("use_rslora", "true", "alpha_pattern", `{"q_proj":6}`), pt, a, b)),
		warn("AD022", "excluded", "a module that exclude_modules names", folder(plain().with("exclude_modules", `["layers.0.self_attn.q_proj"]`), pt, append(factors(), pair("model.layers.1.self_attn.q_proj", 2, 4, 3)...)...)),
		warn("AD022", "other_layer", "a module of a layer that layers_to_transform does not have", folder(plain().with("layers_to_transform", "[1]"), pt, append(factors(), pair("model.layers.1.self_attn.q_proj", 2, 4, 3)...)...)),
		{name: "adapter_one_layer", comment: "layers_to_transform with the one layer that is there, by layers_pattern", rules: "AD003 AD022", files: folder(plain().with("layers_to_transform", "0", "layers_pattern", `["layers"]`), pt, a, b)},
		reject("AD003", "task", "a task that PEFT does not know", folder(plain().with("task_type", `"CHAT"`), pt, a, b)),
		reject("AD003", "bias_and_dora", "a bias of B beside DoRA", folder(plain().with("lora_bias", "true", "use_dora", "true"), pt, a, b, f32(prefix+q+".lora_B.bias", 1, 1, 3), f32(prefix+q+".lora_magnitude_vector", 1, 1, 3))),
		reject("AD003", "layers_empty", "an empty list of layers beside a regular expression", folder(plain().with("target_modules", `".*q_proj"`, "layers_to_transform", "[]"), pt, a, b)),
		warn("AD048", "anchored", "a key that PEFT before 0.15 does not match", folder(plain().with("alpha_pattern", `{"^model.layers.0.self_attn.q_proj":6}`), pt, a, b)),
		warn("AD048", "shadowed", "an alpha whose key a key of rank_pattern hides from PEFT before 0.14", folder(plain().with("rank_pattern", `{"q_proj":2}`, "alpha_pattern", `{"self_attn.q_proj":6}`), pt, a, b)),
		reject("AD046", "no_rows", "an index and no trained rows", folder(plain().with("trainable_token_indices", `[3]`), pt, a, b)),
		reject("AD046", "one_index", "two trained rows and one index", folder(plain().with("trainable_token_indices", `{"embed_tokens":[3]}`), pt, a, b, tokens)),
	}
}

package main

// profiles are the vectors of the rules PF: adapters that are valid, and that
// some program does not serve.
func profiles() []vector {
	a, b := factors()[0], factors()[1]
	v := pair("model.layers.0.self_attn.v_proj", 4, 8, 6)
	both := plain().with("target_modules", `["q_proj","v_proj"]`)
	on := func(profile, rule, name, comment string, files map[string][]byte) vector {
		return vector{name: profile + "_" + name, expect: "reject", rules: rule, profile: profile, comment: comment, files: files}
	}
	with := func(pairs ...string) map[string][]byte { return folder(plain().with(pairs...), pt, a, b) }
	stack := []tensor{f32(prefix+"experts.lora_A.weight", 1, 1, 4, 3), f32(prefix+"experts.lora_B.weight", 1, 1, 3, 4)}
	return []vector{
		{name: "serves_vllm", profile: "vllm", comment: "nothing that vLLM refuses", files: with(), rules: "PF001 PF002 PF003 PF004 PF005 PF006 PF008 PF010 PF012 PF013 PF014 PF015"},
		{name: "serves_lorax", profile: "lorax", comment: "nothing that LoRAX refuses", files: with(), rules: "PF009 PF011 PF016"},
		{name: "serves_sglang", profile: "sglang", comment: "q and v with one rank and one scaling: nothing that SGLang refuses", files: folder(both, pt, append(factors(), pair("model.layers.0.self_attn.v_proj", 2, 4, 3)...)...), rules: "PF005 PF006 PF007 PF013 PF020"},
		{name: "serves_llamacpp", profile: "llamacpp", comment: "nothing that llama.cpp's converter refuses", files: with(), rules: "PF007 PF017"},
		{name: "serves_llamacpp_ranks", profile: "llamacpp", comment: "two ranks of one alpha: llama.cpp takes the rank from the tensors", files: folder(both.with("rank_pattern", `{"v_proj":4}`), pt, append(factors(), v...)...), rules: "PF006"},
		{name: "serves_comfy", profile: "comfy", comment: "a scaling of 1", files: with("lora_alpha", "2"), rules: "PF019"},
		{name: "serves_mlx", profile: "mlx", comment: "nothing that mlx-lm cannot hold", files: with(), rules: "PF018"},
		on("vllm", "PF001", "rank_513", "a rank above 512", folder(plain().with("r", "513"), pt, tensor{nameA, "F8_E4M3", []int{513, 2}, ones(1026)}, tensor{nameB, "F8_E4M3", []int{1, 513}, ones(513)})),
		{name: "PF001_rank_17", profile: "vllm", warn: "PF001", comment: "a rank above 16, which needs an option of the server", files: folder(plain().with("r", "17"), pt, bf16(nameA, 0.5, 0.25, 17, 17), bf16(nameB, 0.5, 0.25, 17, 17))},
		on("vllm", "PF002", "head", "a replaced head", folder(plain().with("modules_to_save", `["lm_head"]`), pt, a, b, f32(prefix+"lm_head.weight", 1, 1, 2, 3))),
		on("vllm", "PF002", "dense", "a part of a classifier that is not its output", folder(plain().with("modules_to_save", `["classifier"]`), pt, a, b, f32(prefix+"classifier.dense.weight", 1, 1, 2, 3))),
		on("vllm", "PF014", "infix", "names with the adapter's name in them", folder(plain(), pt, a.named(prefix+q+".lora_A.default.weight"), b.named(prefix+q+".lora_B.default.weight"))),
		{name: "serves_vllm_bare", profile: "vllm", warn: "AD024", comment: "names without the prefix, which vLLM reads", files: folder(plain(), pt, a.named(q+".lora_A.weight"), b.named(q+".lora_B.weight")), rules: "PF014"},
		on("vllm", "PF003", "dora", "a DoRA magnitude", folder(plain().with("use_dora", "true"), pt, a, b, f32(prefix+q+".lora_magnitude_vector", 1, 1, 3))),
		on("vllm", "PF004", "bias", "trained biases", folder(plain().with("bias", `"lora_only"`), pt, a, b, f32(prefix+q+".base_layer.bias", 1, 1, 3))),
		on("sglang", "PF005", "ranks", "two ranks", folder(both.with("rank_pattern", `{"v_proj":4}`, "alpha_pattern", `{"v_proj":8}`), pt, append(factors(), v...)...)),
		on("lorax", "PF006", "alphas", "two scalings", folder(both.with("alpha_pattern", `{"v_proj":8}`), pt, append(factors(), pair("model.layers.0.self_attn.v_proj", 2, 8, 6)...)...)),
		on("sglang", "PF006", "all_by_pattern", "one scaling of all modules, by a pattern and not by lora_alpha", folder(both.with("alpha_pattern", `{"q_proj":8,"v_proj":8}`), pt, append(factors(), pair("model.layers.0.self_attn.v_proj", 2, 4, 3)...)...)),
		on("llamacpp", "PF006", "alphas", "two ranks of one scaling, and so of two alphas", folder(both.with("rank_pattern", `{"v_proj":4}`, "alpha_pattern", `{"v_proj":8}`), pt, append(factors(), v...)...)),
		on("llamacpp", "PF007", "rslora", "rsLoRA", with("use_rslora", "true")),
		on("vllm", "PF008", "bias_of_b", "a bias of B", folder(plain().with("lora_bias", "true"), pt, a, b, f32(prefix+q+".lora_B.bias", 1, 1, 3))),
		on("lorax", "PF009", "embedding", "an adapted embedding", folder(plain().with("target_modules", `["embed_tokens"]`), pt,
			f32(prefix+"model.embed_tokens.lora_embedding_A", 1, 1, 2, 5), f32(prefix+"model.embed_tokens.lora_embedding_B", 1, 1, 4, 2))),
		on("vllm", "PF010", "convolution", "an adapted convolution", folder(plain().with("target_modules", `["conv"]`), pt,
			f32(prefix+"conv.lora_A.weight", 1, 1, 2, 4, 3, 3), f32(prefix+"conv.lora_B.weight", 1, 1, 5, 2, 1, 1))),
		on("llamacpp", "PF011", "experts", "a stack of experts", folder(plain().with("target_modules", "[]", "target_parameters", `["experts.down_proj"]`), pt, stack...)),
		on("vllm", "PF012", "tokens", "trained token rows", folder(plain().with("trainable_token_indices", `{"embed_tokens":[3,1]}`), pt, a, b,
			f32(prefix+"model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 1, 2, 4))),
		on("sglang", "PF013", "no_targets", "no target_modules", folder(both.with("target_modules", "null"), pt, append(factors(), pair("model.layers.0.self_attn.v_proj", 2, 4, 3)...)...)),
		on("sglang", "PF013", "expression", "a regular expression for target_modules", folder(plain().with("target_modules", `".*(q|v)_proj"`), pt, append(factors(), pair("model.layers.0.self_attn.v_proj", 2, 4, 3)...)...)),
		on("sglang", "PF020", "q_alone", "q without v", with()),
		on("sglang", "PF020", "up_alone", "up without gate", folder(plain().with("target_modules", `["up_proj"]`), pt, pair("model.layers.0.mlp.up_proj", 2, 4, 3)...)),
		on("lorax", "PF007", "rslora", "rsLoRA", with("use_rslora", "true")),
		on("lorax", "PF014", "infix", "names with the adapter's name in them", folder(plain(), pt, a.named(prefix+q+".lora_A.default.weight"), b.named(prefix+q+".lora_B.default.weight"))),
		on("sglang", "PF015", "pissa", "an initialisation that changes the base", folder(both.with("init_lora_weights", `"pissa"`), pt, append(factors(), pair("model.layers.0.self_attn.v_proj", 2, 4, 3)...)...)),
		on("lorax", "PF016", "gap", "a module in the first and the third layer of three", folder(plain(), pt, append(factors(), pair("model.layers.2.self_attn.q_proj", 2, 4, 3)...)...)),
		on("llamacpp", "PF017", "conv1d", "an adapter of GPT-2", folder(plain().with("fan_in_fan_out", "true", "target_modules", `["c_attn"]`), pt, pair(attn, 2, 4, 3)...)),
		on("mlx", "PF018", "fp8", "factors of FP8", folder(plain(), pt, tensor{nameA, "F8_E4M3", []int{2, 4}, ones(8)}, tensor{nameB, "F8_E4M3", []int{3, 2}, ones(6)})),
		on("comfy", "PF019", "scaling", "a scaling of 2", with()),
	}
}

// ones are values of F8_E4M3 that are 1.
func ones(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0x38
	}
	return b
}

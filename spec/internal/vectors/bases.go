package main

// bases are the vectors of the rules AD that need a base.
func bases() []vector {
	adapter := folder(plain(), pt, factors()...)
	tied := `{"model_type":"llama","tie_word_embeddings":true}`
	embedding := f32("model.embed_tokens.weight", 0, 1, 5, 4)
	head := folder(plain().with("target_modules", `["lm_head"]`), pt, pair("lm_head", 2, 4, 5)...)
	huge := folder(plain(), pt, f32(nameA, 1e30, 0, 2, 4), f32(nameB, 1e30, 0, 3, 2))
	saved := func(first float32) map[string][]byte {
		return folder(plain().with("target_modules", `["embed_tokens"]`), pt, f32(prefix+"model.embed_tokens.lora_embedding_A", 1, 1, 2, 5), f32(prefix+"model.embed_tokens.lora_embedding_B", 1, 1, 4, 2),
			bf16(prefix+"model.embed_tokens.base_layer.weight", first, 1, 5, 4))
	}
	return []vector{
		{name: "fits_base_copy", base: "base", deep: true, comment: "a copy of the base's embedding, in another dtype", rules: "AD049", files: also(saved(0), base("", embedding))},
		{name: "other_copy", expect: "unsupported", rules: "AD049", base: "base", deep: true, comment: "a copy of another embedding than the base's, which PEFT puts in its place", files: also(saved(1), base("", embedding))},
		{name: "fits_base", base: "base", comment: "the module is in the base, and its factors fit", rules: "AD027 AD028 AD029 AD045", files: also(adapter, base(tied, weight(), embedding))},
		{name: "fits_base_transposed", base: "base", comment: "GPT-2 stores [in, out]: the factors fit all the same", rules: "AD027",
			files: also(adapter, base(`{"model_type":"gpt2"}`, f32(q+".weight", -1, 0.5, 4, 3)))},
		{name: "fits_base_prefix", base: "base", comment: "the base has the names of the model without head", rules: "AD028", files: also(adapter, base("", weight().named("layers.0.self_attn.q_proj.weight")))},
		{name: "shape", expect: "reject", rules: "AD027", base: "base", comment: "the weight of the base is 3 by 5, the factors make 3 by 4", files: also(adapter, base("", f32(q+".weight", -1, 0.5, 3, 5)))},
		{name: "absent", expect: "reject", rules: "AD028", base: "base", comment: "the base has no such weight", files: also(adapter, base("", weight().named("model.layers.0.self_attn.v_proj.weight")))},
		{name: "no_bias", expect: "unsupported", rules: "AD028", base: "base", comment: "a bias of B for a layer that has no bias: PEFT applies it, and it cannot be merged",
			files: also(folder(plain().with("lora_bias", "true"), pt, append(factors(), f32(prefix+q+".lora_B.bias", 1, 1, 3))...), base("", weight()))},
		{name: "fits_base_zero_bias", base: "base", comment: "a bias of zeros for a layer that has no bias, which another module's bias asks for: nothing to merge", rules: "AD028 LT012",
			files: also(folder(plain().with("lora_bias", "true"), bound(weight()), append(factors(), f32(prefix+q+".lora_B.bias", 0, 0, 3))...), base("", weight()))},
		{name: "AD029_tied_head", warn: "AD029", base: "base", comment: "a delta on the head alone, which is tied to the embedding", files: also(head, base(tied, embedding))},
		{name: "AD029_tied_head_replaced", warn: "AD029", base: "base", comment: "a replaced head, which is tied to the embedding",
			files: also(folder(plain().with("modules_to_save", `["lm_head"]`), pt, append(factors(), f32(prefix+"lm_head.weight", 1, 1, 5, 4))...), base(tied, weight(), embedding))},
		{name: "infinite", expect: "reject", rules: "AD045", base: "base", comment: "finite factors whose product is not: a merge must refuse it", files: also(huge, base("", weight()))},
	}
}

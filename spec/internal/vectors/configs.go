package main

import "strings"

// configs are the vectors of the rules AD about adapter_config.json and the
// files of the folder.
func configs() []vector {
	weights := st(pt, factors()...)
	with := func(pairs ...string) map[string][]byte { return folder(plain().with(pairs...), pt, factors()...) }
	text := func(json string) map[string][]byte {
		return map[string][]byte{"adapter/adapter_config.json": []byte(json), "adapter/adapter_model.safetensors": weights}
	}
	reject := func(rule, name, comment string, files map[string][]byte) vector {
		return vector{name: name, expect: "reject", rules: rule, comment: comment, files: files}
	}
	warn := func(rule, name, comment string, files map[string][]byte) vector {
		return vector{name: rule + "_" + name, warn: rule, comment: comment, files: files}
	}
	onlyConfig := map[string][]byte{"adapter/adapter_config.json": plain().bytes()}
	return []vector{
		{name: "adapter_plain", comment: "one module, nothing special", files: with(),
			rules: "AD001 AD002 AD003 AD004 AD005 AD006 AD007 AD008 AD009 AD010 AD021 AD022 AD030 AD035 AD036 AD038 AD040 AD043"},
		{name: "adapter_big_integers", comment: "alpha is a number with a fraction, r the largest rank there may be for others", files: with("lora_alpha", "2.5"), rules: "AD005"},
		{name: "adapter_saved_by_peft", comment: "auto_mapping of a library that PEFT imports", rules: "AD044",
			files: with("auto_mapping", `{"base_model_class":"LlamaModel","parent_library":"transformers.models.llama.modeling_llama"}`)},
		{name: "adapter_expression", comment: "target_modules is a regular expression for whole paths", rules: "AD033", files: with("target_modules", `".*\\.(q|v)_proj"`)},
		reject("AD001", "no_config", "weights without a config", map[string][]byte{"adapter/adapter_model.safetensors": weights}),
		reject("AD002", "nan", "a config with NaN, which Python writes", text(strings.Replace(string(plain().bytes()), `"lora_alpha": 4`, `"lora_alpha": NaN`, 1))),
		reject("AD002", "key_twice", "r twice, with two values", text(strings.Replace(string(plain().bytes()), `"r": 2`, `"r": 2, "r": 4`, 1))),
		reject("AD002", "byte_order_mark", "a byte order mark before the brace", text("\ufeff"+string(plain().bytes()))),
		reject("AD003", "bias", "a bias that there is not", with("bias", `"some"`)),
		reject("AD003", "flag_as_number", "a switch that is a number", with("use_rslora", "1")),
		reject("AD003", "regex_and_layers", "layers_to_transform beside a regular expression", with("target_modules", `".*q_proj"`, "layers_to_transform", "[0]")),
		reject("AD004", "zero", "a rank of 0", with("r", "0")),
		reject("AD004", "string", "a rank in quotes", with("r", `"2"`)),
		reject("AD004", "fraction", "a rank with a fraction", with("r", "2.0")),
		warn("AD004", "absent", "no rank: PEFT takes 8", folder(plain().with("r", ""), pt, pair(q, 8, 12, 9)...)),
		reject("AD005", "string", "an alpha in quotes", with("lora_alpha", `"4"`)),
		warn("AD005", "absent", "no alpha: PEFT takes 8", with("lora_alpha", "")),
		reject("AD006", "missing", "no peft_type", with("peft_type", "")),
		reject("AD006", "unknown", "a peft_type that there is not", with("peft_type", `"LORAX"`)),
		{name: "ia3", expect: "unsupported", rules: "AD007", comment: "an IA3 adapter, which is no LoRA",
			files: folder(plain().with("peft_type", `"IA3"`, "r", "", "lora_alpha", ""), pt, f32(prefix+q+".ia3_l", 1, 0, 3, 1))},
		{name: "pissa", expect: "unsupported", rules: "AD007", comment: "the base was changed before training", files: with("init_lora_weights", `"pissa"`)},
		reject("AD008", "no_weights", "a config without weights", onlyConfig),
		reject("AD009", "pickle", "weights in a pickle", also(onlyConfig, map[string][]byte{"adapter/adapter_model.bin": []byte("PK\x03\x04")})),
		warn("AD010", "pickle_beside", "a pickle beside the weights", also(with(), map[string][]byte{"adapter/adapter_model.bin": []byte("PK\x03\x04")})),
		warn("AD021", "target_without_tensors", "a target that the file has no module for", with("target_modules", `["q_proj","v_proj"]`)),
		warn("AD022", "module_without_target", "a module that no target names", folder(plain(), pt, append(factors(), pair("model.layers.0.self_attn.k_proj", 2, 4, 3)...)...)),
		warn("AD030", "no_base", "no name of the base", with("base_model_name_or_path", "null")),
		warn("AD033", "look_around", "a regular expression with look-around, which Python reads and others do not", with("target_modules", `"(?!x).*q_proj"`)),
		warn("AD035", "case", "a field in the wrong case", with("R", "64")),
		warn("AD036", "unknown", "a field that PEFT does not know", with("my_note", `"kept"`)),
		warn("AD037", "not_saved", "a module to save that the file does not have", with("modules_to_save", `["lm_head"]`)),
		warn("AD038", "negative_alpha", "a negative alpha", with("lora_alpha", "-4")),
		warn("AD038", "huge_alpha", "a scaling of 20,000", with("lora_alpha", "40000")),
		warn("AD043", "local_path", "a base on somebody's disk", with("base_model_name_or_path", `"/home/ada/models/base"`)),
		warn("AD044", "import", "a library that PEFT shall import", with("auto_mapping", `{"base_model_class":"Popen","parent_library":"subprocess"}`)),
	}
}

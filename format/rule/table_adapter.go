package rule

// adapterRules are the rules of an adapter: a folder with adapter_config.json
// and adapter_model.safetensors.
var adapterRules = []Rule{
	{"AD001", Fatal, "config missing", "An adapter folder has adapter_config.json beside its weights.", "copy adapter_config.json next to the weights"},
	{"AD002", Fatal, "config is not strict JSON", "adapter_config.json is a JSON object in UTF-8 of at most 8 MiB, without repeated keys, NaN or Infinity.", "write the config again with json.dump(…, allow_nan=False)"},
	{"AD003", Fatal, "field of the wrong type", "Every field that PEFT knows has the type that PEFT gives it.", ""},
	{"AD004", Fatal, "bad rank", "r is an integer from 1 to 2^20, written without fraction or quotes.", ""},
	{"AD005", Fatal, "bad alpha", "lora_alpha is a finite number.", ""},
	{"AD006", Fatal, "bad peft_type", "peft_type is a type that PEFT knows.", `write "peft_type": "LORA" for a LoRA adapter`},
	{"AD008", Fatal, "weights missing", "An adapter folder has adapter_model.safetensors.", "download the weights, or look in the checkpoint's subfolders"},
	{"AD009", Fatal, "weights in a pickle", "Weights are in a safetensors file; pickles are never run.", "load it with PEFT and call save_pretrained(…, safe_serialization=True)"},
	{"AD011", Fatal, "half a module", "A module has all of its parts: A and B, and with lora_bias the bias of B.", "save the adapter again; a part of it is lost"},
	{"AD012", Fatal, "rank differs from the config", "The rank of A and B is r, or what rank_pattern gives for the module.", "correct r or rank_pattern"},
	{"AD013", Fatal, "ranks of A and B differ", "A has as many rows as B has columns.", ""},
	{"AD014", Fatal, "bad factor shape", "A and B have two dimensions, or three to five for a convolution, and B's kernel has size 1.", ""},
	{"AD015", Fatal, "bad factor dtype", "Factors have a floating-point dtype.", ""},
	{"AD017", Fatal, "not finite", "No value of a factor is NaN or infinite.", "the training diverged: use an earlier checkpoint of the adapter"},
	{"AD018", Warning, "B is all zero", "A trained module has a B that is not zero.", "the module has no effect: check that it was trained"},
	{"AD020", Warning, "tensor that is no part of LoRA", "Every tensor is a part of a module, or replaces one that the config names.", ""},
	{"AD023", Fatal, "module twice", "No module is spelt in two ways.", "remove one of the two"},
	{"AD024", Fatal, "several adapters in one file", "A file holds one adapter.", "save each adapter on its own with save_pretrained"},
	{"AD025", Fatal, "empty tensor", "No factor is empty.", "gather the weights before saving (DeepSpeed ZeRO-3: stage3_gather_16bit_weights_on_model_save)"},
	{"AD026", Fatal, "no LoRA tensors", "The file holds at least one LoRA tensor or replacement.", ""},
	{"AD027", Fatal, "does not fit the base", "Every module has the shape of the base's tensor.", "this may be an adapter for another base"},
	{"AD028", Fatal, "not in the base", "Every module and replacement has a tensor in the base, and only one.", "this may be an adapter for another base"},
	{"AD031", Fatal, "DoRA and config disagree", "Modules have a magnitude if use_dora is set, and none if not.", ""},
	{"AD035", Warning, "case of a field", "No field differs from a known one by case only.", "correct the spelling: it is not read as it stands"},
	{"AD036", Warning, "unknown field", "Every field is one that PEFT knows.", ""},
	{"AD037", Fatal, "token rows and config disagree", "trainable_token_indices lists one index for each trained row.", ""},
	{"AD045", Fatal, "overflow", "Merged values are finite in the output's dtype.", "check the adapter's scaling, or write a wider dtype with --dtype"},
}

package rule

// profileRules are what a program that serves adapters may not accept. They
// are checked only on demand; which of them a program has, and where that is
// written, says its profile (package validate).
var profileRules = []Rule{
	{"PF001", Fatal, "rank not served", "The rank is one that the program serves.", "pad the ranks: loratool normalize"},
	{"PF002", Fatal, "replaced modules", "The adapter replaces no tensor of the base.", "merge the adapter, or train without modules_to_save"},
	{"PF003", Fatal, "DoRA", "The adapter has no DoRA magnitudes.", "merge the adapter, or convert it to plain LoRA"},
	{"PF004", Fatal, "bias", "bias is none.", "merge the adapter, or train with bias none"},
	{"PF005", Fatal, "ranks differ", "All modules have the rank r. rank_pattern is not read.", "pad the ranks: loratool normalize"},
	{"PF006", Fatal, "scalings differ", "All modules have the scaling lora_alpha / r. alpha_pattern is not read.", "fold the scalings into the factors: loratool normalize"},
	{"PF007", Fatal, "rsLoRA", "use_rslora is off.", "fold the scalings into the factors: loratool normalize"},
	{"PF008", Fatal, "bias of B", "lora_bias is off.", "merge the adapter"},
	{"PF009", Fatal, "embedding", "No embedding is adapted.", "merge the adapter, or train without embeddings"},
	{"PF010", Fatal, "convolution", "No convolution is adapted.", "merge the adapter"},
	{"PF011", Fatal, "expert parameters", "No expert stack is adapted through target_parameters.", "merge the adapter"},
	{"PF012", Fatal, "trained token rows", "No token rows are trained.", "merge the adapter"},
	{"PF013", Fatal, "field missing", "The fields that the program demands are there, in a form that it reads.", "write the config again: loratool normalize"},
	{"PF014", Fatal, "name not read", "Tensors are named as the program expects, with base_model.model. in front and .weight at the end.", "write the adapter again: loratool normalize"},
	{"PF015", Fatal, "base was changed", "The initialisation left the base as it was.", "save the adapter again with PEFT's path_initial_model_for_weight_conversion"},
	{"PF016", Fatal, "layers left out", "Every layer has the modules that one of them has.", "merge the adapter, or add zero modules: loratool normalize"},
	{"PF017", Fatal, "Conv1D", "The base has no Conv1D layers, which store their weight transposed.", "merge the adapter"},
	{"PF018", Fatal, "dtype not read", "Factors have a dtype that the program reads.", "write the adapter in F32, F16 or BF16"},
	{"PF019", Fatal, "scaling is not 1", "The scaling is 1: a program that reads no config has no other.", "fold the scalings into the factors: loratool normalize"},
	{"PF020", Fatal, "part of a fused layer missing", "Modules of a layer that the program fuses are adapted together.", "merge the adapter, or train all parts of the layer"},
}

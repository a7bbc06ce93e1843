package rule

// additionRules are the rules of what this project's specification adds to
// PEFT's files: entries of __metadata__ whose keys begin with "lora.".
var additionRules = []Rule{
	{"LT001", Fatal, "bad version", "lora.spec is two decimal numbers with a dot between them, such as 1.0.", "write the version of the specification, 1.0"},
	{"LT002", Unhandled, "newer specification", "The first number of lora.spec is 1. Another one means another format.", "update the program that reads the file"},
	{"LT003", Unhandled, "unknown required feature", "Every feature of lora.required_features is known to the reader; one that is not means that the file cannot be understood.", "update the program that reads the file"},
	{"LT004", Fatal, "bad feature list", "lora.required_features is names of lower-case letters, digits, dots and hyphens, each once, with one space between them.", "write the list again"},
	{"LT005", Fatal, "bad base table", "lora.base.tensors is a JSON object of entries with dtype, shape and sha256, one for each weight.", "bind the adapter to its base again: loratool bind"},
	{"LT006", Fatal, "wrong fingerprint", "lora.base.fingerprint is that of lora.base.tensors, and neither is without the other.", "bind the adapter to its base again: loratool bind"},
	{"LT007", Fatal, "another base", "The weights of the base have the dtypes, shapes and digests of lora.base.tensors.", "use the base that the adapter is bound to, or bind it to this one: loratool bind"},
	{"LT008", Fatal, "tensor changed", "Every tensor has the digest that lora.tensors gives it.", "fetch the file again: its values were damaged or edited"},
	{"LT009", Fatal, "bad tensor table", "lora.tensors is a JSON object of digests, one for each tensor of the file.", "write the adapter again: loratool bind"},
	{"LT010", Fatal, "ranks or alphas disagree", "lora.modules gives every module the rank and alpha that the config gives it.", "remove lora.modules, or correct the config"},
	{"LT011", Warning, "unknown key", "Every key that begins with lora. is one of the version that lora.spec names.", "correct the spelling"},
	{"LT012", Warning, "binding incomplete", "lora.base.tensors has an entry for every module, and for nothing else.", "bind the adapter to its base again: loratool bind"},
	{"LT013", Warning, "bad provenance", "lora.provenance is a JSON object.", "write it again, or remove it"},
	{"LT014", Info, "format not named", "__metadata__ has the entry format with the value pt, which PEFT writes and some readers look for.", "write the adapter again"},
}

package rule

// tokenizerRules are the rules of tokenizer.json and of the chat template
// beside it, and of files of training data.
var tokenizerRules = []Rule{
	{"TD001", Fatal, "line is no sample", "Every line of a data file is a JSON object with prompt and completion, text, messages, or input_ids.", ""},
	{"TD002", Fatal, "no samples", "A data file has at least one sample.", ""},
	{"TK001", Fatal, "tokenizer is not strict JSON", "tokenizer.json is a JSON object in UTF-8 without repeated keys.", "download tokenizer.json again"},
	{"TK002", Fatal, "tokenizer contradicts itself", "Every part of tokenizer.json has the members it needs, and every token that a part names is in the vocabulary with one id.", "save the tokenizer again with save_pretrained"},
	{"TK003", Fatal, "bad chat template", "The chat template is a template that Jinja accepts, and it renders the messages without an error.", ""},
}

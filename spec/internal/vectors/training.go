package main

// training are the vectors of the rules TD and TK: what training reads beside
// the base's weights.
func training() []vector {
	const tokenizer = `{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,` +
		`"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`
	const template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
	tok := func(text, chat string) map[string][]byte {
		return map[string][]byte{"base/tokenizer.json": []byte(text + "\n"), "base/chat_template.jinja": []byte(chat)}
	}
	lines := func(text string) map[string][]byte { return map[string][]byte{"data.jsonl": []byte(text)} }
	sample := func(expect, rules, name, comment string, files map[string][]byte) vector {
		return vector{name: name, expect: expect, rules: rules, input: "data.jsonl", comment: comment, files: files}
	}
	text := func(expect, rules, name, comment string, files map[string][]byte) vector {
		return vector{name: name, expect: expect, rules: rules, input: "base/tokenizer.json", comment: comment, files: files}
	}
	return []vector{
		sample("", "TD001 TD002", "samples", "two samples of token ids, one with labels, and an empty line", lines(`{"input_ids":[1,2,3]}`+"\n\n"+`{"input_ids":[1,2],"labels":[-100,2]}`+"\n")),
		sample("reject", "TD001", "no_sample", "the second line has none of the members", lines(`{"input_ids":[1,2]}`+"\n"+`{"ids":[1,2]}`+"\n")),
		sample("reject", "TD001", "two_kinds", "a line with both input_ids and text", lines(`{"input_ids":[1,2],"text":"a"}`+"\n")),
		sample("reject", "TD001", "key_twice", "a line with a repeated key", lines(`{"input_ids":[1,2],"input_ids":[1]}`+"\n")),
		sample("reject", "TD002", "empty", "empty lines only", lines("\n\n")),
		text("", "TK001 TK002 TK003", "tokenizer", "three tokens, one merge, and a template", tok(tokenizer, template)),
		text("reject", "TK001", "key_twice", "a token twice in the vocabulary", tok(`{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}`, template)),
		text("reject", "TK002", "merge", "a merge of a token that is not in the vocabulary", tok(`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a c"]}}`, template)),
		text("reject", "TK003", "open", "a template whose loop has no end", tok(tokenizer, "{% for m in messages %}{{ m.content }}")),
	}
}

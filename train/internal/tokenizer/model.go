package tokenizer

import (
	"github.com/loratool/loratool/internal/strictjson"
)

// bpe makes the model.
func (p *parser) bpe() *bpe {
	if !p.hasModel {
		p.broken("there is no model")
		return nil
	}
	kind, named := p.options["type"]
	switch {
	case named && kind.Text != "BPE":
		p.unsupported("model %q", kind.Text)
		return nil
	case p.vocab == nil || !named && p.merges == nil && len(p.vocab) == 0:
		p.broken("the model has no vocabulary")
		return nil
	}
	b := &bpe{vocab: p.vocab, tokens: make(map[int32]string, len(p.vocab)), unknown: noID}
	for token, id := range p.vocab {
		if other, ok := b.tokens[id]; ok {
			p.broken("tokens %+q and %+q have id %d", short(min(token, other)), short(max(token, other)), id)
			return nil
		}
		b.tokens[id] = token
	}
	p.readOptions(b)
	p.addMerges(b)
	return b
}

// readOptions reads the members of the model beside its tables.
func (p *parser) readOptions(b *bpe) {
	options := object(p.options)
	for _, name := range [...]string{"continuing_subword_prefix", "end_of_word_suffix"} {
		if s, ok := p.stringMember(options, name); ok && s != "" {
			p.unsupported("model BPE with %s", name)
		}
	}
	if d, ok := options.Lookup("dropout"); ok && d.Kind != strictjson.Null && d.Text != "0" && d.Text != "0.0" {
		p.unsupported("model BPE with dropout")
	}
	b.fuseUnknown = p.flag(options, "fuse_unk", false)
	b.ignoreMerges = p.flag(options, "ignore_merges", false)
	if p.flag(options, "byte_fallback", false) {
		b.bytes = byteIDs(p.vocab)
	}
	if s, ok := p.stringMember(options, "unk_token"); ok {
		id, ok := p.vocab[s]
		if !ok {
			p.broken("unk_token %+q is not in the vocabulary", short(s))
		}
		b.unknown = id
	}
}

// addMerges makes the table of merges. A later one replaces an earlier one of
// the same pair, as in the library.
func (p *parser) addMerges(b *bpe) {
	b.merges = make(map[pair]merged, len(p.merges)/2)
	for i := 0; i+1 < len(p.merges); i += 2 {
		left, right := p.merges[i], p.merges[i+1]
		l, okLeft := p.vocab[left]
		r, okRight := p.vocab[right]
		id, ok := p.vocab[left+right]
		if !okLeft || !okRight || !ok {
			p.broken("merge of %+q and %+q: a token is not in the vocabulary", short(left), short(right))
			return
		}
		b.merges[pair{l, r}] = merged{int32(i / 2), id}
	}
}

// addedTokens reads added_tokens.
func (p *parser) addedTokens(v value) (tokens []addedToken) {
	if v.Kind == strictjson.Null {
		return nil
	}
	if v.Kind != strictjson.Array {
		p.broken("added_tokens is not a list")
		return nil
	}
	owner := map[int32]string{}
	for _, e := range v.Elements {
		t := addedToken{
			content:    p.text(e, "content"),
			singleWord: p.flag(e, "single_word", false),
			lstrip:     p.flag(e, "lstrip", false),
			rstrip:     p.flag(e, "rstrip", false),
			special:    p.flag(e, "special", false),
		}
		t.normalized = p.flag(e, "normalized", !t.special)
		number, _ := e.Lookup("id")
		t.id = p.id(number.Text, t.content)
		if t.content == "" {
			continue // the library ignores it
		}
		if id, ok := p.vocab[t.content]; ok && id != t.id {
			p.broken("added token %+q has id %d, in the vocabulary %d", short(t.content), t.id, id)
		}
		if other, ok := owner[t.id]; ok && other != t.content {
			p.broken("added tokens %+q and %+q have id %d", short(other), short(t.content), t.id)
		}
		owner[t.id] = t.content
		tokens = append(tokens, t)
	}
	return tokens
}

// postProcessor returns the ids that stand around a single text.
func (p *parser) postProcessor(v value) (prefix, tail []int32) {
	switch kind := p.kind("post_processor", v); kind {
	case "", "ByteLevel": // ByteLevel changes offsets only
	case "TemplateProcessing":
		return p.template(v)
	case "Sequence":
		for _, e := range p.list(v, "processors") {
			before, after := p.postProcessor(e)
			prefix, tail = append(before, prefix...), append(tail, after...)
		}
	default:
		p.unsupported("post_processor %q", kind)
	}
	return prefix, tail
}

// template reads the template for a single text.
func (p *parser) template(v value) (prefix, tail []int32) {
	special, _ := v.Lookup("special_tokens")
	entries := p.list(v, "single")
	if len(entries) > maxTemplate {
		p.broken("post_processor: template of %d entries", len(entries))
		return nil, nil
	}
	texts := 0
	for _, e := range entries {
		if _, ok := e.Lookup("Sequence"); ok {
			texts++
			continue
		}
		named, _ := e.Lookup("SpecialToken")
		name := p.text(named, "id")
		token, ok := special.Lookup(name)
		if !ok {
			p.broken("post_processor: template names %+q, which special_tokens lacks", short(name))
			return nil, nil
		}
		for _, id := range p.list(token, "ids") {
			if texts == 0 {
				prefix = append(prefix, p.id(id.Text, name))
			} else {
				tail = append(tail, p.id(id.Text, name))
			}
		}
	}
	if texts != 1 {
		p.unsupported("post_processor TemplateProcessing: template with %d texts", texts)
	}
	return prefix, tail
}

// kind returns the type of a part: "" if there is no such part.
func (p *parser) kind(what string, v value) string {
	if v.Kind == strictjson.Null {
		return ""
	}
	kind := p.text(v, "type")
	if kind == "" {
		p.broken("%s has no type", what)
	}
	return kind
}

// text returns a member that must be a string.
func (p *parser) text(v value, name string) string {
	s, ok := p.stringMember(v, name)
	if !ok {
		p.broken("%s is missing or no string", name)
	}
	return s
}

func (p *parser) stringMember(v value, name string) (string, bool) {
	m, ok := v.Lookup(name)
	return m.Text, ok && m.Kind == strictjson.String
}

// flag returns a member that is true or false, or its default.
func (p *parser) flag(v value, name string, byDefault bool) bool {
	m, ok := v.Lookup(name)
	if !ok || m.Kind == strictjson.Null {
		return byDefault
	}
	if m.Kind != strictjson.Bool {
		p.broken("%s is neither true nor false", name)
	}
	return m.True
}

// count returns a member that is a small integer.
func (p *parser) count(v value, name string) int {
	m, _ := v.Lookup(name)
	return int(p.id(m.Text, name))
}

// list returns the elements of a member that must be a list.
func (p *parser) list(v value, name string) []value {
	m, ok := v.Lookup(name)
	if !ok || m.Kind != strictjson.Array {
		p.broken("%s is missing or no list", name)
	}
	return m.Elements
}

func object(members map[string]value) value {
	v := value{Kind: strictjson.Object}
	for name, m := range members {
		v.Members = append(v.Members, strictjson.Member{Name: name, Value: m})
	}
	return v
}

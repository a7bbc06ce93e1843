package tokenizer

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// A normalizer changes text before it is split.
type normalizer func(string) string

func (p *parser) normalizer(v value) normalizer {
	switch kind := p.kind("normalizer", v); kind {
	case "":
		return nil
	case "NFC":
		return norm.NFC.String
	case "NFD":
		return norm.NFD.String
	case "NFKC":
		return norm.NFKC.String
	case "NFKD":
		return norm.NFKD.String
	case "Lowercase":
		return lowercase
	case "Strip":
		return strip(p.flag(v, "strip_left", true), p.flag(v, "strip_right", true))
	case "Prepend":
		return prepend(p.text(v, "prepend"))
	case "Replace":
		return p.replacement("normalizer Replace", v)
	case "Sequence":
		return p.normalizers(v)
	default:
		p.unsupported("normalizer %q", kind)
		return nil
	}
}

func (p *parser) normalizers(v value) normalizer {
	var all []normalizer
	for _, e := range p.list(v, "normalizers") {
		if n := p.normalizer(e); n != nil {
			all = append(all, n)
		}
	}
	return func(s string) string {
		for _, n := range all {
			s = n(s)
		}
		return s
	}
}

// lowercase maps each character by itself: Σ at the end of a word is σ.
func lowercase(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == 'İ' { // the one character whose lower case is two
			b.WriteString("i̇")
		} else {
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

func strip(left, right bool) normalizer {
	return func(s string) string {
		if left {
			s = strings.TrimLeftFunc(s, isSpace)
		}
		if right {
			s = strings.TrimRightFunc(s, isSpace)
		}
		return s
	}
}

func prepend(prefix string) normalizer {
	return func(s string) string {
		if s == "" {
			return s
		}
		return prefix + s
	}
}

// replacement reads pattern and content, which normalizers and decoders share.
func (p *parser) replacement(what string, v value) func(string) string {
	content := p.text(v, "content")
	split := p.splitter(what, v)
	return func(s string) string {
		var b strings.Builder
		for _, part := range split(s) {
			if part.match {
				b.WriteString(content)
			} else {
				b.WriteString(s[part.start:part.end])
			}
		}
		return b.String()
	}
}

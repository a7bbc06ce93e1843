package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A preTokenizer splits pieces of text into words, the units of the model.
type preTokenizer func([]piece) []piece

// gpt2Pattern is what ByteLevel splits by. Source: openai/gpt-2, encoder.py.
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

func (p *parser) preTokenizer(v value) preTokenizer {
	switch kind := p.kind("pre_tokenizer", v); kind {
	case "":
		return nil
	case "Sequence":
		return p.preTokenizers(v)
	case "Split":
		return p.split(v)
	case "ByteLevel":
		return p.byteLevel(v)
	case "Digits":
		return splitDigits(p.flag(v, "individual_digits", false))
	case "Metaspace":
		return p.metaspace(v)
	case "Whitespace":
		return matching(splitWords, true, removed)
	case "WhitespaceSplit":
		return matching(p.pattern("pre_tokenizer WhitespaceSplit", `\s`), false, removed)
	default:
		p.unsupported("pre_tokenizer %q", kind)
		return nil
	}
}

func (p *parser) preTokenizers(v value) preTokenizer {
	var all []preTokenizer
	for _, e := range p.list(v, "pretokenizers") {
		if t := p.preTokenizer(e); t != nil {
			all = append(all, t)
		}
	}
	return func(pieces []piece) []piece {
		for _, t := range all {
			pieces = t(pieces)
		}
		return pieces
	}
}

// A part is a stretch of a text that a pattern matched, or between matches.
type part struct {
	start, end int
	match      bool
}

// A splitter takes a text apart into matches and what lies between them.
type splitter func(string) []part

// splitter reads the member pattern: {"String": …} or {"Regex": …}.
func (p *parser) splitter(what string, v value) splitter {
	pattern, ok := v.Lookup("pattern")
	if !ok {
		p.broken("%s has no pattern", what)
		return nil
	}
	if expr, ok := p.stringMember(pattern, "Regex"); ok {
		return p.pattern(what, expr)
	}
	literal, ok := p.stringMember(pattern, "String")
	if !ok || literal == "" {
		p.broken("%s: pattern is neither a String nor a Regex", what)
		return nil
	}
	return func(s string) []part { return splitLiteral(s, literal) }
}

// pattern compiles an expression, or notes why it cannot.
func (p *parser) pattern(what, expr string) splitter {
	compiled, err := newPattern(expr)
	if err != nil {
		p.unsupported("%s: expression %q (%v)", what, expr, err)
		return nil
	}
	return compiled.split
}

func splitLiteral(s, literal string) []part {
	return partition(s, func(pos int) (int, int) {
		if i := strings.Index(s[pos:], literal); i >= 0 {
			return pos + i, pos + i + len(literal)
		}
		return -1, -1
	})
}

func (p *pattern) split(s string) []part {
	return partition(s, func(pos int) (int, int) {
		for pos < len(s) {
			if end := p.match(s, pos); end >= 0 {
				return pos, end
			}
			_, n := utf8.DecodeRuneInString(s[pos:])
			pos += n
		}
		return -1, -1
	})
}

// partition covers a text with the matches that find returns, from a position
// on, and the parts between them.
func partition(s string, find func(pos int) (start, end int)) (parts []part) {
	for pos := 0; pos < len(s); {
		start, end := find(pos)
		if start < 0 {
			return append(parts, part{pos, len(s), false})
		}
		if pos < start {
			parts = append(parts, part{pos, start, false})
		}
		parts = append(parts, part{start, end, true})
		pos = end
	}
	return parts
}

// A behavior says what becomes of the matches of a Split.
type behavior string

const (
	removed    behavior = "Removed"
	isolated   behavior = "Isolated"
	contiguous behavior = "Contiguous"
	withBefore behavior = "MergedWithPrevious"
	withAfter  behavior = "MergedWithNext"
)

func (p *parser) split(v value) preTokenizer {
	b := behavior(p.text(v, "behavior"))
	if !slices.Contains([]behavior{removed, isolated, contiguous, withBefore, withAfter}, b) {
		p.unsupported("pre_tokenizer Split: behavior %q", string(b))
	}
	return matching(p.splitter("pre_tokenizer Split", v), p.flag(v, "invert", false), b)
}

// matching splits every piece; with invert, what lies between the matches
// counts as matches and the other way round.
func matching(split splitter, invert bool, b behavior) preTokenizer {
	return func(pieces []piece) []piece {
		out := make([]piece, 0, len(pieces))
		for _, in := range pieces {
			parts := split(in.text)
			for i := range parts {
				parts[i].match = parts[i].match != invert
			}
			for _, p := range arrange(parts, b) {
				out = append(out, piece{in.text[p.start:p.end], noID, in.first && p.start == 0})
			}
		}
		return out
	}
}

// arrange joins or drops adjacent parts of a text.
func arrange(parts []part, b behavior) []part {
	switch b {
	case removed:
		return slices.DeleteFunc(parts, func(p part) bool { return p.match })
	case contiguous:
		return join(parts, func(before, after part) bool { return before.match == after.match })
	case withBefore:
		return join(parts, func(before, after part) bool { return !before.match && after.match })
	case withAfter:
		return join(parts, func(before, after part) bool { return before.match && !after.match })
	}
	return parts
}

// join glues each part to the one before it where glue says so.
func join(parts []part, glue func(before, after part) bool) (out []part) {
	for i, p := range parts {
		if i > 0 && glue(parts[i-1], p) {
			out[len(out)-1].end = p.end
			continue
		}
		out = append(out, p)
	}
	return out
}

// byteLevel splits as GPT-2 does and writes each byte as one character.
func (p *parser) byteLevel(v value) preTokenizer {
	addSpace := p.flag(v, "add_prefix_space", true)
	var split preTokenizer
	if p.flag(v, "use_regex", true) {
		split = matching(p.pattern("pre_tokenizer ByteLevel", gpt2Pattern), false, isolated)
	}
	return func(pieces []piece) []piece {
		if addSpace {
			for i := range pieces {
				if !strings.HasPrefix(pieces[i].text, " ") {
					pieces[i].text = " " + pieces[i].text
				}
			}
		}
		if split != nil {
			pieces = split(pieces)
		}
		for i := range pieces {
			pieces[i].text = bytesToChars(pieces[i].text)
		}
		return pieces
	}
}

func splitDigits(individual bool) preTokenizer {
	b := contiguous
	if individual {
		b = isolated
	}
	return matching(func(s string) []part {
		return partition(s, func(pos int) (int, int) {
			i := strings.IndexFunc(s[pos:], unicode.IsNumber)
			if i < 0 {
				return -1, -1
			}
			_, n := utf8.DecodeRuneInString(s[pos+i:])
			return pos + i, pos + i + n
		})
	}, false, b)
}

// splitWords matches \w+|[^\w\s]+, with \w as isWord has it.
func splitWords(s string) []part {
	return partition(s, func(pos int) (int, int) {
		start := skipSpace(s, pos)
		if start == len(s) {
			return -1, -1
		}
		first, _ := utf8.DecodeRuneInString(s[start:])
		n := strings.IndexFunc(s[start:], func(r rune) bool { return isSpace(r) || isWord(r) != isWord(first) })
		if n < 0 {
			return start, len(s)
		}
		return start, start + n
	})
}

// metaspace writes spaces as ▁ and splits before each of them.
func (p *parser) metaspace(v value) preTokenizer {
	space := p.text(v, "replacement")
	scheme := p.prependScheme(v)
	split := p.flag(v, "split", true)
	if space == "" {
		p.broken("pre_tokenizer Metaspace: replacement is empty")
		return nil
	}
	splitSpaces := matching(func(s string) []part { return splitLiteral(s, space) }, false, withAfter)
	return func(pieces []piece) []piece {
		for i := range pieces {
			text := strings.ReplaceAll(pieces[i].text, " ", space)
			if (scheme == "always" || scheme == "first" && pieces[i].first) && !strings.HasPrefix(text, space) {
				text = space + text
			}
			pieces[i].text = text
		}
		if !split {
			return pieces
		}
		return splitSpaces(pieces)
	}
}

// prependScheme reads prepend_scheme, or what stood in its place until 2024.
func (p *parser) prependScheme(v value) string {
	scheme, ok := p.stringMember(v, "prepend_scheme")
	switch {
	case !ok && p.flag(v, "add_prefix_space", true):
		return "always"
	case !ok:
		return "never"
	}
	if !slices.Contains([]string{"always", "first", "never"}, scheme) {
		p.unsupported("Metaspace: prepend_scheme %q", scheme)
	}
	return scheme
}

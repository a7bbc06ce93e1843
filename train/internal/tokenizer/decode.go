package tokenizer

import "strings"

// A decoder turns tokens into parts of text, which are then joined.
type decoder func(tokens []string) []string

func (p *parser) decoder(v value) decoder {
	switch kind := p.kind("decoder", v); kind {
	case "":
		return nil
	case "ByteLevel":
		return decodeByteLevel
	case "ByteFallback":
		return decodeByteFallback
	case "Fuse":
		return func(tokens []string) []string { return []string{strings.Join(tokens, "")} }
	case "Metaspace":
		return decodeMetaspace(p.text(v, "replacement"), p.prependScheme(v) != "never")
	case "Replace":
		return each(p.replacement("decoder Replace", v))
	case "Strip":
		return each(stripEnds(p.text(v, "content"), p.count(v, "start"), p.count(v, "stop")))
	case "Sequence":
		return p.decoders(v)
	default:
		p.unsupported("decoder %q", kind)
		return nil
	}
}

func (p *parser) decoders(v value) decoder {
	var all []decoder
	for _, e := range p.list(v, "decoders") {
		if d := p.decoder(e); d != nil {
			all = append(all, d)
		}
	}
	return func(tokens []string) []string {
		for _, d := range all {
			tokens = d(tokens)
		}
		return tokens
	}
}

func each(change func(string) string) decoder {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, t := range tokens {
			out[i] = change(t)
		}
		return out
	}
}

func decodeByteLevel(tokens []string) []string {
	var b []byte
	for _, t := range tokens {
		b = charsToBytes(b, t)
	}
	return []string{validUTF8(string(b))}
}

// decodeByteFallback joins runs of tokens that stand for bytes.
func decodeByteFallback(tokens []string) (out []string) {
	var run []byte
	flush := func() {
		if len(run) > 0 {
			out = append(out, bytesOrReplacement(run))
			run = run[:0]
		}
	}
	for _, t := range tokens {
		if b, ok := byteToken(t); ok {
			run = append(run, b)
			continue
		}
		flush()
		out = append(out, t)
	}
	flush()
	return out
}

// decodeMetaspace writes ▁ as a space. In the first token it is dropped, if
// encoding may have put it there.
func decodeMetaspace(space string, prepended bool) decoder {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, t := range tokens {
			to := " "
			if i == 0 && prepended {
				to = ""
			}
			out[i] = strings.ReplaceAll(t, space, to)
		}
		return out
	}
}

// stripEnds drops up to start characters at the beginning of a token and stop
// at its end, as long as they are content.
func stripEnds(content string, start, stop int) func(string) string {
	return func(s string) string {
		for range start {
			rest, ok := strings.CutPrefix(s, content)
			if !ok || content == "" {
				break
			}
			s = rest
		}
		for range stop {
			rest, ok := strings.CutSuffix(s, content)
			if !ok || content == "" {
				break
			}
			s = rest
		}
		return s
	}
}

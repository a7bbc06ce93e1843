package safetensors

import (
	"hash/maphash"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// checkNames warns of names that are legal but that other programs, file
// systems and terminals take amiss: ST025, ST026, ST030.
func (p *parser) checkNames() {
	for _, t := range p.h.tensors {
		switch {
		case t.Name == "":
			p.warn("ST030", "", "a tensor has the empty name")
		case invisible(t.Name):
			p.warn("ST025", t.Name, "name holds characters that do not print")
		case pathLike(t.Name):
			p.warn("ST025", t.Name, "name looks like a path")
		}
	}
	for _, m := range p.h.metadata {
		if invisible(m.Key) || steersTerminal(m.Value) {
			p.warn("ST025", "", "metadata %s holds characters that do not print", short(m.Key))
		}
	}
	for _, c := range collisions(p.h.tensors, warningsPerRule+1) {
		p.warn("ST026", c[1], "differs from %s only in case or Unicode form", short(c[0]))
	}
}

// invisible reports whether s holds control, format (zero width, direction)
// or other characters that do not print. A plain space prints.
func invisible(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7F {
			return strings.ContainsFunc(s[i:], func(r rune) bool { return !unicode.IsPrint(r) })
		}
	}
	return false
}

// steersTerminal is invisible for longer texts, which may hold line ends and
// joined emoji: it looks for other controls and changes of direction.
func steersTerminal(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
	})
}

// pathLike reports whether a program that makes a file name of s may leave
// its folder.
func pathLike(s string) bool {
	if s[0] == '/' || strings.IndexByte(s, '\\') >= 0 || len(s) > 2 && s[1] == ':' && s[2] == '/' {
		return true
	}
	return strings.Contains(s, "..") && slices.Contains(strings.Split(s, "/"), "..")
}

// collisions returns up to most pairs of names that differ but fold to the
// same text.
func collisions(tensors []Tensor, most int) (pairs [][2]string) {
	if len(tensors) < 2 {
		return nil
	}
	size := 8
	for 3*size < 4*len(tensors) {
		size *= 2
	}
	seed, slots := maphash.MakeSeed(), make([]uint32, size)
	var a, b []byte
	for k, t := range tensors {
		a = fold(a[:0], t.Name)
		i := int(maphash.Bytes(seed, a) & uint64(size-1))
		for ; slots[i] != 0; i = (i + 1) & (size - 1) {
			other := tensors[slots[i]-1].Name
			if b = fold(b[:0], other); string(a) == string(b) {
				if pairs = append(pairs, [2]string{other, t.Name}); len(pairs) == most {
					return pairs
				}
				break
			}
		}
		if slots[i] == 0 {
			slots[i] = uint32(k + 1)
		}
	}
	return pairs
}

// fold appends s in a form that is equal for names that a file system or a
// reader may take for the same: normal form C, then the smallest rune of each
// case orbit.
func fold(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return foldUnicode(dst[:len(dst)-i], s)
		}
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func foldUnicode(dst []byte, s string) []byte {
	for _, r := range norm.NFC.String(s) {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		dst = utf8.AppendRune(dst, least)
	}
	return dst
}

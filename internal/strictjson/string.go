package strictjson

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// String reads a string and returns it unescaped.
func (s *Scanner) String() (string, error) {
	if s.Peek() != '"' {
		return "", s.expected("a string")
	}
	start := s.pos + 1
	for i := start; i < len(s.src); i++ {
		switch c := s.src[i]; {
		case c == '"':
			s.pos = i + 1
			return s.src[start:i], nil
		case c == '\\':
			return s.unescape(start, i)
		case c < 0x20:
			return "", s.fault(Syntax, i, "found control character 0x%02X in a string, expected an escape", c)
		}
	}
	return "", s.fault(Syntax, len(s.src), "found the end of the document in a string")
}

// unescape reads the rest of the string that begins at start and whose first
// backslash is at i.
func (s *Scanner) unescape(start, i int) (string, error) {
	b := append(make([]byte, 0, i-start+16), s.src[start:i]...)
	for i < len(s.src) {
		switch c := s.src[i]; {
		case c == '"':
			s.pos = i + 1
			return string(b), nil
		case c < 0x20:
			return "", s.fault(Syntax, i, "found control character 0x%02X in a string, expected an escape", c)
		case c != '\\':
			b = append(b, c)
			i++
		default:
			r, n, err := s.escape(i)
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
			i += n
		}
	}
	return "", s.fault(Syntax, len(s.src), "found the end of the document in a string")
}

// simpleEscapes[i] is what a backslash and escapeLetters[i] stand for.
const (
	escapeLetters = `"\/bfnrt`
	simpleEscapes = "\"\\/\b\f\n\r\t"
)

// escape reads the escape sequence at i and returns its rune and length.
func (s *Scanner) escape(i int) (rune, int, error) {
	if i+1 >= len(s.src) {
		return 0, 0, s.fault(Syntax, len(s.src), "found the end of the document in an escape")
	}
	if k := strings.IndexByte(escapeLetters, s.src[i+1]); k >= 0 {
		return rune(simpleEscapes[k]), 2, nil
	}
	if s.src[i+1] != 'u' {
		return 0, 0, s.fault(Syntax, i, "unknown escape %q", s.src[i:i+2])
	}
	r, err := s.hex4(i + 2)
	if err != nil || !utf16.IsSurrogate(r) {
		return r, 6, err
	}
	if i+7 < len(s.src) && s.src[i+6] == '\\' && s.src[i+7] == 'u' {
		low, err := s.hex4(i + 8)
		if err != nil {
			return 0, 0, err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12, nil
		}
	}
	return 0, 0, s.fault(Surrogate, i, "%s is half of a surrogate pair", s.src[i:i+6])
}

// hex4 reads four hexadecimal digits at i.
func (s *Scanner) hex4(i int) (rune, error) {
	var r rune
	for k := i; k < i+4; k++ {
		if k >= len(s.src) {
			return 0, s.fault(Syntax, len(s.src), "found the end of the document in an escape")
		}
		c := s.src[k]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, s.fault(Syntax, k, "found %q in an escape, expected a hexadecimal digit", s.src[k:k+1])
		}
		r = r<<4 | rune(c)
	}
	return r, nil
}

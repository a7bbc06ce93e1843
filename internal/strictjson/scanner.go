// Package strictjson reads JSON from untrusted files the strict way: RFC 8259
// without repeated keys, invalid UTF-8, lone surrogates, a byte order mark or
// NaN, with a limit on nesting, and with the byte position of every fault. It
// knows nothing of what the documents mean.
package strictjson

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Problem is the class of a fault.
type Problem uint8

const (
	Syntax    Problem = iota // not JSON
	Encoding                 // not UTF-8
	Duplicate                // a key occurs twice in one object
	Surrogate                // an escape names half of a surrogate pair
	Depth                    // nested deeper than the limit
	Size                     // more keys or values than the limit
)

// An Error tells where a document is not strict JSON.
type Error struct {
	Problem Problem
	Offset  int // of the offending byte, from the start of the document
	What    string
}

// Error returns the position and what was found there.
func (e *Error) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.What) }

// MaxDepth is how deep arrays and objects may be nested where Limits does not
// say otherwise.
const MaxDepth = 64

// MaxValues is how many values are decoded where Limits does not say
// otherwise. A Value takes 80 bytes, and as little as two in the document.
const MaxValues = 1 << 18

// Limits say what a Scanner lets pass. The zero value is the strict default.
type Limits struct {
	Depth  int // nesting of arrays and objects; 0 means MaxDepth
	Values int // values that one Value may hold; 0 means MaxValues
	// NonFinite accepts the number literals NaN, Infinity and -Infinity,
	// which Python's json module writes.
	NonFinite bool
}

// A Scanner reads one document from front to back. The document must be valid
// UTF-8 (see CheckUTF8); strings without escapes are returned as slices of it.
// Every method skips white space before the token that it reads.
type Scanner struct {
	src       string
	pos       int
	depth     int
	maxDepth  int
	values    int // that may still be decoded
	nonFinite bool
}

// NewScanner returns a scanner at the start of src.
func NewScanner(src string, l Limits) *Scanner {
	if l.Depth == 0 {
		l.Depth = MaxDepth
	}
	if l.Values == 0 {
		l.Values = MaxValues
	}
	return &Scanner{src: src, maxDepth: l.Depth, values: l.Values, nonFinite: l.NonFinite}
}

// CheckUTF8 returns an Encoding error at the first byte of src that is not
// part of a valid UTF-8 sequence.
func CheckUTF8(src string) error {
	if utf8.ValidString(src) {
		return nil
	}
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRuneInString(src[i:])
		if r == utf8.RuneError && n == 1 {
			return &Error{Encoding, i, fmt.Sprintf("0x%02X is not valid UTF-8 here", src[i])}
		}
		i += n
	}
	return nil
}

// Pos returns the offset of the next byte.
func (s *Scanner) Pos() int { return s.pos }

// Peek skips white space and returns the next byte, which is not consumed; 0
// at the end of the document.
func (s *Scanner) Peek() byte {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// End returns an error unless only white space is left.
func (s *Scanner) End() error {
	if s.Peek(); s.pos < len(s.src) {
		return s.fault(Syntax, s.pos, "found %s after the end of the document", s.found())
	}
	return nil
}

func (s *Scanner) fault(p Problem, at int, format string, args ...any) error {
	return &Error{p, at, fmt.Sprintf(format, args...)}
}

func (s *Scanner) expected(what string) error {
	return s.fault(Syntax, s.pos, "found %s, expected %s", s.found(), what)
}

// found names the next byte for a message.
func (s *Scanner) found() string {
	if s.pos >= len(s.src) {
		return "the end of the document"
	}
	rest := s.src[s.pos:]
	if strings.HasPrefix(rest, "\uFEFF") {
		return "a byte order mark"
	}
	switch c := rest[0]; {
	case c == 0:
		return "a NUL byte"
	case c < 0x20 || c >= 0x7F:
		return fmt.Sprintf("byte 0x%02X", c)
	default:
		return fmt.Sprintf("%q", rest[:1])
	}
}

// Number reads a number and returns it as written.
func (s *Scanner) Number() (string, error) {
	s.Peek()
	start, i := s.pos, s.pos
	if i < len(s.src) && s.src[i] == '-' {
		i++
	}
	if s.nonFinite {
		for _, lit := range [...]string{"Infinity", "NaN"} {
			if strings.HasPrefix(s.src[i:], lit) && (lit != "NaN" || i == start) {
				s.pos = i + len(lit)
				return s.src[start:s.pos], nil
			}
		}
	}
	first := i
	i = s.digits(i)
	switch {
	case i == first:
		if s.pos = first; first > start {
			return "", s.expected("a digit")
		}
		return "", s.expected("a value")
	case s.src[first] == '0' && i > first+1:
		return "", s.fault(Syntax, first, "number begins with a zero")
	}
	if i < len(s.src) && s.src[i] == '.' {
		i++
		if k := s.digits(i); k == i {
			s.pos = i
			return "", s.expected("a digit")
		} else {
			i = k
		}
	}
	if i < len(s.src) && (s.src[i] == 'e' || s.src[i] == 'E') {
		i++
		if i < len(s.src) && (s.src[i] == '+' || s.src[i] == '-') {
			i++
		}
		if k := s.digits(i); k == i {
			s.pos = i
			return "", s.expected("a digit")
		} else {
			i = k
		}
	}
	s.pos = i
	return s.src[start:i], nil
}

func (s *Scanner) digits(i int) int {
	for i < len(s.src) && '0' <= s.src[i] && s.src[i] <= '9' {
		i++
	}
	return i
}

// Literal reads true, false or null and returns the word.
func (s *Scanner) Literal() (string, error) {
	s.Peek()
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s.src[s.pos:], word) {
			s.pos += len(word)
			return word, nil
		}
	}
	return "", s.expected("a value")
}

// Object reads an object. For each member it calls member with the unescaped
// key and the offset of the key; member must read the value. Repeated keys are
// for member to refuse, see Keys.
func (s *Scanner) Object(member func(key string, at int) error) error {
	if s.Peek() != '{' {
		return s.expected("an object")
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.Peek() == '}' {
		return s.close()
	}
	for {
		if s.Peek() != '"' {
			return s.expected("a key")
		}
		at := s.pos
		key, err := s.String()
		if err != nil {
			return err
		}
		if s.Peek() != ':' {
			return s.expected(`":"`)
		}
		s.pos++
		if err := member(key, at); err != nil {
			return err
		}
		switch s.Peek() {
		case ',':
			s.pos++
		case '}':
			return s.close()
		default:
			return s.expected(`"," or "}"`)
		}
	}
}

// Array reads an array. For each element it calls element, which must read it.
func (s *Scanner) Array(element func() error) error {
	if s.Peek() != '[' {
		return s.expected("an array")
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.Peek() == ']' {
		return s.close()
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch s.Peek() {
		case ',':
			s.pos++
		case ']':
			return s.close()
		default:
			return s.expected(`"," or "]"`)
		}
	}
}

func (s *Scanner) open() error {
	if s.depth >= s.maxDepth {
		return s.fault(Depth, s.pos, "nested deeper than %d", s.maxDepth)
	}
	s.depth++
	s.pos++
	return nil
}

func (s *Scanner) close() error {
	s.depth--
	s.pos++
	return nil
}

// Skip reads a value of any kind, checks all of it, and forgets it.
func (s *Scanner) Skip() (err error) {
	switch s.Peek() {
	case '{':
		var keys Keys
		return s.Object(func(key string, at int) error {
			if err := keys.Add(key, at); err != nil {
				return err
			}
			return s.Skip()
		})
	case '[':
		return s.Array(s.Skip)
	case '"':
		_, err = s.String()
	case 't', 'f', 'n':
		_, err = s.Literal()
	default:
		_, err = s.Number()
	}
	return err
}

package strictjson

import (
	"strings"
	"unicode/utf8"
)

// A Kind is one of the six kinds of JSON values.
type Kind uint8

const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

var kindNames = [...]string{"null", "true or false", "a number", "a string", "a list", "an object"}

// String returns the kind as a noun for messages, such as "a number".
func (k Kind) String() string { return kindNames[k] }

// A Value is a JSON value as written: numbers keep their digits and objects
// the order of their keys.
type Value struct {
	Kind     Kind
	True     bool     // of Bool
	Text     string   // of String, unescaped; of Number, as written
	Elements []Value  // of Array
	Members  []Member // of Object
}

// A Member is a key of an object with its value.
type Member struct {
	Name  string
	Value Value
}

// Decode reads a whole document with the default limits. Errors are *Error.
func Decode(data []byte) (Value, error) { return Limits{}.Decode(data) }

// Decode reads a whole document. Errors are *Error.
func (l Limits) Decode(data []byte) (Value, error) {
	src := string(data)
	if err := CheckUTF8(src); err != nil {
		return Value{}, err
	}
	s := NewScanner(src, l)
	v, err := s.Value()
	if err != nil {
		return Value{}, err
	}
	return v, s.End()
}

// Value reads a value of any kind.
func (s *Scanner) Value() (v Value, err error) {
	if s.values--; s.values < 0 {
		return v, s.fault(Size, s.pos, "more values than the limit")
	}
	switch s.Peek() {
	case '{':
		v.Kind = Object
		var keys Keys
		err = s.Object(func(key string, at int) error {
			if err := keys.Add(key, at); err != nil {
				return err
			}
			m, err := s.Value()
			v.Members = append(v.Members, Member{key, m})
			return err
		})
	case '[':
		v.Kind = Array
		err = s.Array(func() error {
			e, err := s.Value()
			v.Elements = append(v.Elements, e)
			return err
		})
	case '"':
		v.Kind = String
		v.Text, err = s.String()
	case 't', 'f', 'n':
		var word string
		word, err = s.Literal()
		v.True = word == "true"
		if word == "true" || word == "false" {
			v.Kind = Bool
		}
	default:
		v.Kind = Number
		v.Text, err = s.Number()
	}
	return v, err
}

// Lookup returns the value of a key of an object.
func (v Value) Lookup(name string) (Value, bool) {
	for _, m := range v.Members {
		if m.Name == name {
			return m.Value, true
		}
	}
	return Value{}, false
}

// Append appends v to dst as compact JSON in ASCII.
func (v Value) Append(dst []byte) []byte { return v.append(dst, "", "") }

// AppendIndent appends v to dst with one member or element per line, each
// level indented by indent, as Python's json.dumps with an indent does.
func (v Value) AppendIndent(dst []byte, indent string) []byte {
	return v.append(dst, "\n", indent)
}

// append writes v; lead is a newline with the current indentation, or empty.
func (v Value) append(dst []byte, lead, indent string) []byte {
	inner := lead
	if lead != "" {
		inner += indent
	}
	switch v.Kind {
	case Null:
		return append(dst, "null"...)
	case Bool:
		if v.True {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case Number:
		return append(dst, v.Text...)
	case String:
		return AppendString(dst, v.Text)
	case Array:
		dst = append(dst, '[')
		for i, e := range v.Elements {
			dst = e.append(separate(dst, i, inner), inner, indent)
		}
		return finish(dst, len(v.Elements), lead, ']')
	}
	dst = append(dst, '{')
	for i, m := range v.Members {
		dst = append(AppendString(separate(dst, i, inner), m.Name), ':')
		if lead != "" {
			dst = append(dst, ' ')
		}
		dst = m.Value.append(dst, inner, indent)
	}
	return finish(dst, len(v.Members), lead, '}')
}

func separate(dst []byte, i int, lead string) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	return append(dst, lead...)
}

func finish(dst []byte, n int, lead string, end byte) []byte {
	if n > 0 {
		dst = append(dst, lead...)
	}
	return append(dst, end)
}

// AppendString appends s as a JSON string in ASCII: everything outside
// 0x20–0x7E is escaped. Invalid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		k := -1
		if r < utf8.RuneSelf && r != '/' {
			k = strings.IndexByte(simpleEscapes, byte(r))
		}
		switch {
		case k >= 0:
			dst = append(dst, '\\', escapeLetters[k])
		case 0x20 <= r && r <= 0x7E:
			dst = append(dst, byte(r))
		case r > 0xFFFF:
			r -= 0x10000
			dst = appendHex(dst, 0xD800+r>>10)
			dst = appendHex(dst, 0xDC00+r&0x3FF)
		default:
			dst = appendHex(dst, r)
		}
	}
	return append(dst, '"')
}

func appendHex(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

package chat

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/loratool/loratool/internal/strictjson"
)

// Values are nil (none), undefined, bool, int64, float64, string, []any,
// *dict, namespace, loopState and function.

// undefined is the value of a name that nobody set.
type undefined struct{ name string }

// A dict keeps the order in which its keys were set, as Python's does.
type dict struct {
	keys   []string
	values map[string]any
}

func newDict() *dict { return &dict{values: map[string]any{}} }

func (d *dict) set(key string, v any) {
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = v
}

// A namespace is the one value whose members a template may set.
type namespace struct{ *dict }

// A function is a macro, a global function or a bound method.
type function func(s *state, args []any, named map[string]any) any

// fromJSON returns a JSON value as a value of templates.
func fromJSON(v strictjson.Value) any {
	switch v.Kind {
	case strictjson.Bool:
		return v.True
	case strictjson.Number:
		if n, err := strconv.ParseInt(v.Text, 10, 64); err == nil {
			return n
		}
		f, _ := strconv.ParseFloat(v.Text, 64)
		return f
	case strictjson.String:
		return v.Text
	case strictjson.Array:
		list := make([]any, len(v.Elements))
		for i, e := range v.Elements {
			list[i] = fromJSON(e)
		}
		return list
	case strictjson.Object:
		d := newDict()
		for _, m := range v.Members {
			d.set(m.Name, fromJSON(m.Value))
		}
		return d
	}
	return nil
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case *dict:
		return len(v.keys) > 0
	}
	return true
}

// str is Python's str.
func (s *state) str(v any) string {
	switch v := v.(type) {
	case undefined:
		return ""
	case string:
		return v
	}
	return s.repr(v)
}

// repr is Python's repr.
func (s *state) repr(v any) string {
	var b strings.Builder
	s.writeRepr(&b, v)
	return b.String()
}

// writeRepr stops where the state has an error: a value may hold another many
// times, at every depth.
func (s *state) writeRepr(b *strings.Builder, v any) {
	if !s.step() {
		return
	}
	switch v := v.(type) {
	case []any:
		b.WriteString("[")
		for i, e := range v {
			separate(b, i)
			s.writeRepr(b, e)
		}
		b.WriteString("]")
	case *dict:
		b.WriteString("{")
		for i, k := range v.keys {
			separate(b, i)
			s.writeRepr(b, k)
			b.WriteString(": ")
			s.writeRepr(b, v.values[k])
		}
		b.WriteString("}")
	case string:
		if s.charge(len(v)) {
			b.WriteString(reprString(v))
		}
	default:
		b.WriteString(reprScalar(v))
	}
}

func separate(b *strings.Builder, i int) {
	if i > 0 {
		b.WriteString(", ")
	}
}

func reprScalar(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case undefined:
		return "Undefined"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return reprFloat(v)
	}
	return "<object>"
}

// reprFloat writes the shortest digits that read back, with an exponent from
// 1e16 and below 1e-4, as Python does.
func reprFloat(f float64) string {
	switch a := math.Abs(f); {
	case math.IsInf(f, 0) || math.IsNaN(f):
		return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(f, 'g', -1, 64), "+"))
	case a != 0 && (a < 1e-4 || a >= 1e16):
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func reprString(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	var b strings.Builder
	b.WriteString(quote)
	for _, r := range s {
		switch {
		case r == '\\' || string(r) == quote:
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			b.WriteString(`\x` + hex(r, 2))
		case r < 0x10000:
			b.WriteString(`\u` + hex(r, 4))
		default:
			b.WriteString(`\U` + hex(r, 8))
		}
	}
	return b.String() + quote
}

func hex(r rune, digits int) string {
	s := strconv.FormatInt(int64(r), 16)
	return strings.Repeat("0", max(0, digits-len(s))) + s
}

// equal is Python's ==. It stops where the state has an error.
func (s *state) equal(a, b any) bool {
	if !s.touch(a) {
		return false
	}
	if x, y, ok := numbers(a, b); ok {
		return x == y
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case string:
		text, ok := b.(string)
		return ok && a == text
	case []any:
		l, ok := b.([]any)
		if !ok || len(a) != len(l) {
			return false
		}
		for i := range a {
			if !s.equal(a[i], l[i]) {
				return false
			}
		}
		return true
	case *dict:
		d, ok := b.(*dict)
		if !ok || len(a.keys) != len(d.keys) {
			return false
		}
		for _, k := range a.keys {
			v, ok := d.values[k]
			if !ok || !s.equal(a.values[k], v) {
				return false
			}
		}
		return true
	}
	return false
}

// numbers returns two values as numbers; true is 1.
func numbers(a, b any) (x, y float64, ok bool) {
	x, okX := number(a)
	y, okY := number(b)
	return x, y, okX && okY
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return v, true
	}
	return 0, false
}

// less is Python's <, which numbers and strings have.
func less(a, b any) (less, ok bool) {
	if x, y, ok := numbers(a, b); ok {
		return x < y, true
	}
	x, okX := a.(string)
	y, okY := b.(string)
	return x < y, okX && okY
}

// elements returns what a loop over v gives.
func elements(v any) ([]any, bool) {
	switch v := v.(type) {
	case undefined:
		return nil, true
	case []any:
		return v, true
	case *dict:
		keys := make([]any, len(v.keys))
		for i, k := range v.keys {
			keys[i] = k
		}
		return keys, true
	case string:
		chars := make([]any, 0, len(v))
		for _, r := range v {
			chars = append(chars, string(r))
		}
		return chars, true
	}
	return nil, false
}

func sorted(keys []string) []string {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	return keys
}

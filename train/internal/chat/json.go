package chat

import (
	"fmt"
	"strings"
)

// toJSON is the filter tojson as transformers defines it: Python's json.dumps
// with ensure_ascii=False, and indent where it is given.
func toJSON(s *state, v any, args []any, named map[string]any) any {
	w := &jsonWriter{s: s, item: ", ", key: ": "}
	depth := argument(args, 0)
	if n, ok := named["indent"]; ok {
		depth = n
	}
	if n, ok := integer(depth); ok && n >= 0 && n <= 16 {
		w.indent, w.item = strings.Repeat(" ", int(n)), ","
		w.lines = true
	}
	if list, ok := named["separators"].([]any); ok && len(list) == 2 {
		w.item, w.key = s.str(list[0]), s.str(list[1])
	}
	w.ascii = truth(named["ensure_ascii"])
	w.sort = truth(named["sort_keys"])
	w.write(v, "\n")
	s.charge(w.b.Len())
	return w.b.String()
}

type jsonWriter struct {
	s           *state
	b           strings.Builder
	item, key   string
	indent      string
	lines       bool
	ascii, sort bool
}

func (w *jsonWriter) write(v any, lead string) {
	if !w.s.step() {
		return
	}
	switch v := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		fmt.Fprint(&w.b, v)
	case int64, float64:
		w.b.WriteString(reprScalar(v))
	case string:
		w.str(v)
	case []any:
		w.list("[", "]", len(v), lead, func(i int, lead string) { w.write(v[i], lead) })
	case *dict:
		keys := v.keys
		if w.sort {
			keys = sorted(keys)
		}
		w.list("{", "}", len(keys), lead, func(i int, lead string) {
			w.str(keys[i])
			w.b.WriteString(w.key)
			w.write(v.values[keys[i]], lead)
		})
	default:
		w.s.fail("tojson of %s", kindOf(v))
	}
}

func (w *jsonWriter) list(open, end string, n int, lead string, element func(i int, lead string)) {
	w.b.WriteString(open)
	for i := range n {
		if i > 0 {
			w.b.WriteString(w.item)
		}
		if w.lines {
			w.b.WriteString(lead + w.indent)
		}
		element(i, lead+w.indent)
	}
	if w.lines && n > 0 {
		w.b.WriteString(lead)
	}
	w.b.WriteString(end)
}

func (w *jsonWriter) str(text string) {
	const letters = "\"\\\n\r\t\b\f"
	const escapes = `"\nrtbf`
	w.b.WriteByte('"')
	for _, r := range text {
		switch k := strings.IndexRune(letters, r); {
		case k >= 0:
			w.b.WriteString(`\` + escapes[k:k+1])
		case r < 0x20 || w.ascii && r >= 0x7F && r < 0x10000:
			w.b.WriteString(`\u` + hex(r, 4))
		case w.ascii && r >= 0x10000:
			r -= 0x10000
			w.b.WriteString(`\u` + hex(0xD800+r>>10, 4) + `\u` + hex(0xDC00+r&0x3FF, 4))
		default:
			w.b.WriteRune(r)
		}
	}
	w.b.WriteByte('"')
}

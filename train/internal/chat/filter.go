package chat

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// A filter is v|name(args).
type filter func(s *state, v any, args []any, named map[string]any) any

// filters returns the filters by name.
func filters() map[string]filter {
	return map[string]filter{
		"tojson": toJSON,
		"trim": func(s *state, v any, args []any, _ map[string]any) any {
			return stringMethods["strip"](s, s.str(v), args)
		},
		"length":  length,
		"count":   length,
		"string":  func(s *state, v any, _ []any, _ map[string]any) any { return s.str(v) },
		"safe":    func(_ *state, v any, _ []any, _ map[string]any) any { return v },
		"default": defaultValue,
		"d":       defaultValue,
		"map":     mapFilter,
		"join": func(s *state, v any, args []any, _ map[string]any) any {
			return joinList(s, v, s.str(argument(args, 0)))
		},
		"items":      itemsFilter,
		"dictsort":   dictSort,
		"list":       listFilter,
		"selectattr": choosing(true, true),
		"rejectattr": choosing(true, false),
		"select":     choosing(false, true),
		"reject":     choosing(false, false),
		"upper":      text(strings.ToUpper),
		"lower":      text(strings.ToLower),
		"capitalize": text(capitalize),
		"title":      text(title),
		"replace":    func(s *state, v any, args []any, _ map[string]any) any { return replaceText(s, s.str(v), args) },
		"int":        toInt,
		"float":      toFloat,
		"first":      func(s *state, v any, _ []any, _ map[string]any) any { return end(s, v, 0) },
		"last":       func(s *state, v any, _ []any, _ map[string]any) any { return end(s, v, -1) },
		"reverse":    reverse,
		"indent":     indent,
		"abs":        absolute,
	}
}

func text(f func(string) string) filter {
	return func(s *state, v any, _ []any, _ map[string]any) any {
		out := f(s.str(v))
		s.charge(len(out))
		return out
	}
}

func length(s *state, v any, _ []any, _ map[string]any) any {
	switch v := v.(type) {
	case string:
		return runes(v)
	case []any:
		return int64(len(v))
	case *dict:
		return int64(len(v.keys))
	case undefined:
		return int64(0)
	}
	return s.fail("length of %s", kindOf(v))
}

func defaultValue(_ *state, v any, args []any, named map[string]any) any {
	_, missing := v.(undefined)
	anyFalse := truth(argument(args, 1)) || truth(named["boolean"])
	if !missing && !(anyFalse && !truth(v)) {
		return v
	}
	if d, ok := named["default_value"]; ok {
		return d
	}
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// mapFilter is map("filter") and map(attribute="name").
func mapFilter(s *state, v any, args []any, named map[string]any) any {
	list, ok := elements(v)
	if !ok {
		return s.fail("map of %s", kindOf(v))
	}
	name, byName := named["attribute"].(string)
	apply := filters()[s.str(argument(args, 0))]
	if !byName && apply == nil {
		return s.fail("map by %s", s.repr(argument(args, 0)))
	}
	out := make([]any, 0, len(list))
	for _, e := range list {
		if !s.touch(e) {
			return undefined{}
		}
		if byName {
			out = append(out, s.path(e, name))
		} else {
			out = append(out, apply(s, e, args[1:], nil))
		}
	}
	return out
}

// path follows a dotted name.
func (s *state) path(v any, name string) any {
	for part := range strings.SplitSeq(name, ".") {
		if n, err := strconv.ParseInt(part, 10, 64); err == nil {
			v = s.item(v, n)
		} else {
			v = s.item(v, part)
		}
	}
	return v
}

// choosing is select, reject, selectattr and rejectattr.
func choosing(attribute, keep bool) filter {
	return func(s *state, v any, args []any, _ map[string]any) any {
		list, ok := elements(v)
		if !ok {
			return s.fail("selection from %s", kindOf(v))
		}
		name := ""
		if attribute {
			if name, ok = argument(args, 0).(string); !ok {
				return s.fail("selection without the name of a member")
			}
			args = args[1:]
		}
		check := func(_ *state, v any, _ []any) bool { return truth(v) }
		if len(args) > 0 {
			if check = tests[s.str(args[0])]; check == nil {
				return s.fail("selection by test %s", s.repr(args[0]))
			}
			args = args[1:]
		}
		out := []any{}
		for _, e := range list {
			if !s.touch(e) {
				return undefined{}
			}
			value := e
			if attribute {
				value = s.path(e, name)
			}
			if check(s, value, args) == keep {
				out = append(out, e)
			}
		}
		return out
	}
}

func itemsFilter(s *state, v any, _ []any, _ map[string]any) any {
	switch v := v.(type) {
	case undefined:
		return []any{}
	case *dict:
		return items(v)
	}
	return s.fail("items of %s", kindOf(v))
}

func dictSort(s *state, v any, args []any, _ map[string]any) any {
	d, ok := v.(*dict)
	if !ok || len(args) > 0 {
		return s.fail("dictsort of %s", kindOf(v))
	}
	pairs := items(d)
	slices.SortStableFunc(pairs, func(a, b any) int {
		return strings.Compare(strings.ToLower(a.([]any)[0].(string)), strings.ToLower(b.([]any)[0].(string)))
	})
	return pairs
}

func listFilter(s *state, v any, _ []any, _ map[string]any) any {
	list, ok := elements(v)
	if !ok {
		return s.fail("list of %s", kindOf(v))
	}
	return list
}

// toInt reads a number, 0 where there is none.
func toInt(_ *state, v any, args []any, _ map[string]any) any {
	if n, ok := integer(v); ok {
		return n
	}
	f, ok := v.(float64)
	if t, isText := v.(string); isText {
		n, err := strconv.ParseInt(strings.TrimSpace(t), 10, 64)
		if err == nil {
			return n
		}
		f, err = strconv.ParseFloat(strings.TrimSpace(t), 64)
		ok = err == nil
	}
	if ok && math.Abs(f) < 1<<62 {
		return int64(f)
	}
	if len(args) > 0 {
		return args[0]
	}
	return int64(0)
}

func toFloat(_ *state, v any, args []any, _ map[string]any) any {
	if f, ok := number(v); ok {
		return f
	}
	if t, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(t), 64); err == nil {
			return f
		}
	}
	if len(args) > 0 {
		return args[0]
	}
	return 0.0
}

func end(s *state, v any, i int64) any {
	list, ok := elements(v)
	if !ok {
		return s.fail("first or last of %s", kindOf(v))
	}
	return s.item(list, i)
}

func reverse(s *state, v any, _ []any, _ map[string]any) any {
	list, ok := elements(v)
	if !ok {
		return s.fail("reverse of %s", kindOf(v))
	}
	out := slices.Clone(list)
	slices.Reverse(out)
	if _, ok := v.(string); ok {
		return joinList(s, out, "")
	}
	return out
}

// indent indents all lines but the first and empty ones.
func indent(s *state, v any, args []any, named map[string]any) any {
	width := "    "
	w := argument(args, 0)
	if n, ok := named["width"]; ok {
		w = n
	}
	switch w := w.(type) {
	case int64:
		if w < 0 || w > 1000 {
			return s.fail("indent by %d", w)
		}
		width = strings.Repeat(" ", int(w))
	case string:
		width = w
	}
	first := truth(argument(args, 1)) || truth(named["first"])
	blank := truth(argument(args, 2)) || truth(named["blank"])
	lines := strings.Split(s.str(v), "\n")
	for i, line := range lines {
		if (i > 0 || first) && (line != "" || blank) {
			lines[i] = width + line
		}
	}
	out := strings.Join(lines, "\n")
	s.charge(len(out))
	return out
}

func absolute(s *state, v any, _ []any, _ map[string]any) any {
	switch v := v.(type) {
	case int64:
		return max(v, -v)
	case float64:
		return math.Abs(v)
	}
	return s.fail("abs of %s", kindOf(v))
}

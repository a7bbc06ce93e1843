package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A stringMethod is a method of Python's str.
type stringMethod func(s *state, text string, args []any) any

var stringMethods = map[string]stringMethod{
	"strip":      trimming(strings.TrimFunc, strings.Trim),
	"lstrip":     trimming(strings.TrimLeftFunc, strings.TrimLeft),
	"rstrip":     trimming(strings.TrimRightFunc, strings.TrimRight),
	"split":      splitText,
	"splitlines": splitLines,
	"startswith": affix(strings.HasPrefix),
	"endswith":   affix(strings.HasSuffix),
	"upper":      mapping(strings.ToUpper),
	"lower":      mapping(strings.ToLower),
	"title":      mapping(title),
	"capitalize": mapping(capitalize),
	"replace":    replaceText,
	"join":       func(s *state, text string, args []any) any { return joinList(s, argument(args, 0), text) },
	"find":       func(s *state, text string, args []any) any { return find(text, s.str(argument(args, 0))) },
	"count": func(s *state, text string, args []any) any {
		return int64(strings.Count(text, s.str(argument(args, 0))))
	},
	"isdigit":      every(unicode.IsDigit),
	"isalpha":      every(unicode.IsLetter),
	"isspace":      every(unicode.IsSpace),
	"removeprefix": func(s *state, text string, args []any) any { return strings.TrimPrefix(text, s.str(argument(args, 0))) },
	"removesuffix": func(s *state, text string, args []any) any { return strings.TrimSuffix(text, s.str(argument(args, 0))) },
}

// method returns a bound method of v, or nil. Methods that change a value do
// not exist: transformers' sandbox forbids them.
func method(v any, name string) any {
	switch v := v.(type) {
	case string:
		if m, ok := stringMethods[name]; ok {
			return function(func(s *state, args []any, _ map[string]any) any {
				s.touch(v)
				return m(s, v, args)
			})
		}
	case *dict:
		return dictMethod(v, name)
	}
	return nil
}

func dictMethod(d *dict, name string) any {
	switch name {
	case "items":
		return function(func(*state, []any, map[string]any) any { return items(d) })
	case "keys":
		return function(func(*state, []any, map[string]any) any { keys, _ := elements(d); return keys })
	case "values":
		return function(func(*state, []any, map[string]any) any {
			values := make([]any, len(d.keys))
			for i, k := range d.keys {
				values[i] = d.values[k]
			}
			return values
		})
	case "get":
		return function(func(s *state, args []any, _ map[string]any) any {
			if v, ok := d.values[s.str(argument(args, 0))]; ok {
				return v
			}
			if len(args) > 1 {
				return args[1]
			}
			return nil
		})
	}
	return nil
}

func items(d *dict) []any {
	pairs := make([]any, len(d.keys))
	for i, k := range d.keys {
		pairs[i] = []any{k, d.values[k]}
	}
	return pairs
}

func argument(args []any, i int) any {
	if i < len(args) {
		return args[i]
	}
	return undefined{}
}

func trimming(space func(string, func(rune) bool) string, set func(string, string) string) stringMethod {
	return func(_ *state, text string, args []any) any {
		if chars, ok := argument(args, 0).(string); ok {
			return set(text, chars)
		}
		return space(text, unicode.IsSpace)
	}
}

func mapping(f func(string) string) stringMethod {
	return func(_ *state, text string, _ []any) any { return f(text) }
}

func every(is func(rune) bool) stringMethod {
	return func(_ *state, text string, _ []any) any {
		return text != "" && strings.IndexFunc(text, func(r rune) bool { return !is(r) }) < 0
	}
}

// affix takes one string or a list of them.
func affix(has func(text, affix string) bool) stringMethod {
	return func(s *state, text string, args []any) any {
		switch a := argument(args, 0).(type) {
		case string:
			return has(text, a)
		case []any:
			for _, e := range a {
				if x, ok := e.(string); ok && has(text, x) {
					return true
				}
			}
			return false
		default:
			return s.fail("startswith or endswith of %s", kindOf(a))
		}
	}
}

func splitText(s *state, text string, args []any) any {
	limit := -1
	if n, ok := integer(argument(args, 1)); ok && n >= 0 {
		limit = int(min(n, int64(len(text)))) + 1
	}
	var parts []string
	switch sep := argument(args, 0).(type) {
	case string:
		if sep == "" {
			return s.fail("split by an empty string")
		}
		parts = strings.SplitN(text, sep, limit)
	default:
		if limit > 0 {
			return s.fail("split by white space with a limit")
		}
		parts = strings.Fields(text)
	}
	return stringList(s, parts)
}

func splitLines(s *state, text string, _ []any) any {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return stringList(s, lines)
}

func stringList(s *state, parts []string) any {
	s.charge(16 * len(parts))
	list := make([]any, len(parts))
	for i, p := range parts {
		list[i] = p
	}
	return list
}

func replaceText(s *state, text string, args []any) any {
	from, okFrom := argument(args, 0).(string)
	to, okTo := argument(args, 1).(string)
	if !okFrom || !okTo {
		return s.fail("replace of %s by %s", kindOf(argument(args, 0)), kindOf(argument(args, 1)))
	}
	n := int64(-1)
	if limit, ok := integer(argument(args, 2)); ok {
		n = limit
	}
	hits := strings.Count(text, from)
	if !s.charge(len(text) + hits*len(to)) {
		return undefined{}
	}
	return strings.Replace(text, from, to, int(max(-1, min(n, int64(hits)))))
}

func joinList(s *state, v any, separator string) any {
	list, ok := elements(v)
	if !ok {
		return s.fail("join of %s", kindOf(v))
	}
	parts := make([]string, len(list))
	size := 0
	for i, e := range list {
		parts[i] = s.str(e)
		size += len(parts[i]) + len(separator)
	}
	if !s.charge(size) {
		return undefined{}
	}
	return strings.Join(parts, separator)
}

func find(text, sub string) any {
	before, _, ok := strings.Cut(text, sub)
	if !ok {
		return int64(-1)
	}
	return runes(before)
}

func capitalize(text string) string {
	r, n := utf8.DecodeRuneInString(text)
	if n == 0 {
		return text
	}
	return strings.ToUpper(string(r)) + strings.ToLower(text[n:])
}

func title(text string) string {
	letter := false
	return strings.Map(func(r rune) rune {
		first := !letter
		letter = unicode.IsLetter(r)
		if first {
			return unicode.ToTitle(r)
		}
		return unicode.ToLower(r)
	}, text)
}

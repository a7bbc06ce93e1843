package chat

import "strings"

// A test is v is name(args).
type test func(s *state, v any, args []any) bool

var tests = map[string]test{
	"defined":   func(_ *state, v any, _ []any) bool { return !isUndefined(v) },
	"undefined": func(_ *state, v any, _ []any) bool { return isUndefined(v) },
	"none":      func(_ *state, v any, _ []any) bool { return v == nil },
	"string":    func(_ *state, v any, _ []any) bool { _, ok := v.(string); return ok },
	"mapping":   func(_ *state, v any, _ []any) bool { _, ok := v.(*dict); return ok },
	"boolean":   func(_ *state, v any, _ []any) bool { _, ok := v.(bool); return ok },
	"true":      func(_ *state, v any, _ []any) bool { return v == true },
	"false":     func(_ *state, v any, _ []any) bool { return v == false },
	"integer":   func(_ *state, v any, _ []any) bool { _, ok := v.(int64); return ok },
	"float":     func(_ *state, v any, _ []any) bool { _, ok := v.(float64); return ok },
	"number":    func(_ *state, v any, _ []any) bool { _, ok := number(v); return ok },
	"callable":  func(_ *state, v any, _ []any) bool { _, ok := v.(function); return ok },
	"iterable":  func(_ *state, v any, _ []any) bool { _, ok := elements(v); return ok },
	"sequence":  isSequence,
	"odd":       func(_ *state, v any, _ []any) bool { n, ok := integer(v); return ok && n&1 == 1 },
	"even":      func(_ *state, v any, _ []any) bool { n, ok := integer(v); return ok && n&1 == 0 },
	"divisibleby": func(s *state, v any, args []any) bool {
		return s.equal(s.arithmetic("%", v, argument(args, 0)), int64(0))
	},
	"lower":   func(_ *state, v any, _ []any) bool { t, ok := v.(string); return ok && t == strings.ToLower(t) },
	"upper":   func(_ *state, v any, _ []any) bool { t, ok := v.(string); return ok && t == strings.ToUpper(t) },
	"in":      func(s *state, v any, args []any) bool { return s.contains(argument(args, 0), v) },
	"equalto": comparing("=="), "eq": comparing("=="), "==": comparing("=="),
	"ne": comparing("!="), "!=": comparing("!="),
	"lt": comparing("<"), "lessthan": comparing("<"), "<": comparing("<"),
	"gt": comparing(">"), "greaterthan": comparing(">"), ">": comparing(">"),
	"le": comparing("<="), "<=": comparing("<="), "ge": comparing(">="), ">=": comparing(">="),
}

func isUndefined(v any) bool { _, ok := v.(undefined); return ok }

// isSequence has mappings pass, as Jinja does.
func isSequence(_ *state, v any, _ []any) bool {
	switch v.(type) {
	case string, []any, *dict, undefined:
		return true
	}
	return false
}

func comparing(op string) test {
	return func(s *state, v any, args []any) bool { return s.compare(op, v, argument(args, 0)) }
}

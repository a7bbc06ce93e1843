package chat

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/loratool/loratool/format/rule"
)

func (s *state) compare(op string, a, b any) bool {
	switch op {
	case "==":
		return s.equal(a, b)
	case "!=":
		return !s.equal(a, b)
	case "in":
		return s.contains(b, a)
	case "not in":
		return !s.contains(b, a)
	}
	var result, ok bool
	s.touch(a)
	switch op {
	case "<":
		result, ok = less(a, b)
	case ">":
		result, ok = less(b, a)
	case "<=":
		result, ok = less(b, a)
		result = !result
	case ">=":
		result, ok = less(a, b)
		result = !result
	}
	if !ok {
		s.fail("%s cannot be compared with %s", kindOf(a), kindOf(b))
	}
	return result
}

func (s *state) contains(in, v any) bool {
	switch in := in.(type) {
	case undefined:
		return false
	case string:
		s.touch(in)
		if sub, ok := v.(string); ok {
			return strings.Contains(in, sub)
		}
	case []any:
		for _, e := range in {
			if s.equal(e, v) {
				return true
			}
		}
		return false
	case *dict:
		key, ok := v.(string)
		_, has := in.values[key]
		return ok && has
	}
	s.fail("%s cannot contain %s", kindOf(in), kindOf(v))
	return false
}

// kindOf names a value's type for messages.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case undefined:
		if v.name != "" {
			return "undefined " + reprString(v.name)
		}
		return "undefined"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	case *dict:
		return "a mapping"
	}
	return "an object"
}

func (s *state) arithmetic(op string, a, b any) any {
	if op == "~" {
		text := s.str(a) + s.str(b)
		s.charge(len(text))
		return text
	}
	if x, ok := a.(string); ok {
		return s.textArithmetic(op, x, b)
	}
	if x, ok := a.([]any); ok && op == "+" {
		if y, ok := b.([]any); ok {
			s.charge(16 * (len(x) + len(y)))
			return append(append(make([]any, 0, len(x)+len(y)), x...), y...)
		}
	}
	x, okX := integer(a)
	y, okY := integer(b)
	if okX && okY && op != "/" {
		return s.integers(op, x, y)
	}
	f, g, ok := numbers(a, b)
	if !ok {
		return s.fail("%s %s %s", kindOf(a), op, kindOf(b))
	}
	return s.floats(op, f, g)
}

func (s *state) textArithmetic(op, x string, b any) any {
	switch y := b.(type) {
	case string:
		if op == "+" {
			if !s.charge(len(x) + len(y)) {
				return undefined{}
			}
			return x + y
		}
	case int64:
		if op == "*" {
			if y <= 0 || x == "" {
				return ""
			}
			if y > maxOutput || !s.charge(len(x)*int(y)) {
				s.charge(maxOutput + 1)
				return undefined{}
			}
			return strings.Repeat(x, int(y))
		}
	}
	return s.fail("a string %s %s", op, kindOf(b))
}

func (s *state) integers(op string, x, y int64) any {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "**":
		if f := math.Pow(float64(x), float64(y)); y < 0 || math.Abs(f) > 1<<53 {
			return f
		} else {
			return int64(f)
		}
	}
	if y == 0 {
		return s.fail("division by zero")
	}
	quotient, remainder := x/y, x%y
	if remainder != 0 && (remainder < 0) != (y < 0) { // Python rounds down
		quotient, remainder = quotient-1, remainder+y
	}
	if op == "//" {
		return quotient
	}
	return remainder
}

func (s *state) floats(op string, x, y float64) any {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "**":
		return math.Pow(x, y)
	}
	if y == 0 {
		return s.fail("division by zero")
	}
	switch op {
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	}
	return x - float64(y*math.Floor(x/y))
}

// attribute is v.name: a method before a key, as Python has it.
func (s *state) attribute(v any, name string) any {
	if m := method(v, name); m != nil {
		return m
	}
	switch v := v.(type) {
	case undefined:
		return s.fail("%s has no member %q", kindOf(v), name)
	case *dict:
		if m, ok := v.values[name]; ok {
			return m
		}
	case namespace:
		if m, ok := v.values[name]; ok {
			return m
		}
	case loopState:
		return v.member(name)
	}
	return undefined{name}
}

// item is v[index]: a key before a method.
func (s *state) item(v, index any) any {
	switch v := v.(type) {
	case undefined:
		return s.fail("%s has no element", kindOf(v))
	case *dict:
		key, ok := index.(string)
		if m, has := v.values[key]; ok && has {
			return m
		}
	case []any:
		if i, ok := integer(index); ok {
			if i < 0 {
				i += int64(len(v))
			}
			if i >= 0 && i < int64(len(v)) {
				return v[i]
			}
		}
		return undefined{}
	case string:
		if i, ok := integer(index); ok && s.touch(v) {
			return charAt(v, i)
		}
	case namespace:
		return s.item(v.dict, index)
	case loopState:
		return v.member(s.str(index))
	}
	if name, ok := index.(string); ok {
		if m := method(v, name); m != nil {
			return m
		}
		return undefined{name}
	}
	return undefined{}
}

func charAt(text string, i int64) any {
	chars := []rune(text)
	if i < 0 {
		i += int64(len(chars))
	}
	if i < 0 || i >= int64(len(chars)) {
		return undefined{}
	}
	return string(chars[i])
}

// slice is v[from:to:step].
func (s *state) slice(v any, parts [3]expression) any {
	if !s.touch(v) {
		return undefined{}
	}
	items, ok := elements(v)
	if _, isDict := v.(*dict); !ok || isDict {
		return s.fail("%s cannot be sliced", kindOf(v))
	}
	from, to, step, ok := s.bounds(parts, int64(len(items)))
	if !ok {
		return undefined{}
	}
	picked := []any{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		picked = append(picked, items[i])
	}
	if _, ok := v.(string); !ok {
		return picked
	}
	var b strings.Builder
	for _, c := range picked {
		b.WriteString(c.(string))
	}
	s.charge(b.Len())
	return b.String()
}

// bounds evaluates the parts of a slice of n elements as Python does.
func (s *state) bounds(parts [3]expression, n int64) (from, to, step int64, ok bool) {
	part := func(i int, missing int64) int64 {
		if parts[i] == nil {
			return missing
		}
		v := parts[i](s)
		if v == nil {
			return missing
		}
		x, ok := integer(v)
		if !ok {
			s.fail("slice by %s", kindOf(v))
		}
		return x
	}
	step = part(2, 1)
	if step == 0 || step < -n-1 || step > n+1 {
		if step == 0 {
			s.fail("slice with step 0")
		}
		step = max(-n-1, min(n+1, step))
	}
	low, high := int64(0), n
	if step < 0 {
		low, high = -1, n-1
	}
	clamp := func(i int, missing int64) int64 {
		if parts[i] == nil {
			return missing
		}
		x := part(i, missing)
		if x < 0 {
			x += n
		}
		return max(low, min(high, x))
	}
	if step > 0 {
		from, to = clamp(0, low), clamp(1, high)
	} else {
		from, to = clamp(0, high), clamp(1, low)
	}
	return from, to, step, s.err == nil
}

func (s *state) call(f any, args arguments) any {
	fn, ok := f.(function)
	if u, missing := f.(undefined); missing && u.name == "strftime_now" && s.err == nil {
		s.err = &rule.Unsupported{What: "chat template that writes today's date", Hint: "put the date into the template"}
	}
	if !ok {
		return s.fail("%s is no function", kindOf(f))
	}
	plain, named := args.values(s)
	if !s.step() {
		return undefined{}
	}
	return fn(s, plain, named)
}

// maxRange bounds the lists that range makes.
const maxRange = 100_000

// globals are the functions that every template sees. strftime_now is not
// among them: a text must not depend on the day. Templates that ask whether it
// is defined have a date of their own.
func globals() map[string]any {
	return map[string]any{
		"range":     function(rangeOf),
		"namespace": function(newNamespace),
		"dict": function(func(s *state, args []any, named map[string]any) any {
			return newNamespace(s, args, named).(namespace).dict
		}),
		"raise_exception": function(raise),
	}
}

func newNamespace(s *state, args []any, named map[string]any) any {
	ns := namespace{newDict()}
	if len(args) > 0 {
		if d, ok := args[0].(*dict); ok {
			for _, k := range d.keys {
				ns.set(k, d.values[k])
			}
		}
	}
	for k, v := range named {
		ns.set(k, v)
	}
	return ns
}

func rangeOf(s *state, args []any, _ map[string]any) any {
	bounds := [3]int64{0, 0, 1}
	for i, a := range args {
		n, ok := integer(a)
		if !ok || i > 2 {
			return s.fail("range of %s", kindOf(a))
		}
		bounds[i] = n
	}
	if len(args) == 1 {
		bounds[0], bounds[1] = 0, bounds[0]
	}
	from, to, step := bounds[0], bounds[1], bounds[2]
	list := []any{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		if len(list) == maxRange {
			return s.fail("range of more than %d", maxRange)
		}
		list = append(list, i)
	}
	s.charge(16 * len(list))
	return list
}

func runes(s string) int64 { return int64(utf8.RuneCountInString(s)) }

package chat

import (
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/rule"
)

// An expression is evaluated in a state; on an error its value is undefined.
type expression func(s *state) any

// A parser turns tokens into statements and expressions. The first error is
// kept; from then on every token is the end.
type parser struct {
	tokens []token
	pos    int
	nest   int
	loops  int
	err    error
}

func (p *parser) peek() token {
	if p.err != nil || p.pos >= len(p.tokens) {
		return token{kind: tokenEnd}
	}
	return p.tokens[p.pos]
}

func (p *parser) next() token {
	t := p.peek()
	p.pos++
	return t
}

func (p *parser) line() int {
	if len(p.tokens) == 0 {
		return 0
	}
	return p.tokens[min(p.pos, len(p.tokens)-1)].line
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = syntaxError(p.line(), format, args...)
	}
}

func (p *parser) unsupported(what string) {
	if p.err == nil {
		p.err = &rule.Unsupported{What: "chat template: line " + strconv.Itoa(p.line()) + ": " + what}
	}
}

func (p *parser) isOp(op string) bool    { t := p.peek(); return t.kind == tokenOp && t.text == op }
func (p *parser) isName(n string) bool   { t := p.peek(); return t.kind == tokenName && t.text == n }
func (p *parser) takeOp(op string) bool  { return p.take(p.isOp(op)) }
func (p *parser) takeName(n string) bool { return p.take(p.isName(n)) }

func (p *parser) take(ok bool) bool {
	if ok {
		p.pos++
	}
	return ok
}

func (p *parser) expectOp(op string) {
	if !p.takeOp(op) {
		p.fail("found %s, expected %q", p.peek(), op)
	}
}

func (p *parser) name() string {
	t := p.next()
	if t.kind != tokenName {
		p.pos--
		p.fail("found %s, expected a name", t)
	}
	return t.text
}

// deeper bounds the depth of what f parses.
func (p *parser) deeper(f func() expression) expression {
	if p.nest++; p.nest > maxNest {
		p.fail("nested deeper than %d", maxNest)
	}
	e := f()
	p.nest--
	return e
}

// expression parses: or [if or [else expression]]
func (p *parser) expression() expression {
	return p.deeper(func() expression {
		e := p.or()
		for p.takeName("if") {
			yes, condition := e, p.or()
			no := func(*state) any { return undefined{} }
			if p.takeName("else") {
				no = p.expression()
			}
			e = func(s *state) any {
				if truth(condition(s)) {
					return yes(s)
				}
				return no(s)
			}
		}
		return e
	})
}

func (p *parser) or() expression {
	e := p.and()
	for p.takeName("or") {
		left, right := e, p.and()
		e = func(s *state) any {
			if v := left(s); truth(v) {
				return v
			}
			return right(s)
		}
	}
	return e
}

func (p *parser) and() expression {
	e := p.not()
	for p.takeName("and") {
		left, right := e, p.not()
		e = func(s *state) any {
			if v := left(s); !truth(v) {
				return v
			}
			return right(s)
		}
	}
	return e
}

func (p *parser) not() expression {
	if p.takeName("not") {
		e := p.deeper(p.not)
		return func(s *state) any { return !truth(e(s)) }
	}
	return p.compare()
}

// compare parses a chain of comparisons, each of neighbours.
func (p *parser) compare() expression {
	first := p.binary(0)
	var ops []string
	var rest []expression
	for {
		op := p.comparison()
		if op == "" {
			break
		}
		ops = append(ops, op)
		rest = append(rest, p.binary(0))
	}
	if len(ops) == 0 {
		return first
	}
	return func(s *state) any {
		left := first(s)
		for i, op := range ops {
			right := rest[i](s)
			if !s.compare(op, left, right) {
				return false
			}
			left = right
		}
		return true
	}
}

func (p *parser) comparison() string {
	for _, op := range [...]string{"==", "!=", "<=", ">=", "<", ">"} {
		if p.takeOp(op) {
			return op
		}
	}
	if p.takeName("in") {
		return "in"
	}
	if p.isName("not") && p.pos+1 < len(p.tokens) && p.tokens[p.pos+1].text == "in" && p.tokens[p.pos+1].kind == tokenName {
		p.pos += 2
		return "not in"
	}
	return ""
}

// precedence lists the binary operators, the loosest first.
var precedence = [][]string{{"+", "-"}, {"~"}, {"*", "//", "/", "%"}, {"**"}}

func (p *parser) binary(level int) expression {
	if level == len(precedence) {
		return p.unary(true)
	}
	e := p.binary(level + 1)
	for {
		op := ""
		for _, o := range precedence[level] {
			if op == "" && p.takeOp(o) {
				op = o
			}
		}
		if op == "" {
			return e
		}
		left, right := e, p.binary(level+1)
		e = func(s *state) any { return s.arithmetic(op, left(s), right(s)) }
	}
}

func (p *parser) unary(filters bool) expression {
	var e expression
	switch {
	case p.takeOp("-"):
		of := p.deeper(func() expression { return p.unary(false) })
		e = func(s *state) any { return s.arithmetic("-", int64(0), of(s)) }
	case p.takeOp("+"):
		e = p.deeper(func() expression { return p.unary(false) })
	default:
		e = p.postfix(p.primary())
	}
	if filters {
		e = p.filters(e)
	}
	return e
}

func (p *parser) primary() expression {
	t := p.next()
	switch t.kind {
	case tokenName:
		return p.word(t.text)
	case tokenString:
		var text strings.Builder
		text.WriteString(t.text)
		for p.peek().kind == tokenString {
			text.WriteString(p.next().text)
		}
		return constant(text.String())
	case tokenInt:
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			p.fail("number %s", t)
		}
		return constant(n)
	case tokenFloat:
		f, _ := strconv.ParseFloat(t.text, 64)
		return constant(f)
	case tokenOp:
		switch t.text {
		case "(":
			return p.tuple(")", true)
		case "[":
			return p.tuple("]", false)
		case "{":
			return p.dict()
		}
	}
	p.pos--
	p.fail("found %s, expected a value", t)
	return constant(undefined{})
}

func constant(v any) expression { return func(*state) any { return v } }

func (p *parser) word(name string) expression {
	switch name {
	case "true", "True":
		return constant(true)
	case "false", "False":
		return constant(false)
	case "none", "None":
		return constant(nil)
	}
	return func(s *state) any {
		s.step()
		if v, ok := s.scope.lookup(name); ok {
			return v
		}
		return undefined{name}
	}
}

// tuple parses a list; with single, one element without a comma stands for
// itself.
func (p *parser) tuple(end string, single bool) expression {
	var parts []expression
	comma := false
	for !p.isOp(end) && p.err == nil {
		parts = append(parts, p.expression())
		if comma = p.takeOp(","); !comma {
			break
		}
	}
	p.expectOp(end)
	if single && len(parts) == 1 && !comma {
		return parts[0]
	}
	return func(s *state) any {
		list := make([]any, len(parts))
		for i, e := range parts {
			list[i] = e(s)
		}
		return list
	}
}

func (p *parser) dict() expression {
	var keys, values []expression
	for !p.isOp("}") && p.err == nil {
		keys = append(keys, p.expression())
		p.expectOp(":")
		values = append(values, p.expression())
		if !p.takeOp(",") {
			break
		}
	}
	p.expectOp("}")
	return func(s *state) any {
		d := newDict()
		for i := range keys {
			d.set(s.str(keys[i](s)), values[i](s))
		}
		return d
	}
}

// postfix parses .name, [index], [from:to:step] and (arguments).
func (p *parser) postfix(e expression) expression {
	for p.err == nil {
		of := e
		switch {
		case p.takeOp("."):
			t := p.next()
			if t.kind != tokenName && t.kind != tokenInt {
				p.fail("found %s, expected a name", t)
			}
			e = func(s *state) any { return s.attribute(of(s), t.text) }
		case p.takeOp("["):
			e = p.subscript(of)
		case p.takeOp("("):
			args := p.arguments()
			e = func(s *state) any { return s.call(of(s), args) }
		default:
			return e
		}
	}
	return e
}

func (p *parser) subscript(of expression) expression {
	var parts [3]expression
	n := 0
	for n < 3 && !p.isOp("]") && p.err == nil {
		if !p.isOp(":") {
			parts[n] = p.expression()
		}
		if !p.takeOp(":") {
			break
		}
		n++
	}
	p.expectOp("]")
	if n == 0 {
		index := parts[0]
		if index == nil {
			p.fail("empty subscript")
			return of
		}
		return func(s *state) any { return s.item(of(s), index(s)) }
	}
	return func(s *state) any { return s.slice(of(s), parts) }
}

// arguments of a call: by position and by name.
type arguments struct {
	plain []expression
	names []string
	named []expression
}

func (p *parser) arguments() (a arguments) {
	for !p.isOp(")") && p.err == nil {
		if p.isOp("*") || p.isOp("**") {
			p.unsupported("unpacked arguments")
		}
		if t := p.peek(); t.kind == tokenName && p.pos+1 < len(p.tokens) && p.tokens[p.pos+1].kind == tokenOp && p.tokens[p.pos+1].text == "=" {
			p.pos += 2
			a.names = append(a.names, t.text)
			a.named = append(a.named, p.expression())
		} else {
			a.plain = append(a.plain, p.expression())
		}
		if !p.takeOp(",") {
			break
		}
	}
	p.expectOp(")")
	return a
}

func (a arguments) values(s *state) (plain []any, named map[string]any) {
	for _, e := range a.plain {
		plain = append(plain, e(s))
	}
	for i, e := range a.named {
		if named == nil {
			named = map[string]any{}
		}
		named[a.names[i]] = e(s)
	}
	return plain, named
}

// filters parses |filter(…) and is [not] test.
func (p *parser) filters(e expression) expression {
	for p.err == nil {
		switch {
		case p.takeOp("|"):
			e = p.filter(e)
		case p.takeName("is"):
			e = p.test(e)
		default:
			return e
		}
	}
	return e
}

func (p *parser) filter(of expression) expression {
	name := p.name()
	apply, ok := filters()[name]
	if !ok {
		p.unsupported("filter " + strconv.QuoteToASCII(name))
	}
	var args arguments
	if p.takeOp("(") {
		args = p.arguments()
	}
	return func(s *state) any {
		v := of(s)
		plain, named := args.values(s)
		if !s.touch(v) {
			return undefined{}
		}
		return apply(s, v, plain, named)
	}
}

func (p *parser) test(of expression) expression {
	negate := p.takeName("not")
	name := p.name()
	check, ok := tests[name]
	if !ok {
		p.unsupported("test " + strconv.QuoteToASCII(name))
	}
	var args arguments
	switch t := p.peek(); {
	case p.takeOp("("):
		args = p.arguments()
	case t.kind == tokenString || t.kind == tokenInt || t.kind == tokenFloat || p.isOp("[") || p.isOp("{"),
		t.kind == tokenName && t.text != "else" && t.text != "or" && t.text != "and" && t.text != "is" && t.text != "if" && t.text != "not" && t.text != "in" && t.text != "recursive":
		args.plain = []expression{p.postfix(p.primary())}
	}
	return func(s *state) any {
		v := of(s)
		plain, _ := args.values(s)
		s.touch(v)
		return check(s, v, plain) != negate
	}
}

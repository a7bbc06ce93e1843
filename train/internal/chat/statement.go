package chat

import (
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/rule"
)

// A statement writes text, sets names or runs others.
type statement func(s *state)

// run runs statements until an error or a jump.
func (s *state) run(body []statement) {
	for _, st := range body {
		if !s.step() || s.jump != noJump {
			return
		}
		st(s)
	}
}

// block parses statements up to a tag that none of them begins, such as endif.
func (p *parser) block() (body []statement) {
	if p.nest++; p.nest > maxNest {
		p.fail("nested deeper than %d", maxNest)
	}
	for p.err == nil {
		t := p.peek()
		switch {
		case t.kind == tokenText:
			p.pos++
			body = append(body, func(s *state) { s.write(t.text) })
		case t.kind == tokenPrint:
			p.pos++
			body = append(body, p.print())
		case t.kind == tokenBegin && p.pos+1 < len(p.tokens) && statementNamed(p.tokens[p.pos+1].text) != nil:
			p.pos++
			parse := statementNamed(p.next().text)
			body = append(body, parse(p))
		default:
			p.nest--
			return body
		}
	}
	p.nest--
	return body
}

func (p *parser) print() statement {
	e := p.listed()
	if p.next().kind != tokenShow {
		p.pos--
		p.fail("found %s, expected \"}}\"", p.peek())
	}
	return func(s *state) {
		if v := e(s); s.err == nil {
			s.write(s.str(v))
		}
	}
}

// listed parses expressions with commas between them, which make a tuple.
func (p *parser) listed() expression {
	first := p.expression()
	if !p.isOp(",") {
		return first
	}
	parts := []expression{first}
	for p.takeOp(",") {
		parts = append(parts, p.expression())
	}
	return func(s *state) any {
		list := make([]any, len(parts))
		for i, e := range parts {
			list[i] = e(s)
		}
		return list
	}
}

// close reads the end of a tag.
func (p *parser) close() {
	if p.next().kind != tokenClose {
		p.pos--
		p.fail("found %s, expected \"%%}\"", p.peek())
	}
}

// tag reads {% name, one of those given, and returns the name.
func (p *parser) tag(names ...string) string {
	if p.peek().kind == tokenBegin {
		p.pos++
		for _, n := range names {
			if p.takeName(n) {
				return n
			}
		}
	}
	p.fail("found %s, expected %s", p.peek(), strings.Join(names, " or "))
	return ""
}

// statementNamed returns what parses the statement that a tag begins, or nil
// if it begins none.
func statementNamed(name string) func(*parser) statement {
	switch name {
	case "if":
		return (*parser).ifBlock
	case "for":
		return (*parser).forBlock
	case "set":
		return (*parser).set
	case "macro":
		return (*parser).macro
	case "generation":
		return (*parser).generation
	case "break":
		return jumping(breakLoop)
	case "continue":
		return jumping(continueLoop)
	case "call", "filter", "include", "import", "from", "extends", "block", "with", "autoescape", "raw", "do":
		return func(p *parser) statement {
			p.unsupported("tag " + strconv.Quote(name))
			return nil
		}
	}
	return nil
}

func (p *parser) ifBlock() statement {
	var conditions []expression
	var bodies [][]statement
	for tag := "if"; tag != "endif" && p.err == nil; {
		condition := constant(true)
		if tag != "else" {
			condition = p.expression()
		}
		p.close()
		conditions = append(conditions, condition)
		bodies = append(bodies, p.block())
		if tag == "else" {
			tag = p.tag("endif")
		} else {
			tag = p.tag("elif", "else", "endif")
		}
	}
	p.close()
	return func(s *state) {
		for i, c := range conditions {
			if truth(c(s)) {
				s.run(bodies[i])
				return
			}
		}
	}
}

// A loop is a parsed for.
type loop struct {
	names       []string
	over        expression
	filter      expression // nil: all
	body, other []statement
}

func (p *parser) forBlock() statement {
	l := &loop{names: p.targets()}
	if !p.takeName("in") {
		p.fail("found %s, expected in", p.peek())
	}
	l.over = p.or()
	if p.takeName("if") {
		l.filter = p.expression()
	}
	if p.isName("recursive") {
		p.unsupported("recursive loop")
	}
	p.close()
	p.loops++
	l.body = p.block()
	p.loops--
	if p.tag("else", "endfor") == "else" {
		p.close()
		l.other = p.block()
		p.tag("endfor")
	}
	p.close()
	return l.run
}

// targets parses the names that a loop or set gives values.
func (p *parser) targets() []string {
	open := p.takeOp("(")
	names := []string{p.name()}
	for p.takeOp(",") {
		names = append(names, p.name())
	}
	if open {
		p.expectOp(")")
	}
	return names
}

func (l *loop) run(s *state) {
	items, ok := elements(l.over(s))
	if !ok {
		s.fail("loop over what is no list")
		return
	}
	if l.filter != nil {
		items = l.chosen(s, items)
	}
	for i, item := range items {
		if !s.step() {
			return
		}
		s.enter(s.scope, func() {
			s.bind(l.names, item)
			s.scope.names["loop"] = loopState{items, i}
			s.run(l.body)
		})
		jump := s.jump
		s.jump = noJump
		if jump == breakLoop {
			break
		}
	}
	if len(items) == 0 {
		s.run(l.other)
	}
}

// chosen returns the items that the loop's condition lets pass.
func (l *loop) chosen(s *state, items []any) (chosen []any) {
	for _, item := range items {
		if !s.step() {
			return nil
		}
		s.enter(s.scope, func() {
			s.bind(l.names, item)
			if truth(l.filter(s)) {
				chosen = append(chosen, item)
			}
		})
	}
	return chosen
}

// bind gives names their values; several share the elements of one value.
func (s *state) bind(names []string, v any) {
	if len(names) == 1 {
		s.scope.names[names[0]] = v
		return
	}
	parts, ok := elements(v)
	if !ok || len(parts) != len(names) {
		s.fail("%d names for another number of values", len(names))
		return
	}
	for i, name := range names {
		s.scope.names[name] = parts[i]
	}
}

// A loopState is the variable loop: one turn of a loop.
type loopState struct {
	items []any
	i     int
}

func (l loopState) member(name string) any {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.i + 1)
	case "index0":
		return int64(l.i)
	case "revindex":
		return int64(n - l.i)
	case "revindex0":
		return int64(n - l.i - 1)
	case "first":
		return l.i == 0
	case "last":
		return l.i == n-1
	case "length":
		return int64(n)
	case "previtem":
		if l.i > 0 {
			return l.items[l.i-1]
		}
	case "nextitem":
		if l.i+1 < n {
			return l.items[l.i+1]
		}
	}
	return undefined{"loop." + name}
}

// set parses {% set a = … %}, {% set ns.a = … %} and {% set a %}…{% endset %}.
func (p *parser) set() statement {
	names := p.targets()
	member := ""
	if len(names) == 1 && p.takeOp(".") {
		member = p.name()
	}
	assign := func(s *state, v any) { s.bind(names, v) }
	if member != "" {
		assign = func(s *state, v any) { s.setMember(names[0], member, v) }
	}
	if p.takeOp("=") {
		e := p.listed()
		p.close()
		return func(s *state) {
			if v := e(s); s.err == nil {
				assign(s, v)
			}
		}
	}
	p.close()
	body := p.block()
	p.tag("endset")
	p.close()
	return func(s *state) {
		text := s.capture(func() { s.enter(s.scope, func() { s.run(body) }) })
		assign(s, text)
	}
}

func (s *state) setMember(name, member string, v any) {
	target, _ := s.scope.lookup(name)
	ns, ok := target.(namespace)
	if !ok {
		s.fail("%q is no namespace", name)
		return
	}
	ns.set(member, v)
}

func (p *parser) macro() statement {
	name := p.name()
	var params []string
	var defaults []expression
	p.expectOp("(")
	for !p.isOp(")") && p.err == nil {
		params = append(params, p.name())
		var d expression
		if p.takeOp("=") {
			d = p.expression()
		}
		defaults = append(defaults, d)
		if !p.takeOp(",") {
			break
		}
	}
	p.expectOp(")")
	p.close()
	loops := p.loops
	p.loops = 0
	body := p.block()
	p.loops = loops
	p.tag("endmacro")
	p.close()
	return func(s *state) {
		home := s.scope
		s.scope.names[name] = function(func(s *state, args []any, named map[string]any) any {
			return s.callMacro(home, name, params, defaults, body, args, named)
		})
	}
}

func (s *state) callMacro(home *scope, name string, params []string, defaults []expression, body []statement, args []any, named map[string]any) any {
	if len(args) > len(params) {
		return s.fail("macro %q takes %d arguments, not %d", name, len(params), len(args))
	}
	return s.capture(func() {
		s.enter(home, func() {
			for i, param := range params {
				v, given := named[param]
				switch {
				case i < len(args):
					v = args[i]
				case given:
				case defaults[i] != nil:
					v = defaults[i](s)
				default:
					v = undefined{param}
				}
				s.scope.names[param] = v
			}
			s.run(body)
		})
	})
}

// generation parses the block in which the assistant's words are written.
func (p *parser) generation() statement {
	p.close()
	body := p.block()
	p.tag("endgeneration")
	p.close()
	return func(s *state) {
		start := s.top.Len()
		s.run(body)
		if s.out == &s.top && s.top.Len() > start {
			s.spans = append(s.spans, Span{start, s.top.Len()})
		}
	}
}

func jumping(j jump) func(*parser) statement {
	return func(p *parser) statement {
		if p.loops == 0 {
			p.fail("break or continue outside of a loop")
		}
		p.close()
		return func(s *state) { s.jump = j }
	}
}

// raise is raise_exception: the template refuses the conversation.
func raise(s *state, args []any, _ map[string]any) any {
	message := ""
	if len(args) > 0 {
		message = s.str(args[0])
	}
	if s.err == nil {
		s.err = &rule.Error{Rule: "TK003", Err: RefusalError(message)}
	}
	return undefined{}
}

// A RefusalError is the message by which a template refuses a conversation.
type RefusalError string

// Error returns the message, quoted.
func (e RefusalError) Error() string {
	return "the chat template refuses the messages: " + strconv.QuoteToASCII(string(e))
}

// Package chat renders the chat templates that stand beside tokenizers: the
// part of Jinja that they use, as Hugging Face transformers sets it up
// (trim_blocks, lstrip_blocks, loop controls, generation blocks). Templates
// are hostile input: their steps and their output are bounded, they reach
// nothing outside the values they are given, and what is not known is refused
// by name. The package knows no tokens.
package chat

import (
	"fmt"
	"strings"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
)

// Limits of a template and of one rendering. The longest templates in use have
// 20 KB; a conversation of a hundred messages takes some 50,000 steps.
const (
	maxSource = 1 << 20 // bytes
	maxNest   = 100     // expressions and blocks within each other, and macro calls
	maxSteps  = 2_000_000
	maxOutput = 64 << 20 // bytes written, those of macros too
)

// A Template is a parsed chat template. It is safe for concurrent use.
type Template struct {
	body []statement
}

// Parse reads a template. Errors are *rule.Error for one that Jinja would
// refuse too and *rule.Unsupported for what this package does not know.
func Parse(source string) (*Template, error) {
	if len(source) > maxSource {
		return nil, &rule.Unsupported{What: fmt.Sprintf("chat template of %d bytes", len(source))}
	}
	p := &parser{}
	p.tokens, p.err = lex(source)
	body := p.block()
	if p.err == nil && p.peek().kind != tokenEnd {
		p.fail("unexpected %s", p.peek())
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Template{body}, nil
}

// Input is what a template sees.
type Input struct {
	Messages []strictjson.Value // objects with role and content
	Tools    strictjson.Value   // a list, or null
	// AddGenerationPrompt asks for the text that begins an answer.
	AddGenerationPrompt bool
	// Variables are more names: bos_token and the like.
	Variables map[string]string
}

// A Span is a range of bytes of a rendered text.
type Span struct{ Start, End int }

// Render returns the text of a conversation and the spans that generation
// blocks of the template wrote: what the assistant says. A template without
// such blocks has no spans.
func (t *Template) Render(in Input) (text string, generated []Span, err error) {
	s := newState(in)
	s.run(t.body)
	if s.err != nil {
		return "", nil, s.err
	}
	return s.top.String(), s.spans, nil
}

// A state is one rendering. The first error is kept in err and ends it.
type state struct {
	scope   *scope
	top     strings.Builder
	out     *strings.Builder // top, or what captures the text of a macro
	spans   []Span
	steps   int
	written int
	depth   int
	jump    jump
	err     error
}

// A jump is a break or continue on its way to its loop.
type jump uint8

const (
	noJump jump = iota
	breakLoop
	continueLoop
)

// A scope holds names; loops and macros open one of their own.
type scope struct {
	names map[string]any
	up    *scope
}

func (s *scope) lookup(name string) (any, bool) {
	for ; s != nil; s = s.up {
		if v, ok := s.names[name]; ok {
			return v, true
		}
	}
	return nil, false
}

func newState(in Input) *state {
	s := &state{scope: &scope{names: globals()}}
	s.out = &s.top
	var messages []any
	for _, m := range in.Messages {
		messages = append(messages, fromJSON(m))
	}
	s.scope.names["messages"] = messages
	s.scope.names["tools"] = fromJSON(in.Tools)
	s.scope.names["documents"] = nil
	s.scope.names["add_generation_prompt"] = in.AddGenerationPrompt
	for name, v := range in.Variables {
		s.scope.names[name] = v
	}
	return s
}

// fail keeps the first error.
func (s *state) fail(format string, args ...any) any {
	if s.err == nil {
		s.err = &rule.Error{Rule: "TK003", Err: fmt.Errorf("chat template: "+format, args...)}
	}
	return undefined{}
}

// step counts one step of work and reports whether to go on.
func (s *state) step() bool {
	if s.steps++; s.steps > maxSteps && s.err == nil {
		s.err = &rule.Unsupported{What: fmt.Sprintf("chat template that takes more than %d steps", maxSteps)}
	}
	return s.err == nil
}

// touch counts the work of reading a value whole, without what it holds, and
// reports whether to go on. One step is for some microseconds at most.
func (s *state) touch(v any) bool {
	switch v := v.(type) {
	case string:
		s.steps += len(v) / 1024
	case []any:
		s.steps += len(v) / 16
	case *dict:
		s.steps += len(v.keys) / 16
	}
	return s.step()
}

// charge counts n bytes of text made and reports whether to go on.
func (s *state) charge(n int) bool {
	if s.written += n; (n < 0 || s.written > maxOutput) && s.err == nil {
		s.err = &rule.Unsupported{What: fmt.Sprintf("chat template that writes more than %d bytes", maxOutput)}
	}
	return s.err == nil
}

func (s *state) write(text string) {
	if s.charge(len(text)) {
		s.out.WriteString(text)
	}
}

// capture returns what f writes.
func (s *state) capture(f func()) string {
	var b strings.Builder
	outer := s.out
	s.out = &b
	f()
	s.out = outer
	return b.String()
}

// enter opens a scope for f.
func (s *state) enter(up *scope, f func()) {
	if s.depth++; s.depth > maxNest {
		s.fail("calls nested deeper than %d", maxNest)
	}
	outer := s.scope
	s.scope = &scope{names: map[string]any{}, up: up}
	if s.err == nil {
		f()
	}
	s.scope = outer
	s.depth--
}

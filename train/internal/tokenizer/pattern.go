package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A pattern is a regular expression of a tokenizer file as an automaton that
// reads each character once. Of the alternatives that match at a place the
// first one counts, as in Perl and in Oniguruma, which the library uses.
type pattern struct {
	// spaceTail is the ending \s+(?!\S)|\s+ of GPT-2 and its heirs, the one
	// use of lookahead that is known: white space up to the last character
	// before a word.
	spaceTail bool
	classes   runeClasses
	next      []int16 // [state][class]; deadState ends the match
	accepts   []bool  // the state ends a match
}

const (
	deadState    = 0
	startState   = 1
	maxStates    = 512  // of an automaton; the patterns of real models need under 50
	maxInsts     = 2048 // of the compiled expression
	maxPattern   = 8192 // bytes of an expression
	spaceEnding  = `\s+(?!\S)|\s+`
	spaceEnding1 = `\s+(?!\S)|\s`
)

// newPattern compiles an expression. Errors say what is not understood.
func newPattern(expr string) (*pattern, error) {
	if len(expr) > maxPattern {
		return nil, fmt.Errorf("expression of %d bytes", len(expr))
	}
	p := &pattern{}
	head := expr
	for _, ending := range [...]string{spaceEnding, spaceEnding1} {
		if rest, ok := strings.CutSuffix(expr, ending); ok && (rest == "" || strings.HasSuffix(rest, "|")) {
			head, p.spaceTail = strings.TrimSuffix(rest, "|"), true
			break
		}
	}
	if head == "" && p.spaceTail {
		head = `[^\x{0}-\x{10FFFF}]` // matches nothing
	}
	prog, err := compile(head)
	if err != nil {
		return nil, err
	}
	p.classes = newRuneClasses(prog)
	if err := p.build(prog); err != nil {
		return nil, err
	}
	if p.accepts[startState] {
		return nil, errors.New("matches the empty text")
	}
	return p, nil
}

// compile translates an expression of Oniguruma to Go's syntax.
func compile(expr string) (*syntax.Prog, error) {
	expr, err := translate(expr)
	if err != nil {
		return nil, err
	}
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, err
	}
	if len(prog.Inst) > maxInsts {
		return nil, errors.New("too large")
	}
	for _, inst := range prog.Inst {
		if inst.Op == syntax.InstEmptyWidth {
			return nil, errors.New("anchors")
		}
	}
	return prog, nil
}

// runeClasses divides all characters into classes that an automaton treats alike.
type runeClasses struct {
	ascii  [utf8.RuneSelf]uint8
	starts []rune  // where each run of characters of one class begins
	of     []uint8 // class of each run
	n      int
	// takes tells for each class which instructions of the program take it.
	takes [][]bool
}

func newRuneClasses(prog *syntax.Prog) runeClasses {
	var c runeClasses
	c.starts = boundaries(prog)
	known := map[string]uint8{}
	for _, start := range c.starts {
		takes := make([]bool, len(prog.Inst))
		var key strings.Builder
		for i := range prog.Inst {
			inst := &prog.Inst[i]
			takes[i] = consumes(inst) && inst.MatchRune(start)
			if takes[i] {
				binary.Write(&key, binary.LittleEndian, uint32(i))
			}
		}
		class, ok := known[key.String()]
		if !ok {
			class = uint8(min(len(known), 255))
			known[key.String()] = class
			c.takes = append(c.takes, takes)
		}
		c.of = append(c.of, class)
	}
	c.n = len(known)
	for r := range rune(utf8.RuneSelf) {
		c.ascii[r] = c.search(r)
	}
	return c
}

// boundaries returns 0 and every character at which an instruction's answer
// may change, in order.
func boundaries(prog *syntax.Prog) []rune {
	at := map[rune]bool{0: true}
	for i := range prog.Inst {
		inst := &prog.Inst[i]
		switch {
		case inst.Op == syntax.InstRuneAnyNotNL:
			at['\n'], at['\n'+1] = true, true
		case len(inst.Rune) == 1:
			for r, first := inst.Rune[0], true; first || r != inst.Rune[0]; r, first = unicode.SimpleFold(r), false {
				at[r], at[r+1] = true, true
			}
		case consumes(inst):
			for k := 0; k+1 < len(inst.Rune); k += 2 {
				at[inst.Rune[k]], at[inst.Rune[k+1]+1] = true, true
			}
		}
	}
	var starts []rune
	for r := range at {
		starts = append(starts, r)
	}
	slices.Sort(starts)
	return starts
}

func consumes(inst *syntax.Inst) bool {
	switch inst.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return true
	}
	return false
}

func (c *runeClasses) search(r rune) uint8 {
	i, found := slices.BinarySearch(c.starts, r)
	if !found {
		i--
	}
	return c.of[i]
}

func (c *runeClasses) class(r rune) uint8 {
	if r < utf8.RuneSelf {
		return c.ascii[r]
	}
	return c.search(r)
}

// build makes the automaton. A state is the list of instructions that are
// reached, the preferred first and none after one that ends the match.
func (p *pattern) build(prog *syntax.Prog) error {
	if p.classes.n > 255 {
		return errors.New("too many kinds of characters")
	}
	b := &builder{prog: prog, known: map[string]int16{"": deadState}, lists: [][]uint32{nil}, seen: make([]int, len(prog.Inst))}
	b.round++
	b.state(b.closure(nil, uint32(prog.Start)))
	for s := 0; s < len(b.lists); s++ {
		if len(b.lists) > maxStates {
			return errors.New("too many states")
		}
		accepts := len(b.lists[s]) > 0 && prog.Inst[b.lists[s][len(b.lists[s])-1]].Op == syntax.InstMatch
		p.accepts = append(p.accepts, accepts)
		for class := range p.classes.n {
			p.next = append(p.next, b.step(b.lists[s], p.classes.takes[class]))
		}
	}
	return nil
}

// A builder finds the states of an automaton.
type builder struct {
	prog  *syntax.Prog
	lists [][]uint32
	known map[string]int16
	seen  []int // the round in which an instruction was reached
	round int   // one for each state that is looked for
}

// state returns the number of the state with that list.
func (b *builder) state(list []uint32) int16 {
	key := make([]byte, 0, 4*len(list))
	for _, pc := range list {
		key = binary.LittleEndian.AppendUint32(key, pc)
	}
	s, ok := b.known[string(key)]
	if !ok {
		s = int16(min(len(b.lists), maxStates+1))
		b.known[string(key)] = s
		b.lists = append(b.lists, list)
	}
	return s
}

func (b *builder) step(list []uint32, takes []bool) int16 {
	var to []uint32
	b.round++
	for _, pc := range list {
		if takes[pc] {
			to = b.closure(to, b.prog.Inst[pc].Out)
			if b.matched(to) {
				break
			}
		}
	}
	return b.state(to)
}

func (b *builder) matched(list []uint32) bool {
	return len(list) > 0 && b.prog.Inst[list[len(list)-1]].Op == syntax.InstMatch
}

// closure appends what is reached from pc without reading a character, and was
// not reached before in this round.
func (b *builder) closure(list []uint32, pc uint32) []uint32 {
	stack := []uint32{pc}
	for len(stack) > 0 && !b.matched(list) {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if b.seen[pc] == b.round {
			continue
		}
		b.seen[pc] = b.round
		switch inst := &b.prog.Inst[pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, inst.Arg, inst.Out)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, inst.Out)
		case syntax.InstFail:
		default:
			list = append(list, pc)
		}
	}
	return list
}

// match returns where the match that begins at pos ends, or -1.
func (p *pattern) match(s string, pos int) int {
	end := -1
	state := int16(startState)
	for i := pos; i < len(s); {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		state = p.next[int(state)*p.classes.n+int(p.classes.class(r))]
		if state == deadState {
			break
		}
		if i += n; p.accepts[state] {
			end = i
		}
	}
	if end < 0 && p.spaceTail {
		return matchSpace(s, pos)
	}
	return end
}

// matchSpace matches \s+(?!\S)|\s+ at pos.
func matchSpace(s string, pos int) int {
	end := skipSpace(s, pos)
	if end == pos {
		return -1
	}
	if end == len(s) {
		return end
	}
	_, n := utf8.DecodeLastRuneInString(s[pos:end])
	if end-n > pos {
		return end - n
	}
	return end
}

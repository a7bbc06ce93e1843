package dialect

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
)

// patterns are rank_pattern or alpha_pattern in file order: the first that
// matches wins (PEFT ≥ 0.15, get_pattern_key in src/peft/utils/other.py).
type patterns []patternValue

// A patternValue is a key and its value.
type patternValue struct {
	key     string
	value   float64
	re      matcher // nil if the key is not a regular expression of RE2
	badness error
}

type matcher interface{ MatchString(name string) bool }

// matches reports whether the key can be that of a name.
func (p patternValue) matches(name string) bool {
	return p.key == name || p.re != nil && p.re.MatchString(name)
}

// A literal is a key of letters, digits, _, - and dots, the usual one. It is
// compared as it stands; a dot matches any character.
type literal string

func isLiteral(key string) bool {
	return !strings.ContainsFunc(key, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' || r == '.')
	})
}

// MatchString tells whether the key is the end of a name, from a dot on, or
// all of it.
func (l literal) MatchString(name string) bool {
	name = strings.TrimSuffix(name, "\n") // Python's $ matches before it
	for i := len(l) - 1; i >= 0; i-- {
		r, n := utf8.DecodeLastRuneInString(name)
		if n == 0 || r != rune(l[i]) && (l[i] != '.' || r == '\n') {
			return false
		}
		name = name[:len(name)-n]
	}
	return name == "" || name[len(name)-1] == '.' && !strings.Contains(name, "\n")
}

// Limits of what patterns cost: instructions of all compiled keys of a config,
// some 100 bytes each, and keys that are held against module names, at a
// microsecond for a regular expression and some nanoseconds for a literal.
const (
	maxPatternSize    = 1 << 18
	maxPatternMatches = 1 << 20
	maxLiteralMatches = 1 << 28
)

func pattern(at func(*peftConfig) *patterns, ranks bool) func(*peftConfig, strictjson.Value) error {
	return func(c *peftConfig, v strictjson.Value) error {
		if v.Kind != strictjson.Object {
			return fmt.Errorf("found %s, expected an object", v.Kind)
		}
		for _, m := range v.Members {
			x, err := number(m.Value)
			if err != nil {
				return fmt.Errorf("%q: %w", m.Name, err)
			}
			if n, err := integer(m.Value); ranks && (err != nil || n < 1 || n > maxRank) {
				return fmt.Errorf("%q: found %s, expected a rank of 1 to %d", m.Name, m.Value.Text, maxRank)
			}
			p := patternValue{key: m.Name, value: x}
			p.re, p.badness = c.compile(m.Name)
			*at(c) = append(*at(c), p)
		}
		return nil
	}
}

// compile makes the expression that PEFT matches a key by, if all of them
// together stay small: a key of a few bytes can stand for megabytes.
func (c *peftConfig) compile(key string) (matcher, error) {
	if isLiteral(key) {
		return literal(key), nil
	}
	re2, err := fromPython(key)
	if err != nil {
		return nil, err
	}
	expression := `^(?:(.*\.)?(` + re2 + `)$)`
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if c.patternSize += instructions(tree); c.patternSize > maxPatternSize {
		return nil, errors.New("the patterns are too large together")
	}
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	return re, nil
}

// instructions bounds the length of the program that re compiles to.
func instructions(re *syntax.Regexp) int {
	n := 2 + 2*len(re.Rune)
	for _, sub := range re.Sub {
		n = min(n+instructions(sub), maxPatternSize+1)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1) + 1
	}
	return min(n, maxPatternSize+1)
}

// affordable refuses patterns that would take minutes to hold against n
// modules.
func (c *peftConfig) affordable(n int) error {
	literals, expressions := 0, 0
	for _, p := range append(c.rankPattern[:len(c.rankPattern):len(c.rankPattern)], c.alphaPattern...) {
		if _, ok := p.re.(literal); ok {
			literals++
		} else {
			expressions++
		}
	}
	if literals*n <= maxLiteralMatches && expressions*n <= maxPatternMatches {
		return nil
	}
	return &rule.Unsupported{File: c.file, What: fmt.Sprintf("%d keys of rank_pattern and alpha_pattern for %d modules", literals+expressions, n),
		Hint: "write fewer keys: one for the modules that share a value"}
}

// errNotRE2 reports a pattern that Python may understand and RE2 does not,
// such as one with look-around.
var errNotRE2 = errors.New("pattern cannot be read")

// lookup returns the value for a module name. A pattern that cannot be read
// stands in the way only of names that no earlier pattern matches.
func (ps patterns) lookup(name string, otherwise float64) (float64, error) {
	for _, p := range ps {
		if p.re == nil {
			return 0, fmt.Errorf("%w: %q: %v", errNotRE2, p.key, p.badness)
		}
		if _, plain := p.re.(literal); !plain && differs(p.key, name) {
			return 0, fmt.Errorf("%w: %q for the name %q", errNotRE2, p.key, name)
		}
		if p.re.MatchString(name) {
			return p.value, nil
		}
	}
	for _, p := range ps { // in PEFT a name that no key matches is its own key
		if p.key == name {
			return p.value, nil
		}
	}
	return otherwise, nil
}

package dialect

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/loratool/loratool/internal/strictjson"
)

// patterns are rank_pattern or alpha_pattern in file order: the first that
// matches wins (PEFT ≥ 0.15, get_pattern_key in src/peft/utils/other.py).
type patterns []patternValue

type patternValue struct {
	key     string
	value   float64
	re      *regexp.Regexp // nil if the key is not a regular expression of RE2
	badness error
}

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
			p.re, p.badness = regexp.Compile(`^(?:(.*\.)?(` + m.Name + `)$)`)
			*at(c) = append(*at(c), p)
		}
		return nil
	}
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
		if p.re.MatchString(name) {
			return p.value, nil
		}
	}
	return otherwise, nil
}

package dialect

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/note"
)

// An olderKey is a key of a pattern as PEFT before 0.15 matched it: by
// ^.*\.KEY$, without parentheses around the key.
type olderKey struct {
	patternValue
	re matcher // nil where it cannot be read
}

// ofLiteral matches a literal key behind a dot only.
type ofLiteral struct{ literal }

// MatchString implements matcher.
func (l ofLiteral) MatchString(name string) bool {
	return len(name) > len(l.literal) && l.literal.MatchString(name)
}

func olderKeys(ps patterns) (keys []olderKey) {
	for _, p := range ps {
		k := olderKey{patternValue: p}
		if l, ok := p.re.(literal); ok {
			k.re = ofLiteral{l}
		} else if re2, err := fromPython(p.key); err == nil && p.re != nil { // p.re was within the limits, and this is smaller
			if re, err := regexp.Compile(`^(?:.*\.` + re2 + `$)`); err == nil {
				k.re = re
			}
		}
		keys = append(keys, k)
	}
	return keys
}

// first returns the key that matches a name first.
func first(keys []olderKey, name string) (olderKey, bool) {
	for _, k := range keys {
		if k.re != nil && k.re.MatchString(name) {
			return k, true
		}
	}
	for _, k := range keys {
		if k.key == name {
			return k, true
		}
	}
	return olderKey{}, false
}

// olderAlphas finds modules to which PEFT before 0.15 gives another alpha
// (AD048), in files of which nobody can know which one is meant.
func (l *linter) olderAlphas() {
	if len(l.c.alphaPattern) == 0 || l.tooMany(len(l.c.alphaPattern)+len(l.c.rankPattern)) || l.c.since(0, 15) {
		return
	}
	for _, p := range l.weights.Header().Metadata() {
		if p.Key == note.KeySpec {
			return
		}
	}
	alphas := olderKeys(l.c.alphaPattern)
	both := append(olderKeys(l.c.rankPattern), alphas...)
	l.each("AD048", func(m *adapter.Module) string {
		if m.Param != "" || len(m.Candidates) > 0 {
			return "" // no older version reads them
		}
		older, oldest := l.c.alpha, l.c.alpha
		name := peftPatternName(m)
		if k, ok := first(alphas, name); ok { // 0.14
			older = k.value
		}
		if k, ok := first(both, name); ok { // 0.6 to 0.13: one key for both
			for _, a := range alphas {
				if a.key == k.key {
					oldest = a.value
				}
			}
		}
		switch {
		case older != m.Alpha:
			return fmt.Sprintf("alpha %g, to PEFT before 0.15 %g", m.Alpha, older)
		case oldest != m.Alpha:
			return fmt.Sprintf("alpha %g, to PEFT before 0.14 %g", m.Alpha, oldest)
		}
		return ""
	})
}

// since reports whether the config says that it was written by that version of
// PEFT or a later one.
func (c *peftConfig) since(major, minor int) bool {
	parts := strings.SplitN(c.version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	x, err := strconv.Atoi(parts[0])
	y, err2 := strconv.Atoi(parts[1])
	return err == nil && err2 == nil && (x > major || x == major && y >= minor)
}

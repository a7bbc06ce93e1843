package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What \s, \d and \w are in Oniguruma, as ranges of a class of Go. Letters in
// circles and squares count as alphabetic, and so as \w; superscripts and
// fractions of Latin-1 do outside of a class.
const (
	spaceClass = `\t-\r\x{85}\p{Z}`
	digitClass = `\p{Nd}`
	wordClass  = `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189}`
	wordLatin  = `\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}`
)

// A translator rewrites an expression of Oniguruma in Go's syntax.
type translator struct {
	out     strings.Builder
	inClass bool
	fold    []bool // for each open group, the whole first: case does not count
	last    byte   // the literal before, 0: none
}

// translate widens \s, \d and \w to Unicode, as Oniguruma reads them, and
// refuses what the two syntaxes read in different ways.
func translate(expr string) (string, error) {
	t := translator{fold: []bool{false}}
	if rest, ok := strings.CutPrefix(expr, "(?i)"); ok {
		t.fold[0], expr = true, rest
		t.out.WriteString("(?i)")
	}
	for expr != "" {
		n, err := t.next(expr)
		if err != nil {
			return "", err
		}
		expr = expr[n:]
	}
	return t.out.String(), nil
}

// next writes what stands at the start of an expression and returns its
// length.
func (t *translator) next(expr string) (n int, err error) {
	switch c := expr[0]; {
	case c == '\\' && len(expr) > 1:
		t.last = 0
		return t.escape(expr)
	case t.inClass && (c == '[' || strings.HasPrefix(expr, "&&")):
		return 0, errors.New("operations on classes")
	case t.inClass:
		t.inClass = c != ']'
	case strings.HasPrefix(expr, "[]"), strings.HasPrefix(expr, "[^]"):
		return 0, errors.New("a class that begins with a bracket")
	case c == '[':
		t.inClass = true
	case c == '(':
		return t.group(expr)
	case c == ')' && len(t.fold) > 1:
		t.fold = t.fold[:len(t.fold)-1]
	case c == '{':
		err = checkRepetition(expr)
	case c == '^', c == '$':
		return 0, fmt.Errorf("%q", c)
	}
	if err == nil {
		err = t.literal(expr)
	}
	_, n = utf8.DecodeRuneInString(expr)
	t.out.WriteString(expr[:n])
	return n, err
}

// group writes the opening of a group.
func (t *translator) group(expr string) (n int, err error) {
	opening, fold := "(", t.fold[len(t.fold)-1]
	if strings.HasPrefix(expr, "(?") {
		switch {
		case strings.HasPrefix(expr, "(?:"):
			opening = "(?:"
		case strings.HasPrefix(expr, "(?i:"):
			opening, fold = "(?i:", true
		default:
			return 0, fmt.Errorf("group %q", expr[:min(4, len(expr))])
		}
	}
	t.fold, t.last = append(t.fold, fold), 0
	t.out.WriteString(opening)
	return len(opening), nil
}

// pairs are what Oniguruma takes for one character where case does not count:
// ß, ligatures.
var pairs = []string{"ss", "st", "ff", "fi", "fl"}

// literal refuses characters that equal more than one where case does not
// count, which Go does not know of.
func (t *translator) literal(expr string) error {
	r, n := utf8.DecodeRuneInString(expr)
	before := t.last
	if t.last = 0; n == 1 && !t.inClass {
		t.last = expr[0]
	}
	if !t.fold[len(t.fold)-1] {
		return nil
	}
	if r >= utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsMark(r)) || slices.Contains(pairs, strings.ToLower(string([]byte{before, t.last}))) {
		return fmt.Errorf("%q where case does not count", r)
	}
	return nil
}

// checkRepetition refuses {,n}, {0n} and {n}?, of which the last is optional in
// Oniguruma.
func checkRepetition(expr string) error {
	body, rest, _ := strings.Cut(expr[1:], "}")
	_, err := strconv.ParseUint(body, 10, 32)
	if strings.HasPrefix(body, ",") || len(body) > 1 && body[0] == '0' && body[1] != ',' || err == nil && strings.HasPrefix(rest, "?") {
		return fmt.Errorf("%q", expr[:min(len(expr), len(body)+3)])
	}
	return nil
}

// escape writes what a backslash and what follows it stand for.
func (t *translator) escape(expr string) (n int, err error) {
	c := expr[1]
	switch {
	case strings.IndexByte("sdwSDW", c) >= 0:
		set := map[byte]string{'s': spaceClass, 'd': digitClass, 'w': wordClass}[c|0x20]
		switch {
		case t.inClass && c >= 'a':
			t.out.WriteString(set)
			return 2, nil
		case t.inClass:
			return 0, fmt.Errorf(`\%c within a class`, c)
		case c|0x20 == 'w':
			set += wordLatin
		}
		t.out.WriteString(map[bool]string{true: "[", false: "[^"}[c >= 'a'] + set + "]")
		return 2, nil
	case strings.IndexByte("bBAzZGKRXhHu", c) >= 0:
		return 0, fmt.Errorf(`\%c`, c)
	case c|0x20 == 'p' && (!strings.HasPrefix(expr[2:], "{") || t.fold[len(t.fold)-1]):
		return 0, fmt.Errorf(`\%c without braces, or where case does not count`, c)
	case c == 'x' && len(expr) > 2 && strings.IndexByte("89abcdefABCDEF", expr[2]) >= 0:
		return 0, errors.New("a byte that is not ASCII")
	}
	t.out.WriteString(expr[:2])
	return 2, nil
}

package dialect

import (
	"errors"
	"regexp"
	"strings"
)

// errGroup is about what Python reads as the text of a group and RE2 as a
// character in octal.
var errGroup = errors.New("a reference to a group")

// fromPython rewrites what RE2 also takes in an expression of Python's module
// re and reads in another way: {,n} is {0,n} there, and [ in a class is the
// character. Its classes are wider, see differs.
func fromPython(expression string) (string, error) {
	var b strings.Builder
	class := false
	for i := 0; i < len(expression); i++ {
		c, rest := expression[i], expression[i+1:]
		switch {
		case c == '\\' && rest != "":
			if !class && '1' <= rest[0] && rest[0] <= '9' {
				return "", errGroup
			}
			b.WriteByte(c)
			c = rest[0]
			i++
		case !class && c == '[':
			class = true
			for _, first := range []string{"^", "]"} { // they belong to the class here
				if strings.HasPrefix(expression[i+1:], first) {
					b.WriteByte(c)
					c = first[0]
					i++
				}
			}
		case class && c == ']':
			class = false
		case class && c == '[':
			b.WriteByte('\\')
		case !class && c == '{' && openRepeat.MatchString(rest):
			b.WriteByte(c)
			c = '0'
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// openRepeat is what follows { in a repetition without a lower bound.
var openRepeat = regexp.MustCompile(`^,[0-9]*\}`)

// classes is what stands for all of Unicode in Python and for ASCII in RE2, or
// compares letters by rules of its own.
var classes = regexp.MustCompile(`\\[wWdDsSbB]|\(\?[a-z]*i`)

// differs reports whether RE2 may match a name in another way than Python,
// whose $ also matches before a line feed at the end.
func differs(expression, name string) bool {
	control := func(r rune) bool { return r < ' ' || r > '~' }
	return strings.Contains(name, "\n") || strings.ContainsFunc(name, control) && classes.MatchString(expression)
}

// compilePython compiles an expression that is to match all of a path.
func compilePython(expression string) (*regexp.Regexp, error) {
	re2, err := fromPython(expression)
	if err != nil {
		return nil, err
	}
	return regexp.Compile(`^(?:` + re2 + `)$`)
}

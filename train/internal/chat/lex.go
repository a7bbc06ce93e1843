package chat

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loratool/loratool/format/rule"
)

type tokenKind uint8

const (
	tokenEnd   tokenKind = iota
	tokenText            // outside of tags
	tokenBegin           // {%
	tokenClose           // %}
	tokenPrint           // {{
	tokenShow            // }}
	tokenName
	tokenString
	tokenInt
	tokenFloat
	tokenOp
)

type token struct {
	kind tokenKind
	text string
	line int
}

func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "end of the template"
	case tokenText:
		return "text"
	}
	return strconv.QuoteToASCII(t.text)
}

// A lexer takes a template apart.
type lexer struct {
	src    string
	pos    int
	line   int
	tokens []token
}

func syntaxError(line int, format string, args ...any) error {
	return &rule.Error{Rule: "TK003", Err: fmt.Errorf("chat template: line %d: %s", line, fmt.Sprintf(format, args...))}
}

func lex(source string) ([]token, error) {
	source = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source)
	source = strings.TrimSuffix(source, "\n")
	l := &lexer{src: source, line: 1}
	lineStart := true
	for l.pos < len(l.src) {
		at, tag := nextTag(l.src[l.pos:])
		if tag == "" {
			l.add(tokenText, l.src[l.pos:])
			l.pos = len(l.src)
			break
		}
		text := l.src[l.pos : l.pos+at]
		l.pos += at + len(tag)
		l.text(text, tag, lineStart)
		l.line += strings.Count(text, "\n")
		before := l.pos
		if err := l.tag(tag); err != nil {
			return nil, err
		}
		lineStart = l.pos > before && l.src[l.pos-1] == '\n'
	}
	l.add(tokenEnd, "")
	return l.tokens, nil
}

func (l *lexer) add(kind tokenKind, text string) {
	if kind != tokenText || text != "" {
		l.tokens = append(l.tokens, token{kind, text, l.line})
	}
}

// nextTag finds the first of {{, {% and {#.
func nextTag(s string) (at int, tag string) {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '{' || s[i+1] == '%' || s[i+1] == '#') {
			return i, s[i : i+2]
		}
	}
	return 0, ""
}

// text adds the text before a tag, without the white space that the tag takes
// away: all of it for {%-, that since the start of the line for {% and {#.
func (l *lexer) text(text, tag string, lineStart bool) {
	sign := byte(0)
	if l.pos < len(l.src) && (l.src[l.pos] == '-' || l.src[l.pos] == '+') {
		sign = l.src[l.pos]
		if sign == '+' && tag == "{{" {
			sign = 0
		} else {
			l.pos++
		}
	}
	switch {
	case sign == '-':
		text = strings.TrimRightFunc(text, unicode.IsSpace)
	case sign == 0 && tag != "{{":
		start := strings.LastIndexByte(text, '\n') + 1
		if (start > 0 || lineStart) && strings.TrimLeftFunc(text[start:], unicode.IsSpace) == "" {
			text = text[:start]
		}
	}
	l.add(tokenText, text)
}

// tag reads from behind the opening of a tag to behind its end.
func (l *lexer) tag(tag string) error {
	switch tag {
	case "{#":
		end := strings.Index(l.src[l.pos:], "#}")
		if end < 0 {
			return syntaxError(l.line, "comment without an end")
		}
		sign := byte(0)
		if end > 0 {
			sign = l.src[l.pos+end-1]
		}
		l.line += strings.Count(l.src[l.pos:l.pos+end], "\n")
		l.pos += end + 2
		l.trim(sign, true)
		return nil
	case "{%":
		l.add(tokenBegin, tag)
	default:
		l.add(tokenPrint, tag)
	}
	return l.inside(tag)
}

// trim skips the white space that the end of a tag takes away.
func (l *lexer) trim(sign byte, block bool) {
	rest := l.src[l.pos:]
	switch {
	case sign == '-':
		l.pos += len(rest) - len(strings.TrimLeftFunc(rest, unicode.IsSpace))
	case sign != '+' && block && strings.HasPrefix(rest, "\n"):
		l.pos++
	}
	l.line += strings.Count(rest[:len(rest)-len(l.src[l.pos:])], "\n")
}

// operators, the longer first.
var operators = []string{"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|"}

// inside reads the tokens of a tag.
func (l *lexer) inside(tag string) error {
	end, kind := "%}", tokenClose
	if tag == "{{" {
		end, kind = "}}", tokenShow
	}
	nest := 0 // of braces, so that }} may end two dicts
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		c := rest[0]
		signed := (c == '-' || c == '+') && strings.HasPrefix(rest[1:], end)
		switch {
		case c == '\n':
			l.line++
			l.pos++
		case c == ' ' || c == '\t':
			l.pos++
		case nest == 0 && (signed || strings.HasPrefix(rest, end)):
			sign := byte(0)
			if signed {
				sign = c
				l.pos++
			}
			l.pos += 2
			l.add(kind, end)
			l.trim(sign, kind == tokenClose)
			return nil
		case c == '"' || c == '\'':
			if err := l.str(c); err != nil {
				return err
			}
		case c >= '0' && c <= '9':
			l.number()
		case c == '_' || unicode.IsLetter(firstRune(rest)):
			n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
			if n < 0 {
				n = len(rest)
			}
			l.add(tokenName, rest[:n])
			l.pos += n
		default:
			op := operator(rest)
			if op == "" {
				return syntaxError(l.line, "unexpected %+q", firstRune(rest))
			}
			nest += strings.Count(op, "{") - strings.Count(op, "}")
			l.add(tokenOp, op)
			l.pos += len(op)
		}
	}
	return syntaxError(l.line, "tag without an end")
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

func operator(s string) string {
	for _, op := range operators {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}

func (l *lexer) number() {
	rest := l.src[l.pos:]
	digits := func(i int) int {
		for i < len(rest) && (rest[i] >= '0' && rest[i] <= '9' || rest[i] == '_') {
			i++
		}
		return i
	}
	n, kind := digits(0), tokenInt
	if n+1 < len(rest) && rest[n] == '.' && rest[n+1] >= '0' && rest[n+1] <= '9' {
		n, kind = digits(n+1), tokenFloat
	}
	l.add(kind, strings.ReplaceAll(rest[:n], "_", ""))
	l.pos += n
}

// str reads a string with the escapes of Python.
func (l *lexer) str(quote byte) error {
	var b strings.Builder
	start := l.line
	for i := l.pos + 1; i < len(l.src); i++ {
		switch c := l.src[i]; {
		case c == quote:
			l.tokens = append(l.tokens, token{tokenString, b.String(), start})
			l.pos = i + 1
			return nil
		case c == '\\' && i+1 < len(l.src):
			i += unescape(&b, l.src[i:]) - 1
		default:
			if c == '\n' {
				l.line++
			}
			b.WriteByte(c)
		}
	}
	return syntaxError(start, "string without an end")
}

// unescape writes what the escape at the start of s stands for and returns its
// length. An unknown escape stands for itself.
func unescape(b *strings.Builder, s string) int {
	const letters, values = `nrtabfv\'"`, "\n\r\t\a\b\f\v\\'\""
	if k := strings.IndexByte(letters, s[1]); k >= 0 {
		b.WriteByte(values[k])
		return 2
	}
	size := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]
	if size > 0 && len(s) >= 2+size {
		if r, err := strconv.ParseUint(s[2:2+size], 16, 32); err == nil && r <= unicode.MaxRune {
			b.WriteRune(rune(r))
			return 2 + size
		}
	}
	if s[1] == '\n' {
		return 2
	}
	b.WriteByte('\\')
	return 1
}

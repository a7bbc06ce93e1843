// Package rule holds the two error classes that every reader of loratool
// uses: input that breaks a numbered rule, and input that is valid but not
// supported. It knows no file format; the packages that do cite its rules.
package rule

import (
	"errors"
	"strconv"
	"strings"
)

// ErrUnsupported is wrapped by errors about input that is valid, or may be,
// but that this program does not handle.
var ErrUnsupported = errors.New("not supported")

// An ID names a rule, such as "ST009". IDs are never reused.
type ID string

// An Error reports that an input breaks a rule.
type Error struct {
	File   string // empty if unknown
	Tensor string // empty if the file as a whole is at fault
	Rule   ID
	Err    error  // what was found and what was expected
	Hint   string // the cure, where one is known; printed by the command

	// Milder lowers the severity of a finding below that of its rule, for rules
	// that are broken in several ways. The zero value lowers nothing.
	Milder Severity
}

// Severity returns how bad the finding is.
func (e *Error) Severity() Severity {
	r, _ := Lookup(e.Rule)
	return max(r.Severity, e.Milder)
}

// A Report receives the broken rules that a reader finds. The error it returns
// ends the reading; with nil the reader goes on where it can, and leaves out
// the part that is broken. Warnings do not come this way.
type Report func(*Error) error

// Stop is the Report of readers that stop at the first broken rule.
func Stop(e *Error) error { return e }

// Error returns one line: file, tensor, what is wrong, [rule].
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(Printable(e.File))
		b.WriteString(": ")
	}
	if e.Tensor != "" {
		b.WriteString("tensor ")
		b.WriteString(strconv.QuoteToASCII(e.Tensor))
		b.WriteString(": ")
	}
	b.WriteString(e.Err.Error())
	if e.Rule != "" {
		b.WriteString(" [")
		b.WriteString(string(e.Rule))
		b.WriteString("]")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Printable returns s as it is when every rune of it is safe to print on a
// terminal, and quoted with escapes when not. Control characters, invalid
// UTF-8, bidirectional and zero-width characters are not safe.
func Printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) || r == '\uFFFD' {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}

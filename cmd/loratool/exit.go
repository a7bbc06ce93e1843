package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/text"
)

// Exit statuses.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitBroken      = 3
	exitUnsupported = 4
	exitInterrupted = 130
)

const exitHelp = `Exit status: 0 done, 1 failure, 2 usage, 3 input breaks the specification,
4 valid but unsupported, 130 interrupted (143 by SIGTERM).`

// A usageError is a mistake on the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// report prints an error and returns the exit status.
func report(ctx context.Context, stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if s, ok := errors.AsType[siblingExit](err); ok {
		return int(s) // it has said why
	}
	if i, ok := errors.AsType[interruption](context.Cause(ctx)); ok {
		what := "nothing was written"
		if s, ok := errors.AsType[stopped](err); ok {
			what = fmt.Sprintf("%s holds the state after step %d of %d; --resume goes on", text.Quote(s.state), s.step, s.steps)
		}
		fmt.Fprintf(stderr, "loratool: interrupted; %s\n", what)
		return signalExit(i.signal)
	}
	if e, ok := errors.AsType[statusError](err); ok {
		return e.status // the output has said it
	}
	for _, e := range each(err) {
		fmt.Fprintf(stderr, "loratool: %s\n", oneLine(e.Error()))
		if hint := hintFor(e); hint != "" {
			fmt.Fprintf(stderr, "hint: %s\n", oneLine(hint))
		}
	}
	return exitStatus(err)
}

// each takes joined errors apart, so that every one has its line and hint.
func each(err error) (errs []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	for _, e := range joined.Unwrap() {
		errs = append(errs, each(e)...)
	}
	return errs
}

func signalExit(s os.Signal) int {
	if s == syscall.SIGTERM {
		return 128 + int(syscall.SIGTERM)
	}
	return exitInterrupted
}

func exitStatus(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if errors.Is(err, rule.ErrUnsupported) {
		return exitUnsupported
	}
	if _, ok := errors.AsType[*rule.Error](err); ok {
		return exitBroken
	}
	return exitFailure
}

// hintFor returns the cure that an error knows, or that we know for it.
func hintFor(err error) string {
	if e, ok := errors.AsType[*rule.Error](err); ok {
		if e.Hint != "" {
			return e.Hint
		}
		return rule.Cure(e.Rule)
	}
	if e, ok := errors.AsType[*rule.Unsupported](err); ok {
		return e.Hint
	}
	if _, ok := errors.AsType[*checkpoint.NotCachedError](err); ok {
		return "" // its text says what to do
	}
	if errors.Is(err, fs.ErrExist) {
		return "--force replaces it"
	}
	return ""
}

// oneLine makes text safe for a terminal and keeps it on one line.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	if p := rule.Printable(s); p != s {
		return strings.Trim(p, `"`)
	}
	return s
}

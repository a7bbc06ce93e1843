package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/validate"
	"github.com/loratool/loratool/internal/progress"
)

type validateOptions struct {
	rules    rulesFlag
	base     string
	profile  string
	format   string
	json     bool
	strict   bool
	deep     bool
	severity []string
	ignore   []string
	progress string
}

func newValidateCmd() *cobra.Command {
	var o validateOptions
	cmd := &cobra.Command{
		Use:        "validate PATH...",
		Short:      "Hold adapters and checkpoints against the specification, for people and for CI",
		SuggestFor: []string{"check", "lint", "verify-format", "doctor"},
		Long: `validate says everything that is wrong with adapters, checkpoints and safetensors
files: which rule is broken, where, what was found, what was expected, and the
cure. Folders are walked. Headers are read, and with --deep all values: NaN,
infinities, factors of zeros, digests. With --base an adapter must fit that
base; with --profile also a program that is to serve it. See loratool rules.

Exit status: 0 valid, perhaps with warnings, 1 failure, 2 usage, 3 a rule is
broken (with --strict: or a warning), 4 valid but unsupported, 130 interrupted (143 by SIGTERM).`,
		Example: `  loratool validate ./my-adapter
  loratool validate . --deep --strict --format sarif > report.sarif
  loratool validate ./my-adapter --base ./Llama-3.2-1B --profile vllm`,
		Args: args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runValidate(cmd.Context(), args, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.base, "base", "", "check that adapters fit this `base`")
	o.rules.add(cmd)
	f.StringVar(&o.profile, "profile", "", "check what a `program` accepts: "+profileNames())
	f.StringVar(&o.format, "format", "text", "`how` to print: text, json, sarif, junit, github or gitlab")
	f.BoolVar(&o.json, "json", false, "the same as --format json")
	f.BoolVar(&o.strict, "strict", false, "fail on warnings too")
	f.BoolVar(&o.deep, "deep", false, "read all values, not headers alone")
	f.StringArrayVar(&o.severity, "severity", nil, "change the severity of a rule, `ID=level`: error, warning, info or off (may be repeated)")
	f.StringArrayVar(&o.ignore, "ignore", nil, "leave out a rule, `ID` or ID:glob with a glob for file or tensor (may be repeated)")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
	return cmd
}

func profileNames() string {
	var names []string
	for _, p := range validate.Profiles() {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

func runValidate(ctx context.Context, paths []string, o validateOptions, stdout, stderr io.Writer) error {
	options, format, err := o.parse()
	if err != nil {
		return err
	}
	mode, err := progress.ParseMode(o.progress)
	if err != nil {
		return usageError{err}
	}
	if options.Names, err = o.rules.readFor(o.base); err != nil {
		return err
	}
	if o.base != "" {
		if options.Base, err = checkpoint.Open(o.base, openOptions()); err != nil {
			return err
		}
		defer options.Base.Close()
	}
	reporter := progress.New(stderr, mode)
	if o.deep {
		var done atomic.Int64
		update := reporter.Start("read")
		options.Progress = func(n int64) { update(done.Add(n), 0) }
	}
	report, err := validate.Run(ctx, paths, options)
	reporter.Done()
	if err != nil {
		return err
	}
	if err := report.Write(stdout, format); err != nil {
		return err
	}
	return outcome(report, o.strict)
}

// parse checks the flags and turns them into the library's types.
func (o validateOptions) parse() (v validate.Options, format validate.Format, err error) {
	v = validate.Options{Open: openOptions(), Deep: o.deep, Ignore: o.ignore, Severity: map[rule.ID]rule.Severity{}}
	if o.json && o.format == "text" {
		o.format = "json"
	}
	if format, err = validate.ParseFormat(o.format); err != nil {
		return v, format, usageError{err}
	}
	if o.profile != "" {
		if v.Profile, err = validate.ParseProfile(o.profile); err != nil {
			return v, format, usageError{err}
		}
	}
	for _, s := range o.severity {
		id, level, _ := strings.Cut(s, "=")
		severity, ok := rule.ParseSeverity(level)
		if !ok {
			return v, format, usagef("--severity %q: expected ID=error, ID=warning, ID=info or ID=off", s)
		}
		v.Severity[rule.ID(id)] = severity
	}
	if err := v.Check(); err != nil {
		return v, format, usageError{err}
	}
	return v, format, nil
}

// outcome turns a report, which is printed already, into an exit status.
func outcome(r *validate.Report, strict bool) error {
	n := r.Count()
	switch {
	case n.Failures > 0:
		return statusError{exitFailure}
	case n.Errors > 0 || strict && n.Warnings > 0:
		return statusError{exitBroken}
	case n.Unsupported > 0:
		return statusError{exitUnsupported}
	}
	return nil
}

// A statusError ends the command with a status; what it means was printed.
type statusError struct{ status int }

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", e.status) }

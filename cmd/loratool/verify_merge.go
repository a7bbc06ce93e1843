package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/merge"
)

type verifyOptions struct {
	rules    rulesFlag
	seed     uint64
	skip     []string
	json     bool
	tensors  bool
	progress string
}

func newVerifyMergeCmd() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:        "verify-merge BASE ADAPTER[=WEIGHT]... MERGED",
		Short:      "Prove that a checkpoint contains adapters, ours or another tool's",
		SuggestFor: []string{"verify", "check-merge"},
		Long: `verify-merge computes what BASE and the adapters give and compares every
element of MERGED with it. For each tensor it says one of

  exact       the correctly rounded sum, every bit
  stochastic  stochastically rounded with the seed, every bit
  peft        what PEFT's float32 arithmetic may give, within its error
  neighbour   each element a neighbour of the sum, on average unbiased
  ulp         each element within two steps of the correctly rounded sum
  weight      merged with another weight, which is named
  base        the base's tensor, unchanged
  not         nothing of these; the factor by least squares is named
  missing     there is no such tensor, or it has another shape or dtype
  untouched   left alone by the adapters, and the same as in the base
  altered     left alone by the adapters, but not the same

It succeeds if every tensor is exact, stochastic, peft, neighbour, ulp or
untouched, and fails with status 1 otherwise.

` + exitHelp,
		Example: `  loratool verify-merge ./base ./my-adapter ./merged
  loratool verify-merge ./base ./style=0.7 ./task ./merged --tensors`,
		Args: args(3, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options := merge.VerifyOptions{Skip: o.skip}
			if cmd.Flags().Changed("seed") {
				options.Seed = &o.seed
			}
			return runVerify(cmd.Context(), args, o, options, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&o.seed, "seed", 0, "`number` that started stochastic rounding (default: what loratool.json says)")
	f.StringArrayVar(&o.skip, "skip", nil, "modules or tensors of this `name` or glob were not applied (may be repeated)")
	o.rules.add(cmd)
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.BoolVar(&o.tensors, "tensors", false, "list every tensor, not only those that fail")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
	return cmd
}

// errNotContained makes the command fail after its report.
var errNotContained = errors.New("the checkpoint does not contain these adapters with these weights")

func runVerify(ctx context.Context, args []string, o verifyOptions, options merge.VerifyOptions, stdout, stderr io.Writer) error {
	mode, err := progress.ParseMode(o.progress)
	if err != nil {
		return usageError{err}
	}
	if options.Names, err = o.rules.read(); err != nil {
		return err
	}
	base, err := checkpoint.Open(args[0], openOptions())
	if err != nil {
		return err
	}
	defer base.Close()
	last := len(args) - 1
	merged, err := checkpoint.Open(args[last], openOptions())
	if err != nil {
		return err
	}
	defer merged.Close()
	adapters, closeAll, err := openWeighted(args[1:last])
	if err != nil {
		return err
	}
	defer closeAll()
	start := time.Now()
	reporter := progress.New(stderr, mode)
	update, total := reporter.Start("verify"), merged.Size()
	var done atomic.Int64
	options.Progress = func(n int64) { update(done.Add(n), total) }
	report, err := merge.Verify(ctx, base, merged, adapters, options)
	reporter.Done()
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(stdout, report)
	} else {
		printVerify(stdout, stderr, report, o.tensors, time.Since(start))
	}
	if err == nil && !report.Contains {
		err = errNotContained
	}
	return err
}

// verdicts in the order in which they are summed up.
var verdicts = []merge.Verdict{merge.Exact, merge.StochasticExact, merge.PEFT, merge.Neighbour, merge.WithinULP,
	merge.OtherWeight, merge.Unmerged, merge.NotMerged, merge.Missing, merge.Altered, merge.Untouched}

func printVerify(stdout, stderr io.Writer, r *merge.VerifyReport, all bool, took time.Duration) {
	for _, w := range r.Warnings {
		fmt.Fprintf(stderr, "loratool: warning: %s\n", oneLine(w))
	}
	for _, t := range r.Tensors {
		if all || !t.Verdict.Holds() {
			fmt.Fprintf(stdout, "%-10s %s", t.Verdict, text.Quote(t.Name))
			if t.Detail != "" {
				fmt.Fprintf(stdout, ": %s", oneLine(t.Detail))
			}
			fmt.Fprintln(stdout)
		}
	}
	for _, v := range verdicts {
		if n := r.Counts[v]; n > 0 {
			fmt.Fprintf(stdout, "%s %s, ", count(n, "tensor"), v)
		}
	}
	fmt.Fprintf(stdout, "in %s\n", took.Round(time.Millisecond))
}

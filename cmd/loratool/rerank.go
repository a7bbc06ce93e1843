package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/merge/compose"
)

type rerankOptions struct {
	rankFlags
	output   string
	dtype    string
	modules  bool
	json     bool
	dryRun   bool
	force    bool
	progress string
}

func newRerankCmd() *cobra.Command {
	var o rerankOptions
	cmd := &cobra.Command{
		Use:        "rerank ADAPTER",
		Short:      "Lower the rank of an adapter, with the least possible error",
		SuggestFor: []string{"resize", "compress", "truncate", "svd"},
		Long: `rerank writes the best approximation of each module's delta at a lower rank. It
works on the factors (QR and the singular values of a matrix as small as the
rank), so the result is that of a full SVD of the delta, thousands of times
faster. The scaling of every module stays, alpha follows the rank; biases of B,
modules to save and trained tokens are carried along. A DoRA module keeps its
magnitude: its outputs keep their norms, their directions have the error of the
delta. The error reported is that of the factors as they are written.

` + rankHelp + `

A module never gets a higher rank than it had; one that has its rank already
stays as it is, byte for byte.

` + exitHelp,
		Example: `  loratool rerank ./my-adapter -o ./smaller --rank 8
  loratool rerank ./my-adapter -o ./smaller --rank energy=0.99 --rank-for '*.down_proj=16'`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRerank(cmd.Context(), args[0], o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "`path` of the adapter folder to write")
	o.rankFlags.add(f, "`rank` of the result: a number, auto, energy=, error=, ratio= or budget=")
	f.StringVar(&o.dtype, "dtype", "", "`type` of the factors: bf16, f16, f32 or f64 (default: as in the adapter)")
	f.BoolVar(&o.modules, "modules", false, "list every module")
	f.BoolVar(&o.json, "json", false, "print the report as JSON, with all singular values")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what ranks and errors there would be, and write nothing")
	f.BoolVar(&o.force, "force", false, "replace an output that exists")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
	return cmd
}

func runRerank(ctx context.Context, path string, o rerankOptions, stdout, stderr io.Writer) error {
	rules, err := o.rankFlags.parse()
	switch {
	case err != nil:
		return err
	case rules == nil:
		return usagef("no rank: --rank N, auto, energy=, error=, ratio= or budget=")
	case o.output == "" && !o.dryRun:
		return usagef("no output: -o OUT names the adapter folder to write")
	}
	var options compose.Options
	if options.DType, err = parseFactorType(o.dtype); err != nil {
		return err
	}
	mode, err := progress.ParseMode(o.progress)
	if err != nil {
		return usageError{err}
	}
	a, err := openAdapter(path)
	if err != nil {
		return err
	}
	defer a.Close()
	reporter := progress.New(stderr, mode)
	options.Progress = reporter.Start("rerank")
	out, report, err := compose.Rerank(ctx, a.Adapter, *rules, options)
	reporter.Done()
	if err != nil {
		return err
	}
	verb := "would write"
	if !o.dryRun {
		verb = "wrote"
		write := dialect.WriteOptions{Config: a.Config, From: a, KeepTargets: keepsTargets(a.Adapter, out), Metadata: metadataOf(out), Inputs: []string{a.Source}, Force: o.force}
		if err := dialect.WritePEFT(o.output, out, write); err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(stdout, report)
	}
	printComposed(stdout, stderr, verb, report, o.modules)
	return nil
}

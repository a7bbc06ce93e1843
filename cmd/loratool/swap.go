package main

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/merge"
)

type swapOptions struct {
	rules     rulesFlag
	output    string
	record    string
	newRecord string
	out, in   []string
	json      bool
	force     bool
	progress  string
}

func newSwapCmd() *cobra.Command {
	var o swapOptions
	cmd := &cobra.Command{
		Use:   "swap MERGED",
		Short: "Replace the adapters in a merged checkpoint, without its base",
		Long: `swap takes the adapters of --out from a checkpoint that merge --record wrote and
puts those of --in in their place. The output is, bit for bit, what merging
--in into the base would give. The base is restored beside the output while it
is needed, so there must be room for two checkpoints. --out names all adapters
that were merged, with their weights.

` + exitHelp,
		Example: `  loratool merge ./base ./monday -o ./merged --record ./monday.rec
  loratool swap ./merged --record ./monday.rec --out ./monday --in ./tuesday -o ./swapped --new-record ./tuesday.rec`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSwap(cmd.Context(), args[0], o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "`path` of the file or folder to write")
	f.StringVar(&o.record, "record", "", "`file` that merge --record wrote")
	f.StringArrayVar(&o.out, "out", nil, "`adapter` to take out, ADAPTER or ADAPTER=WEIGHT (may be repeated)")
	f.StringArrayVar(&o.in, "in", nil, "`adapter` to put in, ADAPTER or ADAPTER=WEIGHT (may be repeated)")
	f.StringVar(&o.newRecord, "new-record", "", "write to this `file` what taking the new adapters out again needs")
	o.rules.add(cmd)
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.BoolVar(&o.force, "force", false, "replace an output that exists")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
	return cmd
}

func (o swapOptions) check() (progress.Mode, error) {
	mode, err := progress.ParseMode(o.progress)
	switch {
	case err != nil:
		return mode, usageError{err}
	case o.output == "":
		return mode, usagef("no output: -o OUT names the file or folder to write")
	case o.record == "":
		return mode, usagef("no record: --record FILE names what merge --record wrote")
	case len(o.out) == 0 || len(o.in) == 0:
		return mode, usagef("--out names the adapters to take out, --in those to put in")
	}
	return mode, nil
}

func runSwap(ctx context.Context, path string, o swapOptions, stdout, stderr io.Writer) error {
	mode, err := o.check()
	if err != nil {
		return err
	}
	names, err := o.rules.read()
	if err != nil {
		return err
	}
	merged, err := checkpoint.Open(path, openOptions())
	if err != nil {
		return err
	}
	defer merged.Close()
	out, closeOut, err := openWeighted(o.out)
	if err != nil {
		return err
	}
	defer closeOut()
	in, closeIn, err := openWeighted(o.in)
	if err != nil {
		return err
	}
	defer closeIn()
	record, file, err := merge.OpenRecord(o.record)
	if err != nil {
		return err
	}
	defer file.Close()
	plan, err := merge.NewUnmerge(merged, out, record, merge.UnmergeOptions{Force: o.force, Names: names})
	if err != nil {
		return err
	}
	start := time.Now()
	reporter := progress.New(stderr, mode)
	total := plan.Bytes() + merged.Size()
	update := reporter.Start("swap")
	var done atomic.Int64
	count := func(n int64) { update(done.Add(n), total) }
	plan.OnProgress(count)
	report, err := merge.Swap(ctx, o.output, plan, in, merge.Options{Record: o.newRecord, Names: names, Progress: count})
	reporter.Done()
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(stdout, report)
	}
	printMerge(stdout, stderr, report, false, time.Since(start))
	return nil
}

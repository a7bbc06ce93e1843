package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/merge"
)

type swapOptions struct {
	undoFlags
	newRecord string
	out, in   []string
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
			spareProcessor()
			return runSwap(cmd.Context(), args[0], o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&o.out, "out", nil, "`adapter` to take out, ADAPTER or ADAPTER=WEIGHT (may be repeated)")
	f.StringArrayVar(&o.in, "in", nil, "`adapter` to put in, ADAPTER or ADAPTER=WEIGHT (may be repeated)")
	f.StringVar(&o.newRecord, "new-record", "", "write to this `file` what taking the new adapters out again needs")
	return cmd
}

func (o swapOptions) check() (progress.Mode, error) {
	mode, err := o.undoFlags.check()
	switch {
	case err != nil:
		return mode, err
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
	u, err := o.open(path, o.out, merge.UnmergeOptions{})
	if err != nil {
		return err
	}
	defer u.Close()
	in, closeIn, err := openWeighted(o.in)
	if err != nil {
		return err
	}
	defer closeIn()
	start := time.Now()
	count, done := u.report(stderr, mode, "swap", u.plan.Bytes()+u.merged.Size())
	report, err := merge.Swap(ctx, o.output, u.plan, in, merge.Options{Record: o.newRecord, Names: u.options.Names, Progress: count})
	done()
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(stdout, report)
	}
	printMerge(stdout, stderr, report, false, time.Since(start))
	return nil
}

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/merge"
)

type unmergeOptions struct {
	undoFlags
	lossy         bool
	allowMismatch bool
}

func newUnmergeCmd() *cobra.Command {
	var o unmergeOptions
	cmd := &cobra.Command{
		Use:        "unmerge MERGED ADAPTER[=WEIGHT]...",
		Short:      "Take adapters out of a merged checkpoint and restore its base",
		SuggestFor: []string{"restore", "subtract", "unfuse"},
		Long: `unmerge gives back the base of a checkpoint that merge --record wrote, byte for
byte, with the header, the order of tensors and the files beside the weights.
The adapters are those that were merged, with the same weights, in any order.
The digests of record and adapters are compared before anything is written, those
of the merged files piece by piece before a piece is used. The output gets its
name when all of them, and those of the base, are right.

Without a record the base cannot be known: several values of it become the same
merged one. --lossy subtracts what was added, takes the value in the middle
where there are several, and says how many elements are uncertain.

` + exitHelp,
		Example: `  loratool merge ./base ./my-adapter -o ./merged --record ./merged.rec
  loratool unmerge ./merged ./my-adapter --record ./merged.rec -o ./restored`,
		Args: args(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spareProcessor()
			return runUnmerge(cmd.Context(), args, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.lossy, "lossy", false, "subtract without a record, which is not exact")
	f.BoolVar(&o.allowMismatch, "allow-base-mismatch", false, "restore a base that an adapter is not bound to")
	return cmd
}

func (o unmergeOptions) check() (progress.Mode, error) {
	mode, err := o.undoFlags.check()
	switch {
	case err != nil:
		return mode, err
	case o.record == "" && !o.lossy:
		return mode, usagef("no record: --record FILE names what merge --record wrote; --lossy subtracts without one")
	case o.record != "" && o.lossy:
		return mode, usagef("--lossy is for want of a record, and --record names one")
	}
	return mode, nil
}

func runUnmerge(ctx context.Context, args []string, o unmergeOptions, stdout, stderr io.Writer) error {
	mode, err := o.check()
	if err != nil {
		return err
	}
	u, err := o.open(args[0], args[1:], merge.UnmergeOptions{AllowBaseMismatch: o.allowMismatch})
	if err != nil {
		return err
	}
	defer u.Close()
	start := time.Now()
	_, done := u.report(stderr, mode, "unmerge", u.plan.Bytes())
	report, err := u.plan.Write(ctx, o.output)
	done()
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(stdout, report)
	}
	printUnmerge(stdout, stderr, report, time.Since(start))
	return nil
}

func printUnmerge(stdout, stderr io.Writer, r *merge.UnmergeReport, took time.Duration) {
	if !r.Exact {
		fmt.Fprintf(stderr, "loratool: warning: %d of %d elements are uncertain: several values of the base become the merged one\n", r.Uncertain, r.Elements)
		fmt.Fprintf(stdout, "subtracted from %s, not exact; %s in %s\n", count(r.Tensors, "tensor"), text.Bytes(r.Bytes), took.Round(time.Millisecond))
		return
	}
	fmt.Fprintf(stdout, "restored %s of %s, every file has the digest of the base's; %s in %s\n",
		count(r.Tensors, "tensor"), count(r.Files, "file"), text.Bytes(r.Bytes), took.Round(time.Millisecond))
}

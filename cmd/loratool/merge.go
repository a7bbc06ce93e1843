package main

import (
	"context"
	"io"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/merge"
)

type mergeOptions struct {
	output     string
	dtype      string
	shardSize  string
	rounding   string
	seed       uint64
	dryRun     bool
	json       bool
	tensors    bool
	force      bool
	skip       []string
	addMissing bool
	record     string
	progress   string
	quiet      bool
	rules      rulesFlag

	allowMismatch bool
}

func newMergeCmd() *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:        "merge BASE ADAPTER[=WEIGHT]...",
		Short:      "Add adapters to a base and write the merged checkpoint",
		SuggestFor: []string{"fuse", "bake", "apply", "unload"},
		Long: `merge writes W' = W + Σ weight·scaling·B·A for every module of the adapters.
All deltas are summed exactly before one rounding, so the output has the same
bytes on every machine. BASE is a safetensors file, a folder, or a repository
id in the local Hugging Face cache; a file gives a file, a folder a folder with
the base's shards, order of tensors and other files.

Every module of an adapter is either applied or makes the merge fail, unless
--skip names it.

With --record, unmerge gives the base back bit for bit; the record is about
0.03, 0.2 or 1.2 percent of the tensors that change, for a ‖ΔW‖/‖W‖ of 0.001,
0.01 or 0.1.

` + exitHelp,
		Example: `  loratool merge ./Llama-3.2-1B ./my-adapter -o ./merged
  loratool merge ./base ./style=0.7 ./task=1.2 -o ./merged --dtype bf16`,
		Args: args(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("seed") && o.rounding != "stochastic" {
				return usagef("--seed has no effect without --rounding stochastic")
			}
			spareProcessor()
			return runMerge(cmd.Context(), args, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.rules.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "`path` of the file or folder to write")
	f.StringVar(&o.dtype, "dtype", "", "`type` of the output's float tensors: bf16, f16, f32 or f64 (default: as in the base)")
	f.StringVar(&o.shardSize, "max-shard-size", "", "write new shards of at most this `size`, such as 5GB (default: as in the base)")
	f.StringVar(&o.rounding, "rounding", "nearest", "`how` to round: nearest, or stochastic to keep small updates on average")
	f.Uint64Var(&o.seed, "seed", 0, "`number` that starts stochastic rounding")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be read and written, and stop")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.BoolVar(&o.tensors, "tensors", false, "list every changed tensor")
	f.BoolVar(&o.force, "force", false, "replace an output that exists")
	f.StringArrayVar(&o.skip, "skip", nil, "do not apply modules or tensors of this `name` or glob (may be repeated)")
	f.BoolVar(&o.addMissing, "add-missing", false, "add replacement tensors that the base lacks, such as a classifier")
	f.BoolVar(&o.allowMismatch, "allow-base-mismatch", false, "merge an adapter into another base than the one it is bound to")
	f.StringVar(&o.record, "record", "", "write to this `file` what unmerge needs to restore the base")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print warnings and errors only")
	return cmd
}

func runMerge(ctx context.Context, args []string, o mergeOptions, stdout, stderr io.Writer) error {
	options, err := o.parse()
	if err != nil {
		return err
	}
	if options.Names, err = o.rules.read(); err != nil {
		return err
	}
	base, err := checkpoint.Open(args[0], openOptions())
	if err != nil {
		return err
	}
	defer base.Close()
	if err := o.fits(base); err != nil {
		return err
	}
	adapters, closeAll, err := openWeighted(args[1:])
	if err != nil {
		return err
	}
	defer closeAll()
	plan, err := merge.NewPlan(base, adapters, options.Options)
	if err != nil {
		return err
	}
	start := time.Now()
	report := plan.Report()
	if o.dryRun && o.output != "" {
		if err := plan.Check(o.output); err != nil {
			return err
		}
		report.Output = o.output
	}
	if !o.dryRun {
		total := report.Bytes
		options.reporter = progress.New(stderr, options.mode)
		update := options.reporter.Start("merge")
		var done atomic.Int64
		plan.OnProgress(func(n int64) { update(done.Add(n), total) })
		report, err = plan.Write(ctx, o.output)
		options.reporter.Done()
		if err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(stdout, report)
	}
	if o.quiet {
		printWarnings(stderr, report)
		return nil
	}
	printMerge(stdout, stderr, report, o.tensors, time.Since(start))
	return nil
}

// parsedMerge are the options of the command in the library's types.
type parsedMerge struct {
	merge.Options
	mode     progress.Mode
	reporter *progress.Reporter
}

func (o mergeOptions) parse() (p parsedMerge, err error) {
	if o.output == "" && !o.dryRun {
		return p, usagef("no output: -o OUT names the file or folder to write")
	}
	if o.dtype != "" {
		if p.DType, err = parseDType(o.dtype); err != nil {
			return p, err
		}
	}
	if o.shardSize != "" {
		if p.MaxShardBytes, err = text.ParseBytes(o.shardSize); err != nil || p.MaxShardBytes <= 0 {
			return p, usagef("--max-shard-size %q: expected a size such as 5GB", o.shardSize)
		}
	}
	switch o.rounding {
	case "nearest":
	case "stochastic":
		p.Rounding = merge.Stochastic
	default:
		return p, usagef("--rounding %q: expected nearest or stochastic", o.rounding)
	}
	for _, pattern := range o.skip {
		if _, err := path.Match(pattern, ""); err != nil {
			return p, usagef("--skip %q: this glob is not closed", pattern)
		}
	}
	if p.mode, err = progress.ParseMode(o.progress); err != nil {
		return p, usageError{err}
	}
	if o.quiet {
		if o.json || o.tensors || o.dryRun {
			return p, usagef("--quiet prints nothing: leave it out with --json, --tensors and --dry-run")
		}
		p.mode = progress.Off
	}
	p.AllowBaseMismatch = o.allowMismatch
	p.Seed, p.Skip, p.AddMissing, p.Record, p.Force = o.seed, o.skip, o.addMissing, o.record, o.force
	return p, nil
}

// fits checks options that mean something for a folder only, or a file.
func (o mergeOptions) fits(base *checkpoint.Checkpoint) error {
	switch {
	case base.Dir() == "" && strings.HasSuffix(o.output, "/"):
		return usagef("-o %q: the base is one file, and so is the output; name it without a slash at the end", o.output)
	case base.Dir() == "" && o.shardSize != "":
		return usagef("--max-shard-size: the base is one file, and so is the output; give the base as a folder")
	case base.Dir() != "" && strings.HasSuffix(o.output, ".safetensors"):
		return usagef("-o %q: the base is a folder, and so is the output; name it without .safetensors", o.output)
	}
	return nil
}

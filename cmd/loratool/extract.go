package main

import (
	"context"
	"fmt"
	"io"
	"path"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/internal/text"
)

type extractOptions struct {
	rankFlags
	rules    rulesFlag
	output   string
	include  []string
	exclude  []string
	save     []string
	dtype    string
	exact    bool
	seed     uint64
	maxRank  int
	report   string
	json     bool
	modules  bool
	dryRun   bool
	force    bool
	progress string
}

func newExtractCmd() *cobra.Command {
	var o extractOptions
	cmd := &cobra.Command{
		Use:        "extract BASE TUNED",
		Short:      "Make an adapter from a base and a checkpoint tuned from it",
		SuggestFor: []string{"svd", "lora-extract", "subtract"},
		Long: `extract finds factors B·A of low rank for the change TUNED − BASE of every weight
matrix, within 0.5 % of the smallest error that the rank allows, and says how
well they carry it: the certificate of each module is computed from the factors
as they are written. Tensors that did not change are skipped; what the adapter
does not carry (norms, biases, other shapes) is listed with its size, and the
last line says what share of the whole change it carries. Modules have the names
that the model has in memory, as PEFT wants them: the experts of a layer are the
factors of one stack (see loratool names). The adapter is bound to BASE: merging
it into another one is refused.

` + rankHelp + `

For auto, the noise is the rounding of TUNED to its dtype, to nearest or
stochastically. Rules but for a
number give at most --max-rank. Patterns match the paths of
modules or the names of tensors; a star matches dots too.

` + exitHelp,
		Example: `  loratool extract ./base ./tuned -o ./adapter
  loratool extract ./base ./tuned -o ./adapter --rank 32 --exclude '*.embed_tokens' --report extract.html`,
		Args: args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExtract(cmd.Context(), args, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "`path` of the adapter folder to write")
	o.rankFlags.add(f, "`rank` of the factors: a number, auto, energy=, error=, ratio= or budget= (default auto)")
	o.rules.add(cmd)
	f.StringArrayVar(&o.include, "include", nil, "extract only what matches this `glob` (may be repeated)")
	f.StringArrayVar(&o.exclude, "exclude", nil, "leave out what matches this `glob` (may be repeated)")
	f.StringArrayVar(&o.save, "modules-to-save", nil, "store modules that match this `glob` whole (may be repeated)")
	f.StringVar(&o.dtype, "dtype", "f32", "`type` of the factors: f32, bf16 or f16")
	f.BoolVar(&o.exact, "exact", false, "find all singular values instead of the leading ones")
	f.Uint64Var(&o.seed, "seed", 0, "`number` that starts the random numbers of the search")
	f.IntVar(&o.maxRank, "max-rank", diff.DefaultMaxRank, "largest rank that a rule gives")
	f.StringVar(&o.report, "report", "", "write a report with pictures to this HTML `file`")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.BoolVar(&o.modules, "modules", false, "list the certificate of every module")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be compared, and stop")
	f.BoolVar(&o.force, "force", false, "replace outputs that exist")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
	return cmd
}

func runExtract(ctx context.Context, args []string, o extractOptions, stdout, stderr io.Writer) error {
	options, err := o.parse()
	if err != nil {
		return err
	}
	mode, err := progress.ParseMode(o.progress)
	if err != nil {
		return usageError{err}
	}
	base, tuned, err := openTwo(args)
	if err != nil {
		return err
	}
	defer base.Close()
	defer tuned.Close()
	reporter := progress.New(stderr, mode)
	options.Progress = reporter.Start("extract")
	plan, err := diff.PlanExtract(base, tuned, options)
	if err != nil {
		return err
	}
	if o.dryRun {
		return printExtractPlan(stdout, plan.Summary(), o.json)
	}
	inputs := append(base.Inputs(), tuned.Inputs()...)
	if err := checkOutputs(o.output, o.report, o.force, inputs); err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	start := time.Now()
	x, err := plan.Run(ctx)
	reporter.Done()
	if err != nil {
		return err
	}
	if len(x.Adapter.Modules)+len(x.Adapter.Replacements) == 0 {
		printLeftOut(stderr, x.Report)
		return fmt.Errorf("no adapter to write: %s", x.Report.Nothing())
	}
	x.Adapter.Base = idOf(args[0])
	write := dialect.WriteOptions{Config: x.Config, Others: x.Others, Inputs: inputs, Force: o.force}
	if write.Metadata, err = bound(ctx, x.Adapter, base, binding.Options{Names: options.Names}); err != nil {
		return err
	}
	if err := dialect.WritePEFT(o.output, x.Adapter, write); err != nil {
		return err
	}
	if o.report != "" {
		if err := writeReport(o.report, diff.ExtractHTML(x.Report, args[0], args[1]), o.force, inputs); err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(stdout, x.Report)
	}
	printExtract(stdout, stderr, x.Report, o.modules, time.Since(start))
	return nil
}

// bound returns the metadata that ties an adapter to its base.
func bound(ctx context.Context, a *adapter.Adapter, base *checkpoint.Checkpoint, o binding.Options) (map[string]string, error) {
	weights, err := binding.Compute(ctx, a, base, o)
	return (&note.Notes{Base: weights}).Metadata(), err
}

// openTwo opens two checkpoints.
func openTwo(paths []string) (a, b *checkpoint.Checkpoint, err error) {
	if a, err = checkpoint.Open(paths[0], openOptions()); err != nil {
		return nil, nil, err
	}
	if b, err = checkpoint.Open(paths[1], openOptions()); err != nil {
		a.Close()
	}
	return a, b, err
}

func (o extractOptions) parse() (p diff.ExtractOptions, err error) {
	if o.output == "" && !o.dryRun {
		return p, usagef("no output: -o OUT names the adapter folder to write")
	}
	p.Rank = lowrank.Rules{Rule: lowrank.Auto()}
	if rules, err := o.rankFlags.parse(); err != nil {
		return p, err
	} else if rules != nil {
		p.Rank = *rules
	}
	for _, list := range [][]string{o.include, o.exclude, o.save} {
		for _, pattern := range list {
			if _, err := path.Match(pattern, ""); err != nil {
				return p, usagef("%q: this glob is not closed", pattern)
			}
		}
	}
	if o.maxRank < 1 {
		return p, usagef("--max-rank %d: expected at least 1", o.maxRank)
	}
	if p.DType, err = parseDType(o.dtype); err != nil {
		return p, err
	}
	if p.Names, err = o.rules.read(); err != nil {
		return p, err
	}
	p.Include, p.Exclude, p.Save = o.include, o.exclude, o.save
	p.Exact, p.Seed, p.MaxRank = o.exact, o.seed, o.maxRank
	return p, nil
}

func printExtractPlan(w io.Writer, s diff.ExtractSummary, asJSON bool) error {
	if asJSON {
		return printJSON(w, s)
	}
	for _, l := range s.LeftOut {
		fmt.Fprintf(w, "would leave out %s: %s\n", text.Quote(l.Tensor), l.Why)
	}
	fmt.Fprintf(w, "would compare %s, %s: factors for up to %s by rank %s, %d to save whole, %d not carried\n",
		count(s.Tensors, "tensor"), text.Bytes(s.Bytes), count(s.Modules, "module"), s.Rank, s.Saved, len(s.LeftOut))
	return nil
}

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"path"
	"runtime/debug"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/format"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/internal/text"
)

type diffOptions struct {
	rules    rulesFlag
	json     bool
	report   string
	shape    bool
	exclude  []string
	tensors  bool
	force    bool
	progress string
}

func newDiffCmd() *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:        "diff A B",
		Short:      "Say how two bases or two adapters differ",
		SuggestFor: []string{"compare", "delta"},
		Long: `diff compares two bases or two adapters.

Of bases it lists the tensors that were added, removed, changed in shape or
dtype, and of those with other values ‖Δ‖/‖W‖, the leading singular values of Δ
and the rank above the rounding noise: what a fine-tune did, and whether
factors can carry it. Of adapters it compares the deltas, from their factors:
norms, cosine, and the principal angles between the spaces that they read from
and write to.

With --shape no values are read: for adapters, the result is whether a server
can exchange one for the other, with the same modules, ranks and dtypes.

` + exitHelp,
		Example: `  loratool diff ./base ./tuned --report changes.html
  loratool diff ./adapter-a ./adapter-b --shape`,
		Args: args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDiff(cmd.Context(), args, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	o.rules.add(cmd)
	f.BoolVar(&o.json, "json", false, "print the report as JSON, with all singular values and angles")
	f.StringVar(&o.report, "report", "", "write a report with pictures to this HTML `file`")
	f.BoolVar(&o.shape, "shape", false, "compare names, shapes, ranks and dtypes only")
	f.StringArrayVar(&o.exclude, "exclude", nil, "leave out modules or tensors of a base that match this `glob` (may be repeated)")
	f.BoolVar(&o.tensors, "tensors", false, "list every changed tensor or common module")
	f.BoolVar(&o.force, "force", false, "replace a report that exists")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
	return cmd
}

func runDiff(ctx context.Context, args []string, o diffOptions, stdout, stderr io.Writer) error {
	for _, pattern := range o.exclude {
		if _, err := path.Match(pattern, ""); err != nil {
			return usagef("%q: this glob is not closed", pattern)
		}
	}
	mode, err := progress.ParseMode(o.progress)
	if err != nil {
		return usageError{err}
	}
	names, err := o.rules.read()
	if err != nil {
		return err
	}
	a, err := format.Open(args[0], openOptions())
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := format.Open(args[1], openOptions())
	if err != nil {
		return err
	}
	defer b.Close()
	if err := checkOutputs("", o.report, o.force, []string{a.Path, b.Path}); err != nil {
		return err
	}
	switch {
	case (a.Adapter == nil) != (b.Adapter == nil):
		return usagef("%s is %s and %s is %s: diff compares two bases or two adapters", text.Quote(args[0]), a.Kind, text.Quote(args[1]), b.Kind)
	case a.Adapter != nil:
		return diffAdapters(ctx, a, b, o, stdout)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	reporter := progress.New(stderr, mode)
	r, err := diff.CompareBases(ctx, a.Base, b.Base, diff.CompareOptions{ShapesOnly: o.shape, Exclude: o.exclude, Names: names, Progress: reporter.Start("diff")})
	reporter.Done()
	if err != nil {
		return err
	}
	r.A, r.B = args[0], args[1]
	if err := o.write(diff.BasesHTML(r), args); err != nil {
		return err
	}
	if o.json {
		return printJSON(stdout, r)
	}
	printBases(stdout, r, o)
	return nil
}

func diffAdapters(ctx context.Context, a, b *format.Opened, o diffOptions, stdout io.Writer) error {
	r, err := diff.CompareAdapters(ctx, a.Adapter.Adapter, b.Adapter.Adapter, o.shape)
	if err != nil {
		return err
	}
	r.A, r.B = a.Path, b.Path
	if err := o.write(diff.AdaptersHTML(r), []string{a.Path, b.Path}); err != nil {
		return err
	}
	if o.json {
		return printJSON(stdout, r)
	}
	printAdapters(stdout, r, o)
	return nil
}

// write writes the report, if one is asked for.
func (o diffOptions) write(html []byte, inputs []string) error {
	if o.report == "" {
		return nil
	}
	return writeReport(o.report, html, o.force, inputs)
}

func printBases(w io.Writer, r *diff.BasesReport, o diffOptions) {
	var names []string
	for _, c := range r.Changed {
		names = append(names, c.Module)
		if c.NewShape != nil {
			fmt.Fprintf(w, "other shape: %s %v → %v\n", text.Quote(c.Tensor), c.Shape, c.NewShape)
		}
		if c.NewDType != "" {
			fmt.Fprintf(w, "other dtype: %s %s → %s\n", text.Quote(c.Tensor), c.DType, c.NewDType)
		}
	}
	if o.tensors {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(tw, "‖Δ‖/‖W‖\tchanged\trank\tstable\tσ₁\t  tensor")
		for _, c := range r.Changed {
			rank, first := "", math.NaN()
			if len(c.Spectrum) > 0 {
				rank, first = c.RankWord(), c.Spectrum[0]
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t  %s\n", ratioOf(c.Relative), text.Percent(c.Elements), rank, text.Ratio(c.StableRank), text.Ratio(first), text.Quote(c.Tensor))
		}
		tw.Flush()
	}
	for _, name := range r.Added {
		fmt.Fprintf(w, "added: %s\n", text.Quote(name))
	}
	for _, name := range r.Removed {
		fmt.Fprintf(w, "removed: %s\n", text.Quote(name))
	}
	if !o.shape {
		printGrid(w, "‖Δ‖/‖W‖ by module and layer", names, func(i int) float64 { return numberOf(r.Changed[i].Relative) })
	}
	fmt.Fprintf(w, "%s changed, %d unchanged, %d added, %d removed", count(len(r.Changed), "tensor"), r.Unchanged, len(r.Added), len(r.Removed))
	if !o.shape && len(r.Changed) > 0 {
		fmt.Fprintf(w, "; ‖Δ‖/‖W‖ %s", text.Ratio(r.Relative))
	}
	fmt.Fprintln(w)
}

func numberOf(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}

func ratioOf(x *float64) string { return text.Ratio(numberOf(x)) }

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/merge/compose"
)

type composeOptions struct {
	composedFlags
	method   string
	dialect  string
	density  float64
	seed     uint64
	weights  string
	skip     []string
	anyBase  bool
	conflict bool
	report   string
}

func newComposeCmd() *cobra.Command {
	var o composeOptions
	cmd := &cobra.Command{
		Use:        "compose ADAPTER[=WEIGHT]...",
		Short:      "Make one adapter of several: sums, differences, TIES, DARE and more",
		SuggestFor: []string{"combine", "add", "blend", "mix", "ties"},
		Long: `compose makes one adapter whose delta is composed of those of others, which may
differ in rank, alpha, rsLoRA, patterns and targets. A negative weight takes an
adapter away.

--method is one of
  sum              Σ weight·ΔW, at the least rank that is exact (the default)
  cat              Σ weight·ΔW, the factors side by side
  svd              Σ weight·ΔW, the best approximation of --rank
  linear           as the dialect has it; paper: as sum
  ties             trim, elect signs, average what agrees
  dare_linear      drop at random and scale, then sum
  dare_ties        drop at random and scale, then elect signs
  magnitude_prune  the largest elements of each, then sum
  knots            TIES in a common left basis
  core-ties        TIES in common bases on both sides

sum, cat, svd, knots and core-ties work on the factors; the others on the
elements of ΔW, block by block, and end at --rank (default: the largest of the
adapters'). --dialect says whose definition is followed: that of the paper, of
PEFT (add_weighted_adapter: on the elements of A and B by themselves, which has
cross terms; ties_svd and so on work on ΔW) or of mergekit.

` + rankHelp + `

--weights FILE has on each line a glob of module names and one weight for each
adapter, which multiply those of the command line.

` + exitHelp,
		Example: `  loratool compose ./style=0.7 ./task -o ./both
  loratool compose ./a ./b=-1 -o ./difference --method svd --rank 16
  loratool compose ./a ./b ./c -o ./ties --method ties --density 0.2 --rank 32`,
		Args: args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("seed") && o.method != "dare_linear" && o.method != "dare_ties" && o.method != "dare_linear_svd" && o.method != "dare_ties_svd" {
				return usagef("--seed has no effect without a method that drops at random (dare_linear, dare_ties)")
			}
			return runCompose(cmd.Context(), args, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.method, "method", "sum", "`rule` that makes one delta of several")
	f.StringVar(&o.dialect, "dialect", "paper", "`whose` definition of the method: paper, peft or mergekit")
	o.add(f, "`rank` of the result: a number, auto, energy=, error=, ratio= or budget=")
	f.Float64Var(&o.density, "density", 0, "`share` of the elements that is kept, for the methods that trim or drop")
	f.Uint64Var(&o.seed, "seed", 0, "`number` that starts the random numbers of the DARE methods")
	f.StringVar(&o.weights, "weights", "", "`file` of weights by module")
	f.StringArrayVar(&o.skip, "skip", nil, "leave out modules or tensors of this `name` or glob (may be repeated)")
	f.BoolVar(&o.anyBase, "any-base", false, "compose adapters that name different bases")
	f.BoolVar(&o.conflict, "conflicts", false, "say how the adapters agree: cosines, signs, common subspaces")
	f.StringVar(&o.report, "report", "", "write how the adapters agree, with pictures, to this HTML `file`")
	return cmd
}

// parse returns the options in the library's types, for n adapters.
func (o composeOptions) parse(n int) (c compose.Options, err error) {
	if c, err = o.composedFlags.parse(); err != nil {
		return c, err
	}
	if c.Method, err = compose.ParseMethod(o.method); err != nil {
		return c, usageError{fmt.Errorf("--method %w", err)}
	}
	if c.Dialect, err = compose.ParseDialect(o.dialect); err != nil {
		return c, usageError{fmt.Errorf("--dialect %w", err)}
	}
	for _, glob := range o.skip {
		if _, err := path.Match(glob, ""); err != nil {
			return c, usagef("--skip %q: this glob is not closed", glob)
		}
	}
	c.Density, c.Seed, c.Skip, c.AnyBase = o.density, o.seed, o.skip, o.anyBase
	if err := c.Check(); errors.Is(err, rule.ErrUnsupported) {
		return c, err
	} else if err != nil {
		return c, usageError{err}
	}
	c.Modules, err = readWeights(o.weights, n)
	return c, err
}

func runCompose(ctx context.Context, args []string, o composeOptions, stdout, stderr io.Writer) error {
	options, err := o.parse(len(args))
	if err != nil {
		return err
	}
	mode, err := progress.ParseMode(o.progress)
	if err != nil {
		return usageError{err}
	}
	files, adapters, err := openInputs(args)
	defer closeAll(files)
	if err != nil {
		return err
	}
	first, inputs := files[0], sources(files)
	folder := o.output
	if o.dryRun {
		folder = ""
	}
	if err := checkOutputs(folder, o.report, o.force, inputs); err != nil {
		return err
	}
	reporter := progress.New(stderr, mode)
	options.Progress = reporter.Start("compose")
	out, composed, err := compose.Compose(ctx, adapters, options)
	reporter.Done()
	if err != nil {
		return err
	}
	r := composeReport{Report: composed}
	if o.conflict || o.report != "" {
		options.Progress = reporter.Start("compare")
		r.Conflicts, err = compose.FindConflicts(ctx, adapters, options)
		reporter.Done()
		if err != nil {
			return err
		}
	}
	verb := "would write"
	if !o.dryRun {
		verb = "wrote"
		write := dialect.WriteOptions{Config: first.Config, Metadata: metadataOf(out), Inputs: inputs, Force: o.force}
		write.KeepTargets = len(args) == 1 && keepsTargets(first.Adapter, out)
		if composed.Identity {
			write.Same = first
		}
		if err := dialect.WritePEFT(o.output, out, write); err != nil {
			return err
		}
	}
	if o.report != "" {
		if err := writeReport(o.report, conflictsPage(r), o.force, inputs); err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(stdout, r)
	}
	if o.conflict {
		printConflicts(stdout, r)
	}
	printComposed(stdout, stderr, verb, composed, o.modules)
	return nil
}

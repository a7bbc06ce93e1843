package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/normalize"
	"github.com/loratool/loratool/format/validate"
)

type normalizeOptions struct {
	output    string
	profile   string
	base      string
	keepDType bool
	force     bool
	json      bool
}

func newNormalizeCmd() *cobra.Command {
	var o normalizeOptions
	cmd := &cobra.Command{
		Use:        "normalize ADAPTER",
		Short:      "Rewrite an adapter so that a server computes the same function",
		SuggestFor: []string{"canonicalize", "fold", "pad"},
		Long: `normalize rewrites an adapter for a program that does not read all of PEFT's
config: scalings of modules are folded into the factors, ranks padded with
zeros to one, layers without a module get one of zeros; with --base, modules
that are fused in the adapter but not in the base are split. What the program cannot
carry at all, such as DoRA, is refused. That no delta changed is measured; the
error stands in the report. An adapter of 16 bits becomes F32 where a scaling
is no power of two, unless --keep-dtype allows rounding.

` + exitHelp,
		Example: `  loratool normalize ./my-adapter --profile vllm -o ./for-vllm`,
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output == "" || o.profile == "" {
				return usagef("normalize needs --profile, one of %s, and -o, the folder to write", profileNames())
			}
			return runNormalize(cmd.Context(), args[0], o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "`folder` to write")
	f.StringVar(&o.profile, "profile", "", "the `program` to write for: "+profileNames())
	f.StringVar(&o.base, "base", "", "split modules that this `base` does not fuse")
	f.BoolVar(&o.keepDType, "keep-dtype", false, "round folded factors to the dtype that they have")
	f.BoolVar(&o.force, "force", false, "replace an output that exists")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	return cmd
}

func runNormalize(ctx context.Context, path string, o normalizeOptions, stdout io.Writer) error {
	p, err := validate.ParseProfile(o.profile)
	if err != nil {
		return usageError{err}
	}
	a, err := openAdapter(path)
	if err != nil {
		return err
	}
	defer a.Close()
	options, inputs := normalize.Options{KeepDType: o.keepDType, Force: o.force}, []string{a.Source}
	if o.base != "" {
		if options.Base, err = checkpoint.Open(o.base, openOptions()); err != nil {
			return err
		}
		defer options.Base.Close()
		inputs = append(inputs, options.Base.Inputs()...)
	}
	if err := checkOutputs(o.output, "", o.force, inputs); err != nil {
		return err
	}
	r, err := normalize.Apply(ctx, o.output, a, p, options)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(stdout, r)
	}
	_, err = fmt.Fprintf(stdout, "%d modules for %s: %d scalings folded, %d ranks padded, %d modules added, %d split\nlargest relative error of a delta %.3g, at most %.3g is allowed\n",
		r.Modules, p.Program, r.Folded, r.Padded, r.Added, r.Split, r.Error, r.Tolerance)
	return err
}

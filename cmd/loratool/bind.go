package main

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/progress"
)

type bindOptions struct {
	rules    rulesFlag
	output   string
	json     bool
	force    bool
	progress string
}

func newBindCmd() *cobra.Command {
	var o bindOptions
	cmd := &cobra.Command{
		Use:        "bind ADAPTER BASE",
		Short:      "Write into an adapter which base it is for, by digests of the weights",
		SuggestFor: []string{"fingerprint", "seal", "lock"},
		Long: `bind writes a copy of an adapter that carries digests of the weights of the base
that it adapts, and of its own tensors. From then on merge, unmerge, train and
validate refuse another base before they write a byte, and name the first
weight that differs. Sharding, file names and prefixes of the base do not
matter. PEFT and other readers load the adapter as before: what is added lies
in the header of the weights, where they do not look.

` + exitHelp,
		Example: `  loratool bind ./my-adapter ./Llama-3.2-1B -o ./bound`,
		Args:    args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output == "" {
				return usagef("bind needs -o, the folder to write")
			}
			return runBind(cmd.Context(), args[0], args[1], o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "`folder` to write")
	o.rules.add(cmd)
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.BoolVar(&o.force, "force", false, "replace an output that exists")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
	return cmd
}

func runBind(ctx context.Context, adapter, base string, o bindOptions, stdout, stderr io.Writer) error {
	mode, err := progress.ParseMode(o.progress)
	if err != nil {
		return usageError{err}
	}
	a, err := openAdapter(adapter)
	if err != nil {
		return err
	}
	defer a.Close()
	names, err := o.rules.read()
	if err != nil {
		return err
	}
	b, err := checkpoint.Open(base, openOptions())
	if err != nil {
		return err
	}
	defer b.Close()
	if err := checkOutputs(o.output, "", o.force, append(b.Inputs(), a.Source)); err != nil {
		return err
	}
	reporter := progress.New(stderr, mode)
	bind := binding.Options{Names: names}
	update, total := reporter.Start("digest"), binding.Bytes(a.Adapter, b, bind)
	var done atomic.Int64
	bind.Progress = func(n int64) { update(done.Add(n), total) }
	options := binding.WriteOptions{Force: o.force, Options: bind}
	report, err := binding.Write(ctx, o.output, a, b, options)
	reporter.Done()
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(stdout, report)
	}
	_, err = fmt.Fprintf(stdout, "bound to %d weights of %s\nfingerprint %s\n", report.Weights, oneLine(base), report.Fingerprint)
	return err
}

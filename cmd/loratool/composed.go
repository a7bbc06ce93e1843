package main

import (
	"io"

	"github.com/spf13/pflag"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/merge/compose"
)

// composedFlags are the flags of commands that make an adapter of adapters.
type composedFlags struct {
	rankFlags
	output   string
	dtype    string
	modules  bool
	json     bool
	dryRun   bool
	force    bool
	progress string
}

func (o *composedFlags) add(f *pflag.FlagSet, rankUsage string) {
	f.StringVarP(&o.output, "output", "o", "", "`path` of the adapter folder to write")
	o.rankFlags.add(f, rankUsage)
	f.StringVar(&o.dtype, "dtype", "", "`type` of the factors: bf16, f16, f32 or f64 (default: as in the adapter)")
	f.BoolVar(&o.modules, "modules", false, "list every module")
	f.BoolVar(&o.json, "json", false, "print the report as JSON, with all singular values")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what ranks and errors there would be, and write nothing")
	f.BoolVar(&o.force, "force", false, "replace outputs that exist")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
}

// parse returns the options that the flags stand for.
func (o *composedFlags) parse() (c compose.Options, err error) {
	if o.output == "" && !o.dryRun {
		return c, usagef("no output: -o OUT names the adapter folder to write")
	}
	if c.Rank, err = o.rankFlags.parse(); err != nil {
		return c, err
	}
	c.DType, err = parseFactorType(o.dtype)
	return c, err
}

// check refuses an output that could not be written.
func (o *composedFlags) check(inputs []string) error {
	if o.dryRun {
		return nil
	}
	return checkOutputs(o.output, "", o.force, inputs)
}

// work does the work of a command that reads one adapter, and prints and
// writes what comes of it.
func (o *composedFlags) work(title, path string, write dialect.WriteOptions, options compose.Options, stdout, stderr io.Writer,
	do func(a *adapter.Adapter, options compose.Options) (*adapter.Adapter, *compose.Report, error)) error {
	mode, err := progress.ParseMode(o.progress)
	if err != nil {
		return usageError{err}
	}
	a, err := openAdapter(path)
	if err != nil {
		return err
	}
	defer a.Close()
	write.Inputs = append(write.Inputs, a.Source)
	if err := o.check(write.Inputs); err != nil {
		return err
	}
	reporter := progress.New(stderr, mode)
	options.Progress = reporter.Start(title)
	out, report, err := do(a.Adapter, options)
	reporter.Done()
	if err != nil {
		return err
	}
	verb := "would write"
	if !o.dryRun {
		verb = "wrote"
		write.Config, write.From, write.KeepTargets = a.Config, a, keepsTargets(a.Adapter, out)
		write.Metadata, write.Force = metadataOf(out), o.force
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

package main

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/merge"
)

// undoFlags are the flags of the commands that take adapters out of a merged
// checkpoint.
type undoFlags struct {
	output   string
	record   string
	json     bool
	force    bool
	progress string
	rules    rulesFlag
}

func (o *undoFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "`path` of the file or folder to write")
	f.StringVar(&o.record, "record", "", "`file` that merge --record wrote")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.BoolVar(&o.force, "force", false, "replace an output that exists")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
	o.rules.add(cmd)
}

// check refuses what no command can do without.
func (o *undoFlags) check() (progress.Mode, error) {
	mode, err := progress.ParseMode(o.progress)
	switch {
	case err != nil:
		return mode, usageError{err}
	case o.output == "":
		return mode, usagef("no output: -o OUT names the file or folder to write")
	}
	return mode, nil
}

// An undo is a merged checkpoint that is open, with the plan to take adapters
// out of it.
type undo struct {
	merged  *checkpoint.Checkpoint
	plan    *merge.Unmerge
	options merge.UnmergeOptions
	close   []func() error
}

// Close closes what open opened.
func (u *undo) Close() error {
	var all error
	for _, f := range u.close {
		all = errors.Join(all, f())
	}
	return all
}

// open opens the inputs and plans, without a record if none is named.
func (o *undoFlags) open(merged string, adapters []string, options merge.UnmergeOptions) (*undo, error) {
	u := &undo{options: options}
	if err := u.open(o, merged, adapters); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

func (u *undo) open(o *undoFlags, merged string, adapters []string) (err error) {
	u.options.Force = o.force
	if u.options.Names, err = o.rules.read(); err != nil {
		return err
	}
	if u.merged, err = checkpoint.Open(merged, openOptions()); err != nil {
		return err
	}
	u.close = append(u.close, u.merged.Close)
	weighted, closeAll, err := openWeighted(adapters)
	if err != nil {
		return err
	}
	u.close = append(u.close, func() error { closeAll(); return nil })
	if o.record == "" {
		u.plan, err = merge.NewLossyUnmerge(u.merged, weighted, u.options)
		return err
	}
	record, file, err := merge.OpenRecord(o.record)
	if err != nil {
		return err
	}
	u.close = append(u.close, file.Close)
	u.plan, err = merge.NewUnmerge(u.merged, weighted, record, u.options)
	return err
}

// report shows the progress of a plan, of so many bytes, on stderr. It returns
// what counts further bytes, and what ends it.
func (u *undo) report(stderr io.Writer, mode progress.Mode, what string, total int64) (count func(int64), done func()) {
	reporter := progress.New(stderr, mode)
	update := reporter.Start(what)
	var bytes atomic.Int64
	count = func(n int64) { update(bytes.Add(n), total) }
	u.plan.OnProgress(count)
	return count, reporter.Done
}

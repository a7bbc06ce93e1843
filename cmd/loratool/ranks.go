package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/merge/compose"
)

// rankHelp says how a rank is given.
const rankHelp = `A rank is a number, or one of
  auto          what lies above the rounding noise of the factors
  energy=0.95   the least that keeps this share of ‖ΔW‖²
  error=0.05    the least with an error of at most this share of ‖ΔW‖
  ratio=0.01    singular values of at least this share of the largest
  budget=200MB  the ranks of all modules that lose least in a file of this size`

// rankFlags are the flags of commands that choose ranks.
type rankFlags struct {
	rank string
	For  []string
}

func (r *rankFlags) add(f *pflag.FlagSet, usage string) {
	f.StringVar(&r.rank, "rank", "", usage)
	f.StringArrayVar(&r.For, "rank-for", nil, "`GLOB=RANK`: another rank for the modules whose names match (may be repeated; the first that matches decides)")
}

// parse returns nil if no rank is given.
func (r *rankFlags) parse() (*lowrank.Rules, error) {
	if r.rank == "" {
		if len(r.For) > 0 {
			return nil, usagef("--rank-for has no effect without --rank, which is for all other modules")
		}
		return nil, nil
	}
	rule, err := lowrank.ParseRule(r.rank)
	if err != nil {
		return nil, usageError{fmt.Errorf("--rank %w", err)}
	}
	rules := &lowrank.Rules{Rule: rule}
	for _, s := range r.For {
		o, err := lowrank.ParseOverride(s)
		if err != nil {
			return nil, usageError{fmt.Errorf("--rank-for %w", err)}
		}
		rules.For = append(rules.For, o)
	}
	return rules, nil
}

// parseFactorType reads --dtype, 0 if it is not given.
func parseFactorType(s string) (dtype.DType, error) {
	if s == "" {
		return 0, nil
	}
	return parseDType(s)
}

// printComposed prints the modules, if asked for, and the sum of a composition.
func printComposed(stdout, stderr io.Writer, verb string, r *compose.Report, modules bool) {
	for _, w := range r.Warnings {
		fmt.Fprintf(stderr, "loratool: warning: %s\n", oneLine(w))
	}
	least, most := 0, 0
	for _, m := range r.Modules {
		if m.Rank > 0 && (least == 0 || m.Rank < least) {
			least = m.Rank
		}
		most = max(most, m.Rank)
		if modules {
			fmt.Fprintf(stdout, "rank %-4d of %-10s error %-8s ‖ΔW‖ %-8s %s\n", m.Rank, joinInts(m.Ranks), text.Ratio(m.Error), text.Ratio(m.Norm), text.Quote(m.Name))
		}
	}
	for _, name := range r.Unused {
		fmt.Fprintf(stdout, "not carried over, without effect: %s\n", text.Quote(name))
	}
	for _, name := range r.Dropped {
		fmt.Fprintf(stdout, "left out, its delta is zero: %s\n", text.Quote(name))
	}
	ranks := fmt.Sprintf("rank %d", most)
	if least != most {
		ranks = fmt.Sprintf("rank %d to %d", least, most)
	}
	fmt.Fprintf(stdout, "%s %s at %s, error %s of ‖ΔW‖, %s kept; %s, was %s\n", verb, count(len(r.Modules)-len(r.Dropped), "module"), ranks,
		text.Ratio(r.Error), text.Percent(r.Energy), text.Bytes(r.BytesAfter), text.Bytes(r.BytesBefore))
}

func joinInts(list []int) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = fmt.Sprint(n)
	}
	return strings.Join(words, "+")
}

// openInputs opens the adapters of ADAPTER=WEIGHT arguments. What it opened
// must be closed after an error too.
func openInputs(args []string) (files []*dialect.File, adapters []compose.Weighted, err error) {
	for _, arg := range args {
		name, weight, err := splitWeight(arg)
		if err != nil {
			return files, nil, err
		}
		a, err := openAdapter(name)
		if err != nil {
			return files, nil, err
		}
		files, adapters = append(files, a), append(adapters, compose.Weighted{Adapter: a.Adapter, Weight: weight})
	}
	return files, adapters, nil
}

func closeAll(files []*dialect.File) {
	for _, f := range files {
		f.Close()
	}
}

// sources lists where files were read from.
func sources(files []*dialect.File) (paths []string) {
	for _, f := range files {
		paths = append(paths, f.Source)
	}
	return paths
}

// metadataOf is what the header of an adapter's weights says of its base.
func metadataOf(a *adapter.Adapter) map[string]string {
	if a.Notes == nil {
		return nil
	}
	return a.Notes.Metadata()
}

// keepsTargets reports whether out has the modules of in, all of them: by path
// and depth, because those that PEFT nests have no names in the file.
func keepsTargets(in, out *adapter.Adapter) bool {
	type place struct {
		path  string
		depth int
	}
	rest := map[place]bool{}
	for _, m := range in.Modules {
		rest[place{m.Path, m.Depth}] = true
	}
	for _, m := range out.Modules {
		delete(rest, place{m.Path, m.Depth})
	}
	return len(rest) == 0 && len(in.Modules) == len(out.Modules)
}

// checkOutputs refuses an adapter folder and a report that could not be written
// at the end, before the work. Empty names are outputs that were not asked for.
func checkOutputs(folder, report string, force bool, inputs []string) error {
	if folder != "" {
		if err := publish.CheckDir(folder, force, inputs...); err != nil {
			return err
		}
	}
	if report == "" {
		return nil
	}
	return publish.CheckFile(report, force, inputs...)
}

// readWeights reads the file of --weights for n adapters.
func readWeights(path string, n int) ([]compose.ModuleWeights, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readNamed(path)
	if err != nil {
		return nil, err
	}
	w, err := compose.ParseWeights(data, n)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", text.Quote(path), err))
	}
	return w, nil
}

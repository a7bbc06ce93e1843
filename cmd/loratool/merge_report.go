package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/merge"
)

// printMerge prints what a merge did, or what it would do.
func printMerge(stdout, stderr io.Writer, r *merge.Report, tensors bool, took time.Duration) {
	printWarnings(stderr, r)
	if tensors {
		printMergedTensors(stdout, r)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(stdout, "note: %s\n", oneLine(n))
	}
	modules := 0
	for _, a := range r.Adapters {
		modules += a.Applied
		for _, s := range a.Skipped {
			fmt.Fprintf(stdout, "not applied (--skip): %s\n", text.Quote(s))
		}
	}
	if r.Planned {
		printPlan(stdout, r, modules)
		return
	}
	copied := ""
	if n := copiedFiles(r); n > 0 {
		copied = ", " + count(n, "file") + " copied unchanged"
	}
	fmt.Fprintf(stdout, "merged %s, ‖ΔW‖/‖W‖ %s, kept %s of the update%s; %s in %s\n",
		count(modules, "module"), text.Ratio(r.Total.Relative), text.Percent(r.Total.Kept), copied, text.Bytes(r.Bytes), took.Round(time.Millisecond))
	if r.Record != nil {
		fmt.Fprintf(stdout, "record of %s in %s: unmerge needs it and the adapters\n", text.Bytes(r.Record.Bytes), text.Quote(r.Record.Path))
	}
}

func printWarnings(stderr io.Writer, r *merge.Report) {
	for _, w := range r.Warnings {
		fmt.Fprintf(stderr, "loratool: warning: %s\n", oneLine(w))
	}
}

func copiedFiles(r *merge.Report) (n int) {
	for _, f := range r.Files {
		if f.How != "merged" {
			n++
		}
	}
	return n
}

// printPlan says what a dry run found: what would be read, and what written
// where.
func printPlan(w io.Writer, r *merge.Report, modules int) {
	for _, a := range r.Adapters {
		fmt.Fprintf(w, "reads %s: %s, weight %g%s\n", text.Quote(a.Path), count(a.Modules, "module"), a.Weight, unused(a.Unused))
	}
	for _, f := range r.Files {
		what := "copied"
		if f.How == "merged" {
			what = count(f.Changed, "changed tensor")
		}
		fmt.Fprintf(w, "writes %s: %s, %s\n", text.Quote(f.Name), text.Bytes(f.Bytes), what)
	}
	room := ""
	if free, err := publish.FreeSpace(filepath.Dir(filepath.Clean(r.Output))); err == nil && r.Output != "" {
		room = "; " + text.Bytes(free) + " free"
	}
	fmt.Fprintf(w, "would merge %s into %s of %s, %s%s\n", count(modules, "module"), count(len(r.Tensors), "tensor"), count(len(r.Files), "file"), text.Bytes(r.Bytes), room)
}

// unused names tensors of an adapter without effect.
func unused(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; without effect: " + text.Quote(strings.Join(names, ", "))
}

func printMergedTensors(w io.Writer, r *merge.Report) {
	for _, t := range r.Tensors {
		fmt.Fprintf(w, "%-6s %-8s kept %-7s changed %-9d %s\n", t.DType, text.Ratio(t.Relative), text.Percent(t.Kept), t.Changed, text.Quote(t.Name))
	}
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

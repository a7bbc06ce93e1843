package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/internal/text"
)

// garbagePercent is how much garbage is let gather while deltas are worked on:
// most of the heap are one or two of them, which stay, so that Go's default
// would double the memory.
const garbagePercent = 20

func printAdapters(w io.Writer, r *diff.AdaptersReport, o diffOptions) {
	for _, name := range r.OnlyA {
		fmt.Fprintf(w, "only in %s: %s\n", text.Quote(r.A), text.Quote(name))
	}
	for _, name := range r.OnlyB {
		fmt.Fprintf(w, "only in %s: %s\n", text.Quote(r.B), text.Quote(name))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	if o.shape {
		for _, why := range r.Swap {
			fmt.Fprintf(w, "differs: %s\n", text.Quote(why))
		}
		if len(r.Swap) > 0 {
			fmt.Fprintf(w, "not interchangeable: %s\n", count(len(r.Swap), "difference"))
		} else {
			fmt.Fprintln(w, "interchangeable: the same modules, ranks and dtypes")
		}
		return
	}
	var names []string
	for _, m := range r.Modules {
		names = append(names, m.Module)
	}
	if o.tensors {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(tw, "‖ΔA‖\t‖ΔB‖\tcosine\toverlap in\tout\t  module")
		for _, m := range r.Modules {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t  %s\n", text.Ratio(m.NormA), text.Ratio(m.NormB), text.Ratio(m.Cosine), text.Ratio(m.OverlapIn), text.Ratio(m.OverlapOut), text.Quote(m.Module))
		}
		tw.Flush()
	}
	printGrid(w, "cosine by module and layer", names, func(i int) float64 { return r.Modules[i].Cosine })
	fmt.Fprintf(w, "%s in both: cosine %s, ‖ΔA‖ %s, ‖ΔB‖ %s, ‖ΔB − ΔA‖/‖ΔA‖ %s\n", count(len(r.Modules), "module"),
		text.Ratio(r.Cosine), text.Ratio(r.NormA), text.Ratio(r.NormB), text.Ratio(r.Distance))
}

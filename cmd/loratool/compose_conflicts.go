package main

import (
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/loratool/loratool/diff"
	htmlreport "github.com/loratool/loratool/internal/report"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/merge/compose"
)

// A composeReport is what compose did, and how the adapters agree if that was
// asked for.
type composeReport struct {
	*compose.Report
	Conflicts *compose.Conflicts `json:"conflicts,omitempty"`
}

// agreements are the numbers of an agreement, with what they mean.
var agreements = []struct {
	name, note string
	of         func(compose.Agreement) float64
}{
	{"cosine", "1: the adapters do the same, 0: they have nothing to do with each other, −1: they undo each other.", func(a compose.Agreement) float64 { return a.Cosine }},
	{"same signs", "The share of elements that both move in one direction; 0.5 is chance.", func(a compose.Agreement) float64 { return a.Signs }},
	{"common outputs", "How much of the space that one writes to the other writes to, too.", func(a compose.Agreement) float64 { return a.Outputs }},
	{"common inputs", "How much of the space that one reads the other reads, too.", func(a compose.Agreement) float64 { return a.Inputs }},
}

// printConflicts prints how the adapters agree, pair by pair, with a map of the
// cosines.
func printConflicts(w io.Writer, r composeReport) {
	for _, p := range r.Conflicts.Pairs {
		fmt.Fprintf(w, "%s and %s, %s in common:", text.Quote(r.Adapters[p.A].Path), text.Quote(r.Adapters[p.B].Path), count(p.Common, "module"))
		for i, a := range agreements {
			if i > 0 {
				fmt.Fprint(w, ",")
			}
			fmt.Fprintf(w, " %s %.3f", a.name, a.of(p.Agreement))
		}
		fmt.Fprintln(w)
		places, layers, values := pairGrid(p, agreements[0].of)
		if len(layers) > 1 {
			io.WriteString(w, text.HeatMap("cosine by module and layer", places, layers, values, terminalOf(w)))
		}
	}
}

// pairGrid arranges a number of a pair's modules by place and layer.
func pairGrid(p compose.Pair, of func(compose.Agreement) float64) (places, layers []string, values [][]float64) {
	names := make([]string, len(p.Modules))
	for i, m := range p.Modules {
		names[i] = m.Name
	}
	g := diff.NewGrid(names)
	for _, l := range g.Layers {
		layers = append(layers, strconv.Itoa(l))
	}
	return g.Places, layers, g.Values(math.NaN(), func(i int) float64 { return of(p.Modules[i].Agreement) })
}

// conflictsPage is the report as a page with pictures.
func conflictsPage(r composeReport) []byte {
	page := htmlreport.New("Composed adapters", fmt.Sprintf("Method %s of dialect %s; relative error %s, %s of the energy kept, %s.",
		r.Method, r.Dialect, text.Ratio(r.Error), text.Percent(r.Energy), text.Bytes(r.BytesAfter)))
	var rows [][]string
	for i, a := range r.Adapters {
		rows = append(rows, []string{a.Path, strconv.Itoa(i + 1), strconv.FormatFloat(a.Weight, 'g', -1, 64), strconv.Itoa(a.Modules)})
	}
	page.Section("Adapters", "")
	page.Table([]string{"adapter", "number", "weight", "modules"}, rows)
	rows = nil
	for _, p := range r.Conflicts.Pairs {
		row := []string{fmt.Sprintf("%d and %d", p.A+1, p.B+1), strconv.Itoa(p.Common)}
		for _, a := range agreements {
			row = append(row, fmt.Sprintf("%.3f", a.of(p.Agreement)))
		}
		rows = append(rows, row)
	}
	header := []string{"pair", "common modules"}
	for _, a := range agreements {
		header = append(header, a.name)
	}
	page.Section("Agreement", "Weights count by their signs: an adapter that is taken away points the other way.")
	page.Table(header, rows)
	for _, p := range r.Conflicts.Pairs {
		for _, a := range agreements {
			page.Section(fmt.Sprintf("Adapters %d and %d: %s", p.A+1, p.B+1, a.name), a.note)
			page.HeatMap(pairGrid(p, a.of))
		}
	}
	return page.Bytes()
}

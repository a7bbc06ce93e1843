package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/text"
)

// mostLeftOut is how many tensors that are not carried are named.
const mostLeftOut = 20

func printExtract(stdout, stderr io.Writer, r diff.ExtractReport, modules bool, took time.Duration) {
	for _, w := range r.Warnings {
		fmt.Fprintf(stderr, "loratool: warning: %s\n", oneLine(w))
	}
	if modules {
		printCertificates(stdout, r)
	}
	var names []string
	for _, c := range r.Modules {
		names = append(names, c.Module)
	}
	printGrid(stdout, "‖Δ‖/‖W‖ by module and layer", names, func(i int) float64 { return r.Modules[i].Relative })
	for _, s := range r.Saved {
		fmt.Fprintf(stdout, "saved whole: %s%s\n", text.Quote(s.Tensor), relativeOf(s))
	}
	printLeftOut(stdout, r)
	for _, n := range r.Notes {
		fmt.Fprintf(stdout, "note: %s\n", oneLine(n))
	}
	fmt.Fprintf(stdout, "extracted %s of rank %s, %s parameters, %s, in %s; %s unchanged\n",
		count(len(r.Modules), "module"), ranks(r), text.Count(int64(r.Params)), text.Bytes(r.Bytes), took.Round(time.Millisecond), count(r.Unchanged, "tensor"))
	fmt.Fprintf(stdout, "the adapter carries %s of the change (relative error %s, rounding noise %s, ‖Δ‖/‖W‖ %s)\n",
		text.Percent(r.Carried), text.Ratio(r.Error), text.Ratio(r.Noise), text.Ratio(r.Relative))
}

// printLeftOut names what an adapter does not carry, up to a number.
func printLeftOut(w io.Writer, r diff.ExtractReport) {
	for i, l := range r.LeftOut {
		if i == mostLeftOut {
			fmt.Fprintf(w, "not carried: %d more; --json lists all\n", len(r.LeftOut)-i)
			break
		}
		fmt.Fprintf(w, "not carried: %s (%s)%s\n", text.Quote(l.Tensor), l.Why, relativeOf(l))
	}
}

func relativeOf(c diff.TensorChange) string {
	if c.Share == nil {
		return ""
	}
	return fmt.Sprintf(", ‖Δ‖/‖W‖ %s, %s of the change", ratioOf(c.Relative), text.Percent(*c.Share))
}

// ranks says which ranks there are: "16" or "3…64".
func ranks(r diff.ExtractReport) string {
	least, most := math.MaxInt, 0
	for _, c := range r.Modules {
		least, most = min(least, c.Rank), max(most, c.Rank)
	}
	switch {
	case most == 0:
		return "0"
	case least == most:
		return strconv.Itoa(most)
	}
	return fmt.Sprintf("%d…%d", least, most)
}

func printCertificates(w io.Writer, r diff.ExtractReport) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "rank\t‖Δ‖/‖W‖\terror\tenergy\tnoise\tstable\tσ₁\tσ_r+1\t  module")
	for _, c := range r.Modules {
		rank := strconv.Itoa(c.Rank)
		if c.FullRank {
			rank = "full, kept " + rank
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t  %s\n", rank, text.Ratio(c.Relative), text.Ratio(c.Error), text.Percent(c.Energy),
			text.Ratio(c.NoiseFloor), text.Ratio(c.StableRank), text.Ratio(c.Largest), text.Ratio(c.Next), text.Quote(c.Module))
	}
	tw.Flush()
}

// printGrid draws a heat map of modules by layer, if there are layers.
func printGrid(w io.Writer, title string, names []string, value func(i int) float64) {
	g := diff.NewGrid(names)
	if len(g.Layers) < 2 {
		return
	}
	labels := make([]string, len(g.Layers))
	for i, l := range g.Layers {
		labels[i] = strconv.Itoa(l)
	}
	io.WriteString(w, text.HeatMap(title, g.Places, labels, g.Values(math.NaN(), value), terminalOf(w)))
}

// writeReport publishes a report beside the inputs.
func writeReport(path string, html []byte, force bool, inputs []string) error {
	if err := publish.Alias(path, inputs...); err != nil {
		return err
	}
	f, err := publish.CreateFile(path, force)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Handle().Write(html); err != nil {
		return err
	}
	f.Expect(int64(len(html)))
	return f.Commit()
}

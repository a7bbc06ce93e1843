package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/internal/text"
)

// picture draws ‖ΔW‖ by layer and module, and the total.
func (r *adapterReport) picture(w io.Writer) {
	if len(r.Modules) == 0 {
		return
	}
	paths := make([]string, len(r.Modules))
	square, stable, n := 0.0, 0.0, 0
	for i, m := range r.Modules {
		paths[i] = m.Name
		if v := float64(m.Norm); !math.IsNaN(v) {
			square += v * v
			stable += float64(m.StableRank)
			n++
		}
	}
	switch unknown := len(r.Modules) - n; {
	case n == 0:
		fmt.Fprintln(w, "  ‖ΔW‖        not known")
	case unknown > 0:
		fmt.Fprintf(w, "  ‖ΔW‖        %.4g in total, mean stable rank %.2f, and not known of %s\n", math.Sqrt(square), stable/float64(n), count(unknown, "module"))
	default:
		fmt.Fprintf(w, "  ‖ΔW‖        %.4g in total, mean stable rank %.2f\n", math.Sqrt(square), stable/float64(n))
	}
	g := diff.NewGrid(paths)
	if len(g.Layers) < 2 {
		return
	}
	labels := make([]string, len(g.Layers))
	for i, l := range g.Layers {
		labels[i] = strconv.Itoa(l)
	}
	values := g.Values(math.NaN(), func(i int) float64 { return float64(r.Modules[i].Norm) })
	fmt.Fprintln(w, "  ‖ΔW‖ by module and layer")
	io.WriteString(w, text.HeatMap("", g.Places, labels, values, terminalOf(w)))
}

func (r *adapterReport) spectra(w io.Writer) {
	for _, m := range r.Modules {
		values := make([]string, len(m.Spectrum))
		for i, v := range m.Spectrum {
			values[i] = fmt.Sprintf("%.3g", float64(v))
		}
		fmt.Fprintf(w, "  %s  %s\n", text.Quote(m.Name), strings.Join(values, " "))
	}
}

// terminalOf says what a writer can show.
func terminalOf(w io.Writer) text.HeatMapOptions {
	o := text.HeatMapOptions{}
	if r, ok := w.(*results); ok {
		w = r.Writer
	}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return o
	}
	o.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	o.Unicode = strings.Contains(strings.ToUpper(os.Getenv("LC_ALL")+os.Getenv("LC_CTYPE")+os.Getenv("LANG")), "UTF")
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		o.Width = width
	}
	return o
}

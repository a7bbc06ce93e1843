package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/internal/text"
)

type adapterReport struct {
	Type         string         `json:"type"`
	Dialect      string         `json:"dialect"`
	Base         string         `json:"base_model,omitempty"`
	Writer       string         `json:"writer_version,omitempty"`
	Parameters   int            `json:"parameters"`
	Bytes        int64          `json:"bytes"`
	DTypes       map[string]int `json:"dtypes"`
	Groups       []groupReport  `json:"groups"`
	Modules      []moduleReport `json:"modules"`
	Replacements []string       `json:"replacements,omitempty"`
	TokenRows    int            `json:"token_rows,omitempty"`
	Unused       []string       `json:"unused,omitempty"`
	NotMergeable []string       `json:"not_mergeable,omitempty"`
}

// A groupReport sums up the modules of one place in all layers.
type groupReport struct {
	Place   string  `json:"place"`
	Modules int     `json:"modules"`
	Rank    int     `json:"rank"`
	Alpha   float64 `json:"alpha"`
	Scaling float64 `json:"scaling"`
	Kind    string  `json:"kind"`
}

type moduleReport struct {
	Name       string       `json:"name"`
	Kind       string       `json:"kind"`
	Rank       int          `json:"rank"`
	Alpha      float64      `json:"alpha"`
	Scaling    float64      `json:"scaling"`
	In         int          `json:"in"`
	Out        int          `json:"out"`
	DoRA       bool         `json:"dora,omitempty"`
	Norm       jsonNumber   `json:"delta_norm"`
	StableRank jsonNumber   `json:"stable_rank"`
	Largest    jsonNumber   `json:"largest_singular_value"`
	ZeroB      bool         `json:"zero_b,omitempty"`
	NaN        int          `json:"nan,omitempty"`
	Inf        int          `json:"inf,omitempty"`
	Spectrum   []jsonNumber `json:"spectrum,omitempty"`
}

func (r *inspectReport) readAdapter(ctx context.Context, f *dialect.File, o inspectOptions) error {
	a := f.Adapter
	measured, err := diff.MeasureAdapter(ctx, a, measureOptions(o))
	if err != nil {
		return err
	}
	r.Adapter = &adapterReport{Type: a.Type, Dialect: a.Dialect, Base: a.Base, Writer: a.Writer, Parameters: a.Parameters(), DTypes: map[string]int{},
		Groups: []groupReport{}, Modules: []moduleReport{}}
	if f.Weights != nil {
		r.Adapter.Bytes = f.Weights.Size()
		for _, t := range f.Weights.Header().Tensors() {
			r.Adapter.DTypes[t.DType.String()]++
			if o.tensors {
				r.Tensors = append(r.Tensors, tensorReport{t.Name, t.DType.String(), shapeOf(t), t.End - t.Begin, ""})
			}
		}
		for _, w := range f.Weights.Header().Warnings() {
			r.Warnings = append(r.Warnings, w.Error())
		}
	}
	for _, m := range measured {
		r.Adapter.Modules = append(r.Adapter.Modules, newModuleReport(m))
		if m.NaN+m.Inf > 0 {
			r.Warnings = append(r.Warnings, fmt.Sprintf("module %s has %d NaN and %d infinite values [AD017]", text.Quote(m.Name()), m.NaN, m.Inf))
		}
	}
	r.Adapter.groups(measured)
	r.Adapter.rest(a)
	for _, w := range a.Warnings {
		r.Warnings = append(r.Warnings, w.Error())
	}
	if n := r.Adapter.zero(); n > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("B is all zero in %s of %d: they have no effect [AD018]", count(n, "module"), len(measured)))
	}
	return nil
}

func newModuleReport(m diff.MeasuredModule) moduleReport {
	r := moduleReport{Name: nameOf(m.Module), Kind: kindOf(m.Module), Rank: m.Rank, Alpha: m.Alpha, Scaling: m.Scaling(),
		In: m.A.Elements() / m.A.Shape[0], Out: m.B.Shape[0], DoRA: m.Magnitude != nil,
		Norm: jsonNumber(m.Norm), StableRank: jsonNumber(m.StableRank), Largest: jsonNumber(m.Largest), ZeroB: m.ZeroB, NaN: m.NaN, Inf: m.Inf}
	for _, v := range m.Spectrum {
		r.Spectrum = append(r.Spectrum, jsonNumber(v))
	}
	return r
}

// nameOf is the name of the parameter that a module adapts, or of those that it
// may adapt where only the base can tell.
func nameOf(m *adapter.Module) string {
	if len(m.Candidates) > 1 {
		return m.Path + ".(" + strings.Join(m.Candidates, "|") + ")"
	}
	return m.Name()
}

// kindOf says how the factors make the delta. Whether a parameter is a matrix
// or a stack of experts, only the base tells.
func kindOf(m *adapter.Module) string {
	switch {
	case m.Scales != nil:
		return "parameter, of the rank and alpha that the base decides"
	case len(m.Candidates) > 0 && m.Kind == adapter.Linear:
		return "parameter"
	case m.Multiplicity == 2:
		return m.Kind.String() + ", added twice as PEFT does"
	}
	return m.Kind.String()
}

func (r *adapterReport) zero() int {
	n := 0
	for _, m := range r.Modules {
		if m.ZeroB {
			n++
		}
	}
	return n
}

// groups collects modules that differ by the layer's number only.
func (r *adapterReport) groups(measured []diff.MeasuredModule) {
	for _, m := range measured {
		g := groupReport{Place: place(nameOf(m.Module)), Rank: m.Rank, Alpha: m.Alpha, Scaling: m.Scaling(), Kind: kindOf(m.Module)}
		if m.Magnitude != nil {
			g.Kind += ", DoRA"
		}
		i := slices.IndexFunc(r.Groups, func(h groupReport) bool { h.Modules = 0; return h == g })
		if i < 0 {
			r.Groups = append(r.Groups, g)
			i = len(r.Groups) - 1
		}
		r.Groups[i].Modules++
	}
}

// place replaces numbers of a path by a star.
func place(path string) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		if _, err := strconv.Atoi(p); err == nil {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, ".")
}

func (r *adapterReport) rest(a *adapter.Adapter) {
	for _, p := range a.Replacements {
		r.Replacements = append(r.Replacements, p.Name)
	}
	for _, t := range a.Tokens {
		r.TokenRows += len(t.Indices)
	}
	for _, u := range a.Unused {
		r.Unused = append(r.Unused, u.Tensor)
	}
	for _, e := range a.Refusals {
		r.NotMergeable = append(r.NotMergeable, e.What)
	}
}

func (r *adapterReport) print(w io.Writer, o inspectOptions) {
	fmt.Fprintf(w, "  type        %s (%s%s)\n", text.Quote(r.Type), r.Dialect, prefixedName(" ", r.Writer))
	if r.Base != "" {
		fmt.Fprintf(w, "  base        %s\n", text.Quote(r.Base))
	}
	if len(r.DTypes) > 0 { // none for a type whose weights are not read
		fmt.Fprintf(w, "  parameters  %s in %s, %s%s\n", text.Count(int64(r.Parameters)), count(len(r.Modules), "module"), text.Bytes(r.Bytes), prefixed(", ", dtypeList(r.DTypes)))
	}
	for _, n := range r.NotMergeable {
		fmt.Fprintf(w, "  not mergeable: %s\n", text.Quote(n))
	}
	if len(r.Groups) > 0 {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "  modules\trank\talpha\tscaling\tkind\twhere")
		for _, g := range r.Groups {
			fmt.Fprintf(tw, "  %d\t%d\t%g\t%.4g\t%s\t%s\n", g.Modules, g.Rank, g.Alpha, g.Scaling, g.Kind, text.Quote(g.Place))
		}
		tw.Flush()
	}
	if len(r.Replacements) > 0 {
		fmt.Fprintf(w, "  replaces    %s\n", text.Quote(strings.Join(r.Replacements, ", ")))
	}
	if r.TokenRows > 0 {
		fmt.Fprintf(w, "  tokens      %s\n", count(r.TokenRows, "trained row"))
	}
	for _, u := range r.Unused {
		fmt.Fprintf(w, "  not used    %s\n", text.Quote(u))
	}
	r.picture(w)
	if o.spectrum {
		r.spectra(w)
	}
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// prefixedName is prefixed for text from a file.
func prefixedName(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + text.Quote(s)
}

func dtypeList(counts map[string]int) string {
	return strings.Join(slices.Sorted(maps.Keys(counts)), " ")
}

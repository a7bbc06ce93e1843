package diff

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/loratool/loratool/internal/report"
	"github.com/loratool/loratool/internal/text"
)

// ExtractHTML renders the report of an extraction as a page.
func ExtractHTML(r ExtractReport, base, tuned string) []byte {
	p := report.New("Extracted adapter", base+" → "+tuned)
	p.Facts(
		report.Fact{Name: "of the change carried", Value: text.Percent(r.Carried)},
		report.Fact{Name: "relative error", Value: text.Ratio(r.Error)},
		report.Fact{Name: "rounding noise", Value: text.Ratio(r.Noise)},
		report.Fact{Name: "change, ‖Δ‖/‖W‖", Value: text.Ratio(r.Relative)},
		report.Fact{Name: "modules", Value: strconv.Itoa(len(r.Modules))},
		report.Fact{Name: "parameters", Value: text.Count(int64(r.Params))},
		report.Fact{Name: "size", Value: text.Bytes(r.Bytes)},
	)
	if len(r.Warnings) > 0 {
		p.List(r.Warnings)
	}
	var names []string
	var curves []spectrum
	for _, c := range r.Modules {
		names = append(names, c.Module)
		curves = append(curves, spectrum{c.Module, c.Spectrum, c.Norm})
	}
	heat(p, "What changed", "‖Δ‖/‖W‖ by module and layer.", names, func(i int) float64 { return r.Modules[i].Relative })
	heat(p, "What the factors miss", "‖Δ − s·B·A‖/‖Δ‖, from the factors as they are written.", names, func(i int) float64 { return r.Modules[i].Error })
	heat(p, "Rank", "By module and layer.", names, func(i int) float64 { return float64(r.Modules[i].Rank) })
	energyCurves(p, curves)
	p.Section("Certificates", "Error, energy, σ₁ and σ_r+1 are computed from the written factors. Noise is what rounding to the dtype of the tuned model adds to Δ.")
	var rows [][]string
	for _, c := range r.Modules {
		rank := strconv.Itoa(c.Rank)
		if c.FullRank {
			rank += " (full)"
		}
		rows = append(rows, []string{c.Module, rank, text.Ratio(c.Relative), text.Ratio(c.Error), text.Percent(c.Energy), text.Ratio(c.NoiseFloor), text.Ratio(c.StableRank), text.Ratio(c.Largest), text.Ratio(c.Next)})
	}
	p.Table([]string{"module", "rank", "‖Δ‖/‖W‖", "error", "energy", "noise", "stable rank", "σ₁", "σ_r+1"}, rows)
	changes(p, "Saved whole", r.Saved)
	changes(p, "Not carried", r.LeftOut)
	return p.Bytes()
}

// heat draws a heat map by layer; modules without a layer are left out.
func heat(p *report.Page, title, note string, names []string, value func(i int) float64) {
	g := NewGrid(names)
	if len(g.Layers) == 0 {
		return
	}
	labels := make([]string, len(g.Layers))
	for i, l := range g.Layers {
		labels[i] = strconv.Itoa(l)
	}
	p.Section(title, note)
	p.HeatMap(g.Places, labels, g.Values(math.NaN(), value))
}

// A spectrum is what is known of the singular values of one delta.
type spectrum struct {
	name   string
	values []float64
	norm   float64
}

// energyCurves draws what share of ‖Δ‖² the leading singular values carry.
func energyCurves(p *report.Page, spectra []spectrum) {
	var series []report.Series
	for _, s := range spectra {
		c := report.Series{Name: s.name, Group: s.name}
		if _, place, ok := splitLayer(s.name); ok {
			c.Group = place
		}
		sum := 0.0
		for i, v := range s.values {
			sum += float64(v * v)
			c.X, c.Y = append(c.X, float64(i+1)), append(c.Y, min(1, sum/(s.norm*s.norm)))
		}
		if s.norm > 0 && len(s.values) > 0 {
			series = append(series, c)
		}
	}
	if len(series) == 0 {
		return
	}
	p.Section("Energy at rank", "The share of ‖Δ‖² that the best approximation of each rank carries, for each module, as far as singular values were found.")
	p.Curves(report.Axes{X: "rank", Y: "share of ‖Δ‖²", LogX: true, FromZero: true, Top: 1}, series)
}

// changes lists tensors that changed otherwise.
func changes(p *report.Page, title string, list []TensorChange) {
	if len(list) == 0 {
		return
	}
	p.Section(title, "")
	var rows [][]string
	for _, c := range list {
		relative, share := "", ""
		if c.Share != nil {
			relative, share = text.Ratio(orNaN(c.Relative)), text.Percent(*c.Share)
		}
		rows = append(rows, []string{c.Tensor, c.Why, relative, share})
	}
	p.Table([]string{"tensor", "why", "‖Δ‖/‖W‖", "of the change"}, rows)
}

// BasesHTML renders the comparison of two bases as a page.
func BasesHTML(r *BasesReport) []byte {
	p := report.New("What changed", r.A+" → "+r.B)
	p.Facts(
		report.Fact{Name: "‖Δ‖/‖W‖", Value: text.Ratio(r.Relative)},
		report.Fact{Name: "tensors changed", Value: strconv.Itoa(len(r.Changed))},
		report.Fact{Name: "unchanged", Value: strconv.Itoa(r.Unchanged)},
		report.Fact{Name: "added", Value: strconv.Itoa(len(r.Added))},
		report.Fact{Name: "removed", Value: strconv.Itoa(len(r.Removed))},
	)
	var names []string
	var spectra []spectrum
	for _, c := range r.Changed {
		names = append(names, c.Module)
		if c.Norm != nil {
			spectra = append(spectra, spectrum{c.Module, c.Spectrum, *c.Norm})
		}
	}
	heat(p, "Size of the change", "‖Δ‖/‖W‖ by module and layer.", names, func(i int) float64 { return orNaN(r.Changed[i].Relative) })
	heat(p, "Rank above the rounding noise", "How many singular values of Δ are larger than rounding explains.", names, func(i int) float64 {
		if len(r.Changed[i].Spectrum) == 0 {
			return math.NaN()
		}
		return float64(r.Changed[i].Rank)
	})
	energyCurves(p, spectra)
	if len(r.Changed) > 0 {
		p.Section("Changed tensors", "")
		var rows [][]string
		for _, c := range r.Changed {
			rank := ""
			if len(c.Spectrum) > 0 {
				rank = rankWord(c)
			}
			dtype, shape := c.DType, fmt.Sprint(c.Shape)
			if c.NewDType != "" {
				dtype += " → " + c.NewDType
			}
			if c.NewShape != nil {
				shape += fmt.Sprint(" → ", c.NewShape)
			}
			rows = append(rows, []string{c.Tensor, dtype, shape, text.Ratio(orNaN(c.Relative)), text.Percent(c.Elements), rank, text.Ratio(c.StableRank)})
		}
		p.Table([]string{"tensor", "dtype", "shape", "‖Δ‖/‖W‖", "elements changed", "rank", "stable rank"}, rows)
	}
	named(p, "Only in "+r.A, r.Removed)
	named(p, "Only in "+r.B, r.Added)
	return p.Bytes()
}

func rankWord(c ChangedTensor) string {
	if c.FullRank {
		return "full"
	}
	return strconv.Itoa(c.Rank)
}

// RankWord says the rank of a change above the noise.
func (c ChangedTensor) RankWord() string { return rankWord(c) }

func orNaN(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}

func named(p *report.Page, title string, names []string) {
	if len(names) > 0 {
		p.Section(title, "")
		p.List(names)
	}
}

// AdaptersHTML renders the comparison of two adapters as a page.
func AdaptersHTML(r *AdaptersReport) []byte {
	p := report.New("Two adapters", r.A+" and "+r.B)
	p.Facts(
		report.Fact{Name: "cosine of the deltas", Value: text.Ratio(r.Cosine)},
		report.Fact{Name: "‖ΔA‖", Value: text.Ratio(r.NormA)},
		report.Fact{Name: "‖ΔB‖", Value: text.Ratio(r.NormB)},
		report.Fact{Name: "‖ΔB − ΔA‖/‖ΔA‖", Value: text.Ratio(r.Distance)},
		report.Fact{Name: "modules in both", Value: strconv.Itoa(len(r.Modules))},
	)
	var names []string
	var spectra []spectrum
	for _, m := range r.Modules {
		names = append(names, m.Module)
		spectra = append(spectra, spectrum{m.Module + ", A", m.SpectrumA, m.NormA}, spectrum{m.Module + ", B", m.SpectrumB, m.NormB})
	}
	heat(p, "Cosine", "⟨ΔA, ΔB⟩/(‖ΔA‖·‖ΔB‖) by module and layer: 1 is the same direction, 0 none in common.", names, func(i int) float64 { return r.Modules[i].Cosine })
	heat(p, "Common inputs", "Mean squared cosine of the angles between the row spaces of A: what both look at.", names, func(i int) float64 { return r.Modules[i].OverlapIn })
	heat(p, "Common outputs", "The same of the column spaces of B: what both write.", names, func(i int) float64 { return r.Modules[i].OverlapOut })
	heat(p, "Norm of B by that of A", "‖ΔB‖/‖ΔA‖ by module and layer.", names, func(i int) float64 { return r.Modules[i].NormB / r.Modules[i].NormA })
	energyCurves(p, spectra)
	p.Section("Modules", "")
	var rows [][]string
	for _, m := range r.Modules {
		rows = append(rows, []string{m.Module, fmt.Sprintf("%d, %d", m.RankA, m.RankB), text.Ratio(m.NormA), text.Ratio(m.NormB), text.Ratio(m.Cosine), text.Ratio(m.OverlapIn), text.Ratio(m.OverlapOut), angles(m.AnglesIn), angles(m.AnglesOut)})
	}
	p.Table([]string{"module", "ranks", "‖ΔA‖", "‖ΔB‖", "cosine", "overlap in", "overlap out", "angles in", "angles out"}, rows)
	named(p, "Only in "+r.A, r.OnlyA)
	named(p, "Only in "+r.B, r.OnlyB)
	return p.Bytes()
}

// angles shows the smallest and the largest of some angles.
func angles(list []float64) string {
	if len(list) == 0 {
		return ""
	}
	return strings.Replace(fmt.Sprintf("%.1f…%.1f°", list[0], list[len(list)-1]), ".0…", "…", 1)
}

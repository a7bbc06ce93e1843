package compose

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// A group is one module in the adapters that have it.
type group struct {
	name    string
	members []member
}

// A member is the module of one adapter with its weight.
type member struct {
	*adapter.Module
	by     int // index of the adapter
	weight float64
}

// gather pairs the modules of the adapters by name.
func (c *composition) gather() ([]*group, error) {
	byName := map[string]*group{}
	var groups []*group
	for i, w := range c.adapters {
		for _, m := range w.Modules {
			name := m.Name()
			if c.skipped(name) {
				continue
			}
			key := name
			if len(m.Candidates) > 1 {
				key = fmt.Sprintf("%s\x00%d", name, m.Depth)
			}
			g := byName[key]
			if g == nil {
				g = &group{name: name}
				byName[key], groups = g, append(groups, g)
			}
			g.members = append(g.members, member{m, i, w.Weight * c.moduleWeight(i, name)})
		}
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(a.name, b.name) })
	for _, g := range groups {
		if err := g.check(c.adapters); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// bytes is the size of the factors of all members.
func (g *group) bytes() (n int64) {
	for _, m := range g.members {
		n += int64(len(m.A.Bytes) + len(m.B.Bytes))
	}
	return n
}

// check refuses modules of one name that are not of one kind and size.
func (g *group) check(adapters []Weighted) error {
	first := g.members[0]
	for _, m := range g.members {
		if m.Kind != first.Kind || m.experts() != first.experts() || m.Multiplicity != first.Multiplicity ||
			!slices.Equal(m.A.Shape[1:], first.A.Shape[1:]) || m.B.Shape[0] != first.B.Shape[0] {
			return fmt.Errorf("module %q is %s in %s and %s in %s: the adapters are not for one base", g.name,
				m.describe(), rule.Printable(adapters[m.by].Source), first.describe(), rule.Printable(adapters[first.by].Source))
		}
	}
	return nil
}

func (m member) describe() string {
	return fmt.Sprintf("%v [%d, %d]", m.Kind, m.B.Shape[0], m.A.Elements()/m.A.Shape[0])
}

// experts returns how many deltas the module has: 1 but for a stack.
func (m member) experts() int { return max(1, m.A.Shape[0]/m.Rank) }

// coefficient is the factor of B·A in the composed delta: wᵢ·sᵢ.
func (m member) coefficient() float64 { return m.weight * m.Scaling() }

// factors decodes A and B as matrices: [experts·r, in] and [out, experts·r].
// A value that is not finite breaks AD017.
func (m member) factors(source string) (a, b lowrank.Mat, err error) {
	rows := m.A.Shape[0]
	a = linalg.Dense(m.A.Float64s(), rows, m.A.Elements()/rows)
	b = linalg.Dense(m.B.Float64s(), m.B.Shape[0], rows)
	return a, b, errors.Join(checkFinite(source, m.A, a.Data), checkFinite(source, m.B, b.Data))
}

func checkFinite(source string, t adapter.Tensor, values []float64) error {
	i := slices.IndexFunc(values, func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) })
	if i < 0 {
		return nil
	}
	return &rule.Error{File: source, Tensor: t.Name, Rule: "AD017", Err: fmt.Errorf("element %d is %v", i, values[i])}
}

// terms returns the terms of each expert, decoded. The weight of a term is
// coefficient(m).
func (c *composition) terms(g *group, coefficient func(member) float64) ([][]lowrank.Term, error) {
	planes := make([][]lowrank.Term, g.members[0].experts())
	for _, m := range g.members {
		a, b, err := m.factors(c.adapters[m.by].Source)
		if err != nil {
			return nil, err
		}
		n := m.experts()
		for e := range n {
			planes[e] = append(planes[e], lowrank.Term{Weight: coefficient(m), A: a.View(e*m.Rank, 0, m.Rank, a.Cols), B: expertColumns(b, e, n, m.Rank)})
		}
	}
	return planes, nil
}

// expertColumns views the columns of expert e, which lie n apart: B of a stack
// is rank-major.
func expertColumns(b lowrank.Mat, e, n, rank int) lowrank.Mat {
	v := lowrank.Mat{Rows: b.Rows, Cols: rank, RowStride: b.RowStride, ColStride: n}
	if len(b.Data) > 0 {
		v.Data = b.Data[e:]
	}
	return v
}

// noise returns the rounding noise of the terms of one expert: that of their
// dtypes where a rule asks for it. An exact sum must lose nothing that the
// dtype of the result can hold, so there a wider one decides.
func (c *composition) noise(g *group, terms []lowrank.Term) []lowrank.Noise {
	of := func(d dtype.DType) (mantissa, least int) {
		mantissa, least = d.Precision()
		if out, low := c.dtype(g).Precision(); c.options.Rank == nil && out > mantissa {
			return out, low
		}
		return mantissa, least
	}
	noise := make([]lowrank.Noise, len(terms))
	for i, t := range terms {
		mantissa, least := of(g.members[i].B.DType)
		noise[i].B = lowrank.RoundingNoise(t, mantissa, least).B
		mantissa, least = of(g.members[i].A.DType)
		noise[i].A = lowrank.RoundingNoise(t, mantissa, least).A
	}
	return noise
}

// dtype returns the dtype of a composed module: that of its members, or the
// narrowest that holds the values of all.
func (c *composition) dtype(g *group) dtype.DType {
	if c.options.DType != 0 {
		return c.options.DType
	}
	d := g.members[0].A.DType
	for _, m := range g.members {
		d = wider(wider(d, m.A.DType), m.B.DType)
	}
	return d
}

// wider returns a dtype that holds the values of both.
func wider(a, b dtype.DType) dtype.DType {
	switch {
	case a == b:
		return a
	case a == dtype.F64 || b == dtype.F64:
		return dtype.F64
	}
	return dtype.F32 // BF16 and F16 each have values that the other lacks
}

// skipped reports whether a name matches one of the globs to leave out.
func (c *composition) skipped(name string) bool {
	for _, glob := range c.options.Skip {
		if lowrank.Match(glob, name) {
			return true
		}
	}
	return false
}

// moduleWeight returns the weight that the options give adapter i at a module.
func (c *composition) moduleWeight(i int, name string) float64 {
	for _, w := range c.options.Modules {
		if lowrank.Match(w.Glob, name) {
			return w.Weights[i]
		}
	}
	return 1
}

// joinSources lists the adapters' paths.
func joinSources(adapters []Weighted) string {
	names := make([]string, len(adapters))
	for i, a := range adapters {
		names[i] = rule.Printable(a.Source)
	}
	return strings.Join(names, ", ")
}

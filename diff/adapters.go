package diff

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/internal/mmap"
)

// An AdaptersReport compares the deltas of two adapters, from their factors.
type AdaptersReport struct {
	A        string       `json:"a"`
	B        string       `json:"b"`
	Cosine   float64      `json:"cosine"` // of the deltas of all common modules together
	NormA    float64      `json:"norm_a"`
	NormB    float64      `json:"norm_b"`
	Distance float64      `json:"distance"` // ‖ΔB − ΔA‖/‖ΔA‖ over the common modules
	Modules  []ModulePair `json:"modules,omitempty"`
	OnlyA    []string     `json:"only_a,omitempty"`
	OnlyB    []string     `json:"only_b,omitempty"`
	Notes    []string     `json:"notes,omitempty"`
	Swap     []string     `json:"not_swappable,omitempty"` // why a server cannot exchange one for the other
}

// A ModulePair is a module that both adapters have. Overlaps are mean squared
// cosines of the principal angles between the spaces that the deltas read from
// (in) and write to (out); angles are in degrees, ascending.
type ModulePair struct {
	Module     string    `json:"module"`
	RankA      int       `json:"rank_a"`
	RankB      int       `json:"rank_b"`
	NormA      float64   `json:"norm_a"`
	NormB      float64   `json:"norm_b"`
	Cosine     float64   `json:"cosine"`
	OverlapIn  float64   `json:"overlap_in"`
	OverlapOut float64   `json:"overlap_out"`
	AnglesIn   []float64 `json:"angles_in,omitempty"`
	AnglesOut  []float64 `json:"angles_out,omitempty"`
	SpectrumA  []float64 `json:"spectrum_a,omitempty"`
	SpectrumB  []float64 `json:"spectrum_b,omitempty"`
}

// CompareAdapters compares two adapters module by module; with shapesOnly, it
// looks at ranks, shapes and dtypes alone.
func CompareAdapters(ctx context.Context, a, b *adapter.Adapter, shapesOnly bool) (*AdaptersReport, error) {
	r := &AdaptersReport{}
	for _, x := range []*adapter.Adapter{a, b} {
		if err := deltasKnown(x); err != nil && !shapesOnly {
			return nil, err
		}
	}
	var both []twins
	both, r.OnlyA, r.OnlyB = pairModules(a, b)
	var inner, squareA, squareB float64
	for _, m := range both {
		r.Swap = append(r.Swap, swappable(m.a, m.b)...)
		if shapesOnly {
			continue
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var p ModulePair
		var dot float64
		var err error
		fault := mmap.Guard(func() { p, dot, err = comparePair(m.a, m.b) })
		if err = cmp.Or(err, fault); err != nil {
			return nil, err
		}
		if m.a.Magnitude != nil || m.b.Magnitude != nil {
			r.note("DoRA magnitudes are not compared, only the low-rank deltas")
		}
		inner, squareA, squareB = inner+dot, squareA+float64(p.NormA*p.NormA), squareB+float64(p.NormB*p.NormB)
		r.Modules = append(r.Modules, p)
	}
	for _, list := range [][]string{r.OnlyA, r.OnlyB} {
		for _, name := range list {
			r.Swap = append(r.Swap, name+": in one adapter only")
		}
	}
	if len(a.Replacements)+len(b.Replacements) > 0 {
		r.note("modules to save are not compared")
		r.Swap = append(r.Swap, "modules to save cannot be exchanged at run time")
	}
	for _, read := range []*adapter.Adapter{a, b} {
		if err := read.Unchanged(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(r.Modules, func(x, y ModulePair) int { return compareNames(x.Module, y.Module) })
	r.NormA, r.NormB, r.Cosine = math.Sqrt(squareA), math.Sqrt(squareB), cosine(inner, squareA, squareB)
	r.Distance = ratio(max(0, squareA+squareB-2*inner), squareA)
	return r, nil
}

// deltasKnown refuses an adapter whose file does not tell what its deltas are:
// among those that cannot be merged are some whose factors do not fit.
func deltasKnown(a *adapter.Adapter) error {
	for _, m := range a.Modules {
		if err := a.Mergeable(); err != nil && m.B.Elements() != m.B.Shape[0]*m.A.Shape[0] {
			return err
		}
		if m.Scales != nil {
			return &rule.Unsupported{File: a.Source, Hint: "--shape compares what the files tell",
				What: fmt.Sprintf("module %q with parameters of several ranks or alphas, %q, whose order only the base knows", m.Path, m.Candidates)}
		}
	}
	return nil
}

// twins are a module of two adapters.
type twins struct{ a, b *adapter.Module }

// pairModules pairs modules by name, and those that PEFT nests without names
// by their depth too.
func pairModules(a, b *adapter.Adapter) (both []twins, onlyA, onlyB []string) {
	type key struct {
		name  string
		depth int
	}
	inB, paired := map[key]*adapter.Module{}, map[key]bool{}
	for _, m := range b.Modules {
		inB[key{m.Name(), m.Depth}] = m
	}
	for _, m := range a.Modules {
		k := key{m.Name(), m.Depth}
		if inB[k] == nil {
			onlyA = append(onlyA, m.Name())
			continue
		}
		paired[k] = true
		both = append(both, twins{m, inB[k]})
	}
	for _, m := range b.Modules {
		if !paired[key{m.Name(), m.Depth}] {
			onlyB = append(onlyB, m.Name())
		}
	}
	return both, onlyA, onlyB
}

func (r *AdaptersReport) note(s string) {
	if !slices.Contains(r.Notes, s) {
		r.Notes = append(r.Notes, s)
	}
}

// swappable says what keeps a server from exchanging one module for another
// in place: its buffers have one shape and dtype.
func swappable(a, b *adapter.Module) (why []string) {
	add := func(format string, args ...any) {
		why = append(why, a.Name()+": "+fmt.Sprintf(format, args...))
	}
	switch {
	case a.Rank != b.Rank:
		add("rank %d and %d", a.Rank, b.Rank)
	case !slices.Equal(a.A.Shape, b.A.Shape) || !slices.Equal(a.B.Shape, b.B.Shape):
		add("shapes %v, %v and %v, %v", a.A.Shape, a.B.Shape, b.A.Shape, b.B.Shape)
	}
	if a.A.DType != b.A.DType || a.B.DType != b.B.DType {
		add("dtype %v and %v", a.A.DType, b.A.DType)
	}
	if (a.Magnitude == nil) != (b.Magnitude == nil) {
		add("DoRA in one adapter only")
	}
	if (a.Bias == nil) != (b.Bias == nil) {
		add("a bias of B in one adapter only")
	}
	return why
}

// comparePair compares two modules of one name and returns ⟨ΔA, ΔB⟩ too.
func comparePair(a, b *adapter.Module) (p ModulePair, dot float64, err error) {
	p = ModulePair{Module: a.Name(), RankA: a.Rank, RankB: b.Rank}
	ta, err := termsOf(a)
	if err != nil {
		return p, 0, err
	}
	tb, err := termsOf(b)
	if err != nil {
		return p, 0, err
	}
	if len(ta) != len(tb) || ta[0].B.Rows != tb[0].B.Rows || ta[0].A.Cols != tb[0].A.Cols {
		return p, 0, fmt.Errorf("module %q: deltas of %d×%d and %d×%d: the adapters are for different bases", p.Module, ta[0].B.Rows, ta[0].A.Cols, tb[0].B.Rows, tb[0].A.Cols)
	}
	var squareA, squareB float64
	for e := range ta {
		da, db := lowrank.Decompose(ta[e:e+1]), lowrank.Decompose(tb[e:e+1])
		squareA, squareB = squareA+da.Square(), squareB+db.Square()
		dot += innerProduct(ta[e], tb[e])
		p.SpectrumA, p.SpectrumB = append(p.SpectrumA, da.Sigma...), append(p.SpectrumB, db.Sigma...)
		if len(ta) == 1 {
			p.spaces(da, db)
		}
	}
	for _, s := range [][]float64{p.SpectrumA, p.SpectrumB} {
		slices.SortFunc(s, func(x, y float64) int { return cmp.Compare(y, x) })
	}
	p.NormA, p.NormB, p.Cosine = math.Sqrt(squareA), math.Sqrt(squareB), cosine(dot, squareA, squareB)
	return p, dot, nil
}

// termsOf returns the deltas of a module, one for each expert.
func termsOf(m *adapter.Module) (terms []lowrank.Term, err error) {
	a, b := m.A.Float64s(), m.B.Float64s()
	for _, x := range [][]float64{a, b} {
		for _, v := range x {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, &rule.Error{Tensor: m.A.Name, Rule: "AD017", Err: fmt.Errorf("module %q has a factor that is not finite", m.Name())}
			}
		}
	}
	experts := max(1, m.A.Shape[0]/max(1, m.Rank))
	rank, in, out := m.A.Shape[0]/experts, len(a)/m.A.Shape[0], m.B.Shape[0]
	for e := range experts {
		terms = append(terms, lowrank.Term{Weight: m.Scaling(),
			A: lowrank.Mat{Data: a[e*rank*in:], Rows: rank, Cols: in, RowStride: in, ColStride: 1},
			B: lowrank.Mat{Data: b[e:], Rows: out, Cols: rank, RowStride: experts * rank, ColStride: experts}})
	}
	return terms, nil
}

// innerProduct returns ⟨w·B·A, w'·B'·A'⟩ = w·w'·tr((BᵀB')(A'Aᵀ)).
func innerProduct(x, y lowrank.Term) float64 {
	n, m := x.A.Rows, y.A.Rows
	bb, aa := linalg.Dense(make([]float64, n*m), n, m), linalg.Dense(make([]float64, n*m), n, m)
	linalg.Gemm(bb, x.B.T(), y.B, false)
	linalg.Gemm(aa, x.A, y.A.T(), false)
	sum := 0.0
	for i, v := range bb.Data {
		sum += float64(v * aa.Data[i])
	}
	return x.Weight * y.Weight * sum
}

// smallestRelative is the share of σ₁ below which a direction of a delta is
// rounding, not a direction.
const smallestRelative = 1e-6

// spaces compares what two deltas read and write.
func (p *ModulePair) spaces(a, b *lowrank.Delta) {
	na, nb := significant(a.Sigma), significant(b.Sigma)
	if na == 0 || nb == 0 {
		return
	}
	outA, inA := bases(a, na)
	outB, inB := bases(b, nb)
	p.OverlapIn, p.AnglesIn = principal(inA, inB)
	p.OverlapOut, p.AnglesOut = principal(outA.T(), outB.T())
}

func significant(sigma []float64) (n int) {
	for n < len(sigma) && sigma[n] > smallestRelative*sigma[0] {
		n++
	}
	return n
}

// bases returns the left singular vectors as columns and the right ones as
// rows: the balanced factors without the roots of the singular values.
func bases(d *lowrank.Delta, n int) (out, in lowrank.Mat) {
	b, a := d.Factors(n, 1)
	for i := range n {
		root := 1 / math.Sqrt(d.Sigma[i])
		for k := range d.Out {
			b[k*n+i] *= root
		}
		for k := range d.In {
			a[i*d.In+k] *= root
		}
	}
	return linalg.Dense(b, d.Out, n), linalg.Dense(a, n, d.In)
}

// principal returns the mean squared cosine of the principal angles between
// the spans of orthonormal rows, and the angles: the singular values of X·Yᵀ
// are their cosines (Björck and Golub 1973).
func principal(x, y lowrank.Mat) (overlap float64, degrees []float64) {
	c := linalg.Dense(make([]float64, x.Rows*y.Rows), x.Rows, y.Rows)
	linalg.Gemm(c, x, y.T(), false)
	_, s, _ := linalg.SVD(c)
	for _, v := range s {
		v = min(1, v)
		overlap += float64(v * v)
		degrees = append(degrees, math.Acos(v)*180/math.Pi)
	}
	return overlap / float64(len(s)), degrees
}

// cosine returns the cosine of an angle, 0 where one side is zero.
func cosine(inner, squareA, squareB float64) float64 {
	if squareA == 0 || squareB == 0 {
		return 0
	}
	return inner / math.Sqrt(squareA) / math.Sqrt(squareB)
}

// compareNames orders dotted names, numbers among them by value.
func compareNames(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		if x[i] == y[i] {
			continue
		}
		if isNumber(x[i]) && isNumber(y[i]) && len(x[i]) != len(y[i]) {
			return len(x[i]) - len(y[i])
		}
		return strings.Compare(x[i], y[i])
	}
	return len(x) - len(y)
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

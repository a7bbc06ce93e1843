package compose

import (
	"context"
	"math"

	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// Conflicts say how the deltas of adapters agree, pair by pair. Weights count
// by their signs: an adapter that is taken away points the other way.
type Conflicts struct {
	Pairs []Pair `json:"pairs"`
}

// A Pair is two adapters, by their position in the composition.
type Pair struct {
	A         int          `json:"a"`
	B         int          `json:"b"`
	Agreement              // of all modules that both have
	Common    int          `json:"common_modules"`
	OnlyA     int          `json:"only_in_a"`
	OnlyB     int          `json:"only_in_b"`
	Modules   []PairModule `json:"modules"`
}

// A PairModule is one module of a pair.
type PairModule struct {
	Name string `json:"name"`
	Agreement
}

// An Agreement compares two deltas Δ and Δ'.
type Agreement struct {
	// Cosine is ⟨Δ, Δ'⟩/(‖Δ‖·‖Δ'‖).
	Cosine float64 `json:"cosine"`
	// Signs is the share of elements, of those where neither is zero, that have
	// one sign: 0.5 for deltas that have nothing to do with each other.
	Signs float64 `json:"sign_agreement"`
	// Outputs and Inputs are the overlaps ‖QᵀQ'‖²/min(r, r') of the spaces that
	// B's columns and A's rows span: 0 for orthogonal ones, 1 if one holds the
	// other.
	Outputs float64 `json:"output_overlap"`
	Inputs  float64 `json:"input_overlap"`
}

// signSample is the number of elements of a module from which the agreement of
// signs is counted; of larger ones, rows at even distances are taken.
const signSample = 1 << 18

// agreement is what is summed over modules.
type agreement struct {
	dot, square1, square2 float64
	same, signs           float64 // numbers of elements
	outputs, inputs       float64 // ‖QᵀQ'‖²
	outDims, inDims       float64 // min(r, r')
}

func (a *agreement) add(b agreement) {
	a.dot, a.square1, a.square2 = a.dot+b.dot, a.square1+b.square1, a.square2+b.square2
	a.same, a.signs = a.same+b.same, a.signs+b.signs
	a.outputs, a.inputs = a.outputs+b.outputs, a.inputs+b.inputs
	a.outDims, a.inDims = a.outDims+b.outDims, a.inDims+b.inDims
}

func (a agreement) result() Agreement {
	share := func(x, of float64) float64 {
		if of == 0 {
			return 0
		}
		return x / of
	}
	return Agreement{
		Cosine:  min(1, max(-1, share(a.dot, math.Sqrt(a.square1)*math.Sqrt(a.square2)))),
		Signs:   share(a.same, a.signs),
		Outputs: min(1, share(a.outputs, a.outDims)),
		Inputs:  min(1, share(a.inputs, a.inDims)),
	}
}

// FindConflicts compares every pair of adapters.
func FindConflicts(ctx context.Context, adapters []Weighted, o Options) (*Conflicts, error) {
	c, err := newComposition(adapters, o)
	if err != nil {
		return nil, err
	}
	n := len(adapters)
	found := make([][]agreement, len(c.groups)) // by group, and i·n+j
	err = c.each(ctx, true, func(i int, g *group) (err error) {
		found[i], err = c.compare(g)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, a := range adapters {
		if err := a.Unchanged(); err != nil {
			return nil, err
		}
	}
	result := &Conflicts{Pairs: []Pair{}}
	for a := range n {
		for b := a + 1; b < n; b++ {
			result.Pairs = append(result.Pairs, c.pair(a, b, found))
		}
	}
	return result, nil
}

// pair sums up what was found of two adapters.
func (c *composition) pair(a, b int, found [][]agreement) Pair {
	p := Pair{A: a, B: b, Modules: []PairModule{}}
	var total agreement
	for i, g := range c.groups {
		hasA, hasB := g.has(a), g.has(b)
		switch {
		case hasA && hasB:
			f := found[i][a*len(c.adapters)+b]
			total.add(f)
			p.Modules = append(p.Modules, PairModule{g.name, f.result()})
			p.Common++
		case hasA:
			p.OnlyA++
		case hasB:
			p.OnlyB++
		}
	}
	p.Agreement = total.result()
	return p
}

func (g *group) has(by int) bool {
	for _, m := range g.members {
		if m.by == by {
			return true
		}
	}
	return false
}

// compare compares the members of a group, all experts of a stack together.
func (c *composition) compare(g *group) ([]agreement, error) {
	terms, err := c.terms(g, func(m member) float64 { return math.Copysign(m.Scaling(), m.weight) })
	if err != nil {
		return nil, err
	}
	n := len(c.adapters)
	found := make([]agreement, n*n)
	for _, t := range terms {
		for i := range t {
			for j := i + 1; j < len(t); j++ {
				found[g.members[i].by*n+g.members[j].by].add(compareTerms(t[i], t[j]))
			}
		}
	}
	return found, nil
}

// compareTerms compares two deltas in factored form, but for the signs.
func compareTerms(x, y lowrank.Term) (a agreement) {
	btb, aat := mul(x.B.T(), y.B), mul(x.A, y.A.T()) // ⟨B₁A₁, B₂A₂⟩ = tr(B₁ᵀB₂·A₂A₁ᵀ)
	for i, v := range btb.Data {
		a.dot += float64(v * aat.Data[i])
	}
	a.dot *= x.Weight * y.Weight
	n1, n2 := lowrank.RoughNorm([]lowrank.Term{x}), lowrank.RoughNorm([]lowrank.Term{y})
	a.square1, a.square2 = n1*n1, n2*n2
	a.outputs, a.outDims = overlap(x.B, y.B)
	a.inputs, a.inDims = overlap(x.A.T(), y.A.T())
	a.same, a.signs = sameSigns(x, y)
	return a
}

// overlap returns ‖QᵀQ'‖² and min(r, r') of the column spaces of two matrices.
func overlap(x, y lowrank.Mat) (square, dims float64) {
	qx, qy := columnBasis(x), columnBasis(y)
	for _, v := range mul(qx.T(), qy).Data {
		square += float64(v * v)
	}
	return square, float64(min(qx.Cols, qy.Cols))
}

// columnBasis returns orthonormal columns that span those of m.
func columnBasis(m lowrank.Mat) lowrank.Mat {
	q, u := singularBasis(m)
	b := linalg.Dense(make([]float64, m.Rows*u.Cols), m.Rows, u.Cols)
	q.Mul(b, u)
	return b
}

// sameSigns counts the elements where both deltas are not zero, and of them
// those of one sign.
func sameSigns(x, y lowrank.Term) (same, signs float64) {
	out, in := x.B.Rows, x.A.Cols
	rows := min(out, max(1, signSample/in))
	dx, dy := make([]float64, in), make([]float64, in)
	for i := range rows {
		at := i * out / rows
		linalg.Gemm(linalg.Dense(dx, 1, in), x.B.View(at, 0, 1, x.B.Cols), x.A, false)
		linalg.Gemm(linalg.Dense(dy, 1, in), y.B.View(at, 0, 1, y.B.Cols), y.A, false)
		for j, v := range dx {
			p := v * dy[j] * x.Weight * y.Weight
			if p != 0 {
				signs++
			}
			if p > 0 {
				same++
			}
		}
	}
	return same, signs
}

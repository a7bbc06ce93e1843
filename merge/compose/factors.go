package compose

import (
	"fmt"
	"math"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// cat puts the factors of a module side by side: Σ wᵢ·Δᵢ without any sum. The
// scaling is that of the largest coefficient, so that factors with it keep
// their digits; the others' share goes to B.
func (c *composition) cat(g *group) (*result, error) {
	rank, scaling := 0, 0.0
	for _, m := range g.members {
		rank += m.Rank
		scaling = max(scaling, math.Abs(m.coefficient()))
	}
	if scaling == 0 {
		return &result{report: c.moduleReport(g, lowrank.Spectrum{}, 0, 0)}, nil
	}
	m := c.template(g, rank, scaling/g.members[0].Multiplicity)
	planes, err := c.terms(g, func(x member) float64 { return x.coefficient() / m.Scaling() })
	if err != nil {
		return nil, err
	}
	b, a := make([][]float64, len(planes)), make([][]float64, len(planes))
	square := 0.0
	for e, terms := range planes {
		b[e], a[e] = sideBySideFactors(terms, rank)
		n := lowrank.RoughNorm(terms) * m.Scaling()
		square += float64(n * n)
	}
	rounding, err := c.fill(m, g, b, a)
	if err != nil {
		return nil, err
	}
	return &result{m, c.moduleReport(g, lowrank.Spectrum{Square: square}, rank, rounding)}, nil
}

// sideBySideFactors returns [w₁B₁ w₂B₂ …] and [A₁; A₂; …].
func sideBySideFactors(terms []lowrank.Term, rank int) (b, a []float64) {
	out := terms[0].B.Rows
	b = make([]float64, out*rank)
	at := 0
	for _, t := range terms {
		for i := range out {
			for j := range t.B.Cols {
				b[i*rank+at+j] = t.Weight * t.B.Data[i*t.B.RowStride+j*t.B.ColStride]
			}
		}
		for i := range t.A.Rows {
			a = append(a, t.A.Data[i*t.A.RowStride:][:t.A.Cols]...)
		}
		at += t.A.Rows
	}
	return b, a
}

// factorwise applies a rule of PEFT to the elements of A and of B, each on its
// own: weight √|wᵢ·sᵢ| on both, the sign on A. The product of the results has
// cross terms Bᵢ·Aⱼ that no adapter has.
func (c *composition) factorwise(g *group) (*result, error) {
	rank := g.members[0].Rank
	var a, b [][]float64
	var wa, wb []float64
	for _, m := range g.members {
		if m.Rank != rank {
			return nil, &rule.Unsupported{What: fmt.Sprintf("module %q has rank %d and rank %d, and PEFT's method %s needs one", g.name, rank, m.Rank, c.options.Method),
				Hint: "use the same method of another dialect, or bring the adapters to one rank with rerank"}
		}
		am, bm, err := m.factors(c.adapters[m.by].Source)
		if err != nil {
			return nil, err
		}
		a, b = append(a, am.Data), append(b, bm.Data)
		root := math.Sqrt(math.Abs(m.coefficient()))
		wb = append(wb, root)
		wa = append(wa, math.Copysign(root, m.coefficient()))
	}
	m := c.template(g, rank, 1/g.members[0].Multiplicity)
	A, B := c.combineFactor(g, a, wa, ".lora_A"), c.combineFactor(g, b, wb, ".lora_B")
	d := c.dtype(g)
	m.A, m.B = roundTensor(d, m.A, 0, m.A.Shape[0], A), roundTensor(d, m.B, 1, m.B.Shape[1], B)
	if err := c.bias(m, g, d); err != nil {
		return nil, err
	}
	return c.crossTerms(g, &result{Module: m})
}

// combineFactor sifts and combines one factor of all members.
func (c *composition) combineFactor(g *group, values [][]float64, weights []float64, name string) []float64 {
	for i, v := range values {
		s := newSieve(c.rule.elementRule, c.options, g.members[i].by, g.name+name, 0)
		s.threshold = kthLargest(kept(len(v), s.density), func(do func([]float64)) { do(v) })
		s.sift(v, 0)
	}
	sum := make([]float64, len(values[0]))
	combineAll(sum, values, weights, c.rule.consensus)
	return sum
}

// crossTerms reports how far a result is from the sum of the deltas.
func (c *composition) crossTerms(g *group, r *result) (*result, error) {
	planes, err := c.terms(g, member.coefficient)
	if err != nil {
		return nil, err
	}
	rank := r.Rank
	rows := r.A.Shape[0]
	a := linalg.Dense(r.A.Float64s(), rows, r.A.Elements()/rows)
	b := linalg.Dense(r.B.Float64s(), r.B.Shape[0], rows)
	square, off := 0.0, 0.0
	for e, terms := range planes {
		sum := lowrank.RoughNorm(terms)
		written := lowrank.Term{Weight: -r.Scaling(), A: a.View(e*rank, 0, rank, a.Cols), B: expertColumns(b, e, len(planes), rank)}
		rest := lowrank.RoughNorm(append(terms, written))
		square, off = square+float64(sum*sum), off+float64(rest*rest)
	}
	r.report = c.moduleReport(g, lowrank.Spectrum{Square: square}, rank, math.Sqrt(off))
	return r, nil
}

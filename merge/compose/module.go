package compose

import (
	"fmt"
	"math"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// A solved plane is the composed delta of one expert (one for other modules)
// as its singular values and the factors that follow from them.
type solved struct {
	lowrank.Spectrum
	// factors returns B [out, r] and A [r, in] with s·B·A the approximation of
	// rank r.
	factors func(r int, s float64) (b, a []float64)
	terms   []lowrank.Term // whose sum it is, if it is one
}

// A result is a composed module; Module is nil if its delta is zero.
type result struct {
	*adapter.Module
	report ModuleReport
}

// module composes one module. Rank is that of a budget, or -1.
func (c *composition) module(g *group, rank int) (*result, error) {
	if c.keeps(g, rank) {
		return c.keep(g)
	}
	switch c.rule.kind {
	case sideBySide:
		return c.cat(g)
	case factorwise:
		return c.factorwise(g)
	}
	planes, err := c.solve(g)
	if err != nil {
		return nil, err
	}
	pooled := pool(planes)
	if rank < 0 {
		if rank, err = c.rankFor(g, pooled); err != nil {
			return nil, err
		}
	}
	if m := g.members[0]; c.single(g) && m.weight != 0 && rank == m.Rank && c.dtype(g) == m.A.DType {
		return c.keep(g)
	}
	if rank = c.atLeast(g, rank); rank == 0 {
		return &result{report: c.moduleReport(g, pooled, 0, 0)}, nil
	}
	return c.build(g, rank, planes, pooled)
}

// single reports whether the module of one adapter is all there is to it.
func (c *composition) single(g *group) bool {
	return len(g.members) == 1 && (c.rule.kind == exactSum || c.rule.kind == sideBySide) && !c.rule.normalize
}

// keeps reports whether a module stays as it is without being looked into: the
// one of its name, at no lower rank, in no other dtype.
func (c *composition) keeps(g *group, rank int) bool {
	m := g.members[0]
	if !c.single(g) || m.weight == 0 || c.options.DType != 0 && (m.A.DType != c.options.DType || m.B.DType != c.options.DType) {
		return false
	}
	switch {
	case rank >= 0:
		return rank == m.Rank
	case c.options.Rank == nil:
		return true
	}
	n, fixed := c.options.Rank.Lookup(g.name).Fixed()
	return fixed && n >= m.Rank
}

// keep takes the module of the one adapter that has it. A weight goes to
// alpha, its sign to B, so that the factors keep their digits.
func (c *composition) keep(g *group) (*result, error) {
	m := g.members[0]
	kept := *m.Module
	kept.Alpha *= math.Abs(m.weight)
	if m.weight < 0 {
		kept.B = negated(m.B)
		if m.Bias != nil {
			bias := negated(*m.Bias)
			kept.Bias = &bias
		}
	}
	terms, err := c.terms(g, member.coefficient)
	if err != nil {
		return nil, err
	}
	square := 0.0
	for _, t := range terms {
		n := lowrank.RoughNorm(t)
		square += float64(n * n)
	}
	report := c.moduleReport(g, lowrank.Spectrum{Square: square}, m.Rank, 0)
	report.Unchanged = true
	return &result{&kept, report}, nil
}

// negated changes the sign of every value, exactly.
func negated(t adapter.Tensor) adapter.Tensor {
	values := t.Float64s()
	for i := range values {
		values[i] = -values[i]
	}
	n := adapter.NewTensor(t.DType, t.Shape, values)
	n.Name = t.Name
	return n
}

// solve finds the composed delta of a group.
func (c *composition) solve(g *group) ([]solved, error) {
	switch c.rule.kind {
	case elementwise:
		return c.solveElements(g)
	case leftBasis, coreBasis:
		return c.solveInBasis(g)
	}
	terms, err := c.terms(g, func(m member) float64 { return c.normalized(m.weight) * m.Scaling() })
	if err != nil {
		return nil, err
	}
	planes := make([]solved, len(terms))
	for e, t := range terms {
		d := lowrank.Decompose(t)
		planes[e] = solved{Spectrum: lowrank.Spectrum{Sigma: d.Sigma, Square: d.Square()}, factors: d.Factors, terms: t}
		if c.needsFloor(g) {
			planes[e].Floor = d.Floor(c.noise(g, t))
		}
	}
	return planes, nil
}

// needsFloor reports whether the rank of a group depends on the noise.
func (c *composition) needsFloor(g *group) bool {
	if c.options.Rank != nil {
		return c.options.Rank.Lookup(g.name) == lowrank.Auto()
	}
	return c.options.Method != SVD
}

// normalized is the weight of an adapter as the rule uses it.
func (c *composition) normalized(w float64) float64 {
	if !c.rule.normalize {
		return w
	}
	sum := 0.0
	for _, a := range c.adapters {
		sum += a.Weight
	}
	return w / sum
}

// pool joins the spectra of experts, which have one rank: value i is the root
// of the sum of the squares of theirs.
func pool(planes []solved) lowrank.Spectrum {
	if len(planes) == 1 {
		return planes[0].Spectrum
	}
	var p lowrank.Spectrum
	for _, s := range planes {
		p.Square += s.Square
		p.Floor += float64(s.Floor * s.Floor)
		for i, v := range s.Sigma {
			if i == len(p.Sigma) {
				p.Sigma = append(p.Sigma, 0)
			}
			p.Sigma[i] += float64(v * v)
		}
	}
	p.Floor = math.Sqrt(p.Floor)
	for i, v := range p.Sigma {
		p.Sigma[i] = math.Sqrt(v)
	}
	return p
}

// rankFor returns the rank of a module by its rule, or by the method's own.
func (c *composition) rankFor(g *group, s lowrank.Spectrum) (int, error) {
	var r lowrank.Rule
	switch {
	case c.options.Rank != nil:
		r = c.options.Rank.Lookup(g.name)
		if r == lowrank.Auto() && c.rule.kind == elementwise {
			return 0, fmt.Errorf("method %s makes deltas of full rank, whose noise is not known: give a rank, an energy or an error", c.options.Method)
		}
	case c.rule.kind == elementwise, c.options.Method == SVD:
		r = lowrank.Fixed(largestRank(g))
	default:
		r = lowrank.Auto()
	}
	return r.Rank(s), nil
}

func largestRank(g *group) (n int) {
	for _, m := range g.members {
		n = max(n, m.Rank)
	}
	return n
}

// atLeast is the least rank that a module can be written with: 1 where a bias
// or a magnitude stays even if the delta is zero.
func (c *composition) atLeast(g *group, rank int) int {
	for _, m := range g.members {
		if m.Bias != nil || m.Magnitude != nil {
			return max(1, rank)
		}
	}
	return rank
}

// cost is what a module takes part in a budget with.
func (c *composition) cost(g *group) (lowrank.Cost, error) {
	planes, err := c.solve(g)
	if err != nil {
		return lowrank.Cost{}, err
	}
	m := g.members[0]
	perRank := int64(m.experts()) * int64(m.B.Shape[0]+m.A.Elements()/m.A.Shape[0]) * int64(c.dtype(g).Bits()/8)
	return lowrank.Cost{Sigma: pool(planes).Sigma, Bytes: perRank, Least: c.atLeast(g, 0)}, nil
}

// build writes the factors of a composed module.
func (c *composition) build(g *group, rank int, planes []solved, s lowrank.Spectrum) (*result, error) {
	m := c.template(g, rank, 1)
	b, a := make([][]float64, len(planes)), make([][]float64, len(planes))
	for e, p := range planes {
		b[e], a[e] = p.factors(rank, m.Scaling())
	}
	rounding, err := c.fill(m, g, b, a)
	if err != nil {
		return nil, err
	}
	if planes[0].terms != nil {
		return &result{m, c.moduleReport(g, s, rank, distance(m, planes))}, nil
	}
	tail := s.Square
	if rank >= len(s.Sigma) && c.rule.kind != elementwise {
		tail = 0
	} else if c.rule.kind != elementwise {
		e := s.Error(rank)
		tail = float64(e * e * s.Square)
	} else {
		for _, v := range s.Sigma[:min(rank, len(s.Sigma))] {
			tail -= float64(v * v)
		}
	}
	return &result{m, c.moduleReport(g, s, rank, math.Sqrt(max(0, tail)+float64(rounding*rounding)))}, nil
}

// distance returns how far the factors of a module, as they are written, are
// from the sums that they stand for.
func distance(m *adapter.Module, planes []solved) float64 {
	n, rows := len(planes), m.A.Shape[0]
	a := linalg.Dense(m.A.Float64s(), rows, m.A.Elements()/rows)
	b := linalg.Dense(m.B.Float64s(), m.B.Shape[0], m.Rank*n)
	square := 0.0
	for e, p := range planes {
		written := lowrank.Term{Weight: -m.Scaling(), A: a.View(e*m.Rank, 0, m.Rank, a.Cols), B: expertColumns(b, e, n, m.Rank)}
		x := lowrank.Norm(append(slices.Clone(p.terms), written))
		square += float64(x * x)
	}
	return math.Sqrt(square)
}

// template returns the module of a group without factors, at a rank. Its
// scaling is that of the module if there is one only, else the one given.
func (c *composition) template(g *group, rank int, scaling float64) *adapter.Module {
	m := *g.members[0].Module
	if !c.single(g) {
		m.Rule = adapter.AlphaOverRank
		m.Magnitude = nil
	} else if m.Scaling() != 0 {
		scaling = m.Scaling() / m.Multiplicity
	}
	m.Rank = rank
	divisor := float64(rank)
	if m.Rule == adapter.AlphaOverRootRank {
		divisor = math.Sqrt(divisor)
	}
	m.Alpha = scaling * divisor
	return &m
}

// fill rounds the factors of every expert into the tensors of m and returns
// the norm of what the rounding did to the delta.
func (c *composition) fill(m *adapter.Module, g *group, b, a [][]float64) (float64, error) {
	n, rank := len(a), m.Rank
	out, in := len(b[0])/rank, len(a[0])/rank
	as, bs := make([]float64, n*rank*in), make([]float64, out*rank*n)
	for e := range n {
		copy(as[e*rank*in:], a[e])
		for i := range out {
			for j := range rank {
				bs[(i*rank+j)*n+e] = b[e][i*rank+j]
			}
		}
	}
	d := c.dtype(g)
	A, B := m.A, m.B
	m.A = roundTensor(d, A, 0, n*rank, as)
	m.B = roundTensor(d, B, 1, rank*n, bs)
	if err := c.bias(m, g, d); err != nil {
		return 0, err
	}
	ra, rb := linalg.Dense(m.A.Float64s(), n*rank, in), linalg.Dense(m.B.Float64s(), out, rank*n)
	if checkFinite("", m.A, ra.Data) != nil || checkFinite("", m.B, rb.Data) != nil {
		return 0, &rule.Error{Tensor: m.A.Name, Rule: "AD045", Err: fmt.Errorf("module %q does not fit into %v", g.name, d), Hint: "write a wider dtype with --dtype"}
	}
	square := 0.0
	for e := range n {
		x := roundingNorm(b[e], a[e], expertColumns(rb, e, n, rank), ra.View(e*rank, 0, rank, in), m.Scaling())
		square += float64(x * x)
	}
	return math.Sqrt(square), nil
}

// roundTensor makes a factor of t's form with n elements along an axis.
func roundTensor(d dtype.DType, t adapter.Tensor, axis, n int, values []float64) adapter.Tensor {
	shape := slices.Clone(t.Shape)
	shape[axis] = n
	r := adapter.NewTensor(d, shape, values)
	r.Name = t.Name
	return r
}

// roundingNorm returns ‖s·(B·A − B'·A')‖ as s·[B−B', B]·[A'; A−A'].
func roundingNorm(b, a []float64, rb, ra lowrank.Mat, s float64) float64 {
	exactB := linalg.Dense(b, rb.Rows, rb.Cols)
	exactA := linalg.Dense(a, ra.Rows, ra.Cols)
	return lowrank.RoughNorm([]lowrank.Term{
		{Weight: s, B: difference(exactB, rb), A: ra},
		{Weight: s, B: exactB, A: difference(exactA, ra)},
	})
}

// difference returns x − y.
func difference(x, y lowrank.Mat) lowrank.Mat {
	d := linalg.Dense(make([]float64, x.Rows*x.Cols), x.Rows, x.Cols)
	for i := range x.Rows {
		for j := range x.Cols {
			d.Data[i*x.Cols+j] = x.Data[i*x.RowStride+j*x.ColStride] - y.Data[i*y.RowStride+j*y.ColStride]
		}
	}
	return d
}

// bias composes the biases of B, which add to the output as the delta does:
// s'·bias' = Σ wᵢ·sᵢ·biasᵢ.
func (c *composition) bias(m *adapter.Module, g *group, d dtype.DType) error {
	m.Bias = nil
	var sum []float64
	for _, x := range g.members {
		if x.Bias == nil {
			continue
		}
		values := x.Bias.Float64s()
		if err := checkFinite(c.adapters[x.by].Source, *x.Bias, values); err != nil {
			return err
		}
		if sum == nil {
			sum = make([]float64, len(values))
		}
		k := c.normalized(x.weight) * x.Scaling() / m.Scaling()
		for i, v := range values {
			sum[i] += float64(k * v)
		}
	}
	if sum != nil {
		t := adapter.NewTensor(d, []int{len(sum)}, sum)
		m.Bias = &t
	}
	return nil
}

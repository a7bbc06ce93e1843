package compose

import (
	"context"
	"math"
	"sync"

	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// A plane is the delta of one module, or of one expert of it, in all adapters:
// what rules for single elements work on. It is computed block by block and
// never held in whole.
type plane struct {
	terms   []lowrank.Term // the weight of a term is its scaling
	weights []float64
	sieves  []sieve
	rule    elementRule
	out, in int
}

// blockElements bounds a block of one adapter's delta: 2 MB of float64.
const blockElements = 1 << 18

// planes returns the planes of a group, with the thresholds and scales of its
// sieves.
func (c *composition) planes(g *group) ([]*plane, error) {
	terms, err := c.terms(g, func(m member) float64 { return m.Scaling() })
	if err != nil {
		return nil, err
	}
	list := make([]*plane, len(terms))
	for e, t := range terms {
		p := &plane{terms: t, rule: c.rule.elementRule, out: t[0].B.Rows, in: t[0].A.Cols}
		for _, m := range g.members {
			p.weights = append(p.weights, c.normalized(m.weight))
			p.sieves = append(p.sieves, newSieve(p.rule, c.options, m.by, g.name, e))
		}
		p.prepare(c, g)
		list[e] = p
	}
	return list, nil
}

// prepare finds thresholds and scales.
func (p *plane) prepare(c *composition, g *group) {
	for i := range p.sieves {
		s := &p.sieves[i]
		switch {
		case s.density >= 1:
		case p.rule.keep == largest:
			s.threshold = kthLargest(kept(p.out*p.in, s.density), func(do func([]float64)) { p.visit(i, do) })
		case p.rule.keep == largestOfAll:
			s.threshold = c.global[g.members[i].by]
		case p.rule.rescaleL1:
			before, after := p.magnitudes(i)
			if after > 0 {
				s.scale = before / after
			}
		}
	}
}

// magnitudes returns the sums of the magnitudes of adapter i's delta before
// and after the sieve.
func (p *plane) magnitudes(i int) (before, after float64) {
	first := uint64(0)
	p.visit(i, func(values []float64) {
		for _, x := range values {
			before += math.Abs(x)
		}
		p.sieves[i].sift(values, first)
		first += uint64(len(values))
		for _, x := range values {
			after += math.Abs(x)
		}
	})
	return before, after
}

// visit passes the delta of adapter i in blocks of whole rows, in order.
func (p *plane) visit(i int, do func([]float64)) {
	var buf []float64
	rows := max(1, blockElements/p.in)
	for row := 0; row < p.out; row += rows {
		n := min(rows, p.out-row)
		buf = grow(buf, n*p.in)
		p.delta(buf, i, row, n, 0, p.in)
		do(buf)
	}
}

// delta computes a block of adapter i's delta, s·(B·A), row-major.
func (p *plane) delta(dst []float64, i, row, rows, col, cols int) {
	t := p.terms[i]
	linalg.Gemm(linalg.Dense(dst, rows, cols), t.B.View(row, 0, rows, t.B.Cols), t.A.View(0, col, t.A.Rows, cols), false)
	for j := range dst {
		dst[j] *= t.Weight
	}
}

// merged computes a block of the composed delta.
func (p *plane) merged(dst []float64, row, rows, col, cols int) {
	blocks := make([][]float64, len(p.terms))
	for i := range p.terms {
		blocks[i] = make([]float64, rows*cols)
		p.delta(blocks[i], i, row, rows, col, cols)
		for r := range rows {
			p.sieves[i].sift(blocks[i][r*cols:][:cols], uint64((row+r)*p.in+col))
		}
	}
	combineAll(dst, blocks, p.weights, p.rule.consensus)
}

// combineAll combines the elements of blocks of one size.
func combineAll(dst []float64, blocks [][]float64, weights []float64, k consensus) {
	d := make([]float64, len(blocks))
	for j := range dst {
		for i := range blocks {
			d[i] = blocks[i][j]
		}
		dst[j] = k.combine(d, weights)
	}
}

// thresholds finds, for rules that compare the elements of all modules, the
// threshold of every adapter.
func (c *composition) thresholds(ctx context.Context) error {
	if c.rule.keep != largestOfAll || c.options.Density >= 1 {
		return nil
	}
	n := make([]int, len(c.adapters))
	for _, g := range c.groups {
		for _, m := range g.members {
			n[m.by] += m.experts() * m.B.Shape[0] * (m.A.Elements() / m.A.Shape[0])
		}
	}
	selectors := make([]*selector, len(n))
	for i := range selectors {
		selectors[i] = &selector{rank: kept(n[i], c.options.Density)}
	}
	for range selectorPasses {
		if err := c.countAll(ctx, selectors); err != nil {
			return err
		}
	}
	c.global = make([]float64, len(n))
	for i, s := range selectors {
		c.global[i] = s.value()
		if kept(n[i], c.options.Density) == 0 {
			c.global[i] = math.Inf(1)
		}
	}
	return nil
}

// countAll makes one pass of all selectors over all modules.
func (c *composition) countAll(ctx context.Context, selectors []*selector) error {
	var lock sync.Mutex
	err := c.each(ctx, false, func(_ int, g *group) error {
		terms, err := c.terms(g, func(m member) float64 { return m.Scaling() })
		if err != nil {
			return err
		}
		for _, t := range terms {
			p := &plane{terms: t, out: t[0].B.Rows, in: t[0].A.Cols}
			for i, m := range g.members {
				mine := &selector{prefix: selectors[m.by].prefix, pass: selectors[m.by].pass}
				p.visit(i, mine.count)
				lock.Lock()
				selectors[m.by].add(mine)
				lock.Unlock()
			}
		}
		return nil
	})
	for _, s := range selectors {
		s.next()
	}
	return err
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

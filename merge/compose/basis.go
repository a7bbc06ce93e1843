package compose

import (
	"math"

	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// solveInBasis applies a rule for elements to the deltas written in bases that
// they share, so that elements of different adapters mean the same.
func (c *composition) solveInBasis(g *group) ([]solved, error) {
	terms, err := c.terms(g, member.Scale)
	if err != nil {
		return nil, err
	}
	planes := make([]solved, len(terms))
	for e, t := range terms {
		if c.rule.kind == coreBasis {
			planes[e] = c.coreSpace(g, e, t)
		} else {
			planes[e] = c.knots(g, e, t)
		}
	}
	return planes, nil
}

// Scale is the scaling of the module, as a function of its member.
func (m member) Scale() float64 { return m.Scaling() }

// knots composes in a common left basis (Stoica et al. 2025, section 3): with
// [Δ₁ … Δ_n] = U·S·[V₁ᵀ … V_nᵀ], the elements of S·V_iᵀ are combined to M, and
// the result is U·M. U comes from the factors alone:
//
//	[s₁B₁ … s_nB_n] = Q·[R₁ … R_n],  Δ_i = Q·R_i·A_i,
//
// and the left singular vectors of [R₁A₁ … R_nA_n].
func (c *composition) knots(g *group, expert int, terms []lowrank.Term) solved {
	blocks := leftBlocks(terms)
	wide := linalg.Dense(make([]float64, blocks.rows*blocks.in*len(terms)), blocks.rows, blocks.in*len(terms))
	for i, m := range blocks.parts {
		copyMat(wide.View(0, i*blocks.in, blocks.rows, blocks.in), m)
	}
	triangle := linalg.NewQR(wide.T()).R() // wide·wideᵀ = Rᵀ·R
	u, sigma, _ := linalg.SVD(triangle.T())
	k := numericalRank(sigma)
	u = fixSigns(u, k)
	parts := make([][]float64, len(terms))
	for i, m := range blocks.parts {
		p := linalg.Dense(make([]float64, k*blocks.in), k, blocks.in)
		linalg.Gemm(p, u.T(), m, false)
		parts[i] = p.Data
	}
	merged := linalg.Dense(c.combineParts(g, expert, parts), k, blocks.in)
	left := linalg.Dense(make([]float64, blocks.out*k), blocks.out, k)
	blocks.q.Mul(left, u)
	return solvedProduct(left, merged)
}

// leftFactors are the deltas in the orthonormal basis Q of all columns of B.
type leftFactors struct {
	q             *linalg.QR
	parts         []lowrank.Mat // R_i·A_i
	rows, out, in int
}

func leftBlocks(terms []lowrank.Term) leftFactors {
	cat, _ := columns(terms)
	f := leftFactors{q: linalg.NewQR(cat), out: cat.Rows, in: terms[0].A.Cols}
	r := f.q.R()
	f.rows = r.Rows
	at := 0
	for _, t := range terms {
		p := linalg.Dense(make([]float64, f.rows*f.in), f.rows, f.in)
		linalg.Gemm(p, r.View(0, at, r.Rows, t.A.Rows), t.A, false)
		f.parts = append(f.parts, p)
		at += t.A.Rows
	}
	return f
}

// coreSpace composes in common bases on both sides (Panariello et al. 2025):
// U of the columns of all B_i and V of the rows of all A_i, both by their
// singular vectors; the elements of M_i = Uᵀ·Δ_i·V, as small as the ranks
// together, are combined to M, and the result is U·M·Vᵀ.
func (c *composition) coreSpace(g *group, expert int, terms []lowrank.Term) solved {
	b, a := columns(unscaled(terms))
	left, ul := singularBasis(b)
	right, ur := singularBasis(a)
	rb, ra := left.R(), right.R()
	parts := make([][]float64, len(terms))
	at := 0
	for i, t := range terms {
		n := t.A.Rows
		lb, la := mul(ul.T(), rb.View(0, at, rb.Rows, n)), mul(ur.T(), ra.View(0, at, ra.Rows, n))
		core := mul(lb, la.T())
		for j := range core.Data {
			core.Data[j] *= t.Weight
		}
		parts[i] = core.Data
		at += n
	}
	merged := linalg.Dense(c.combineParts(g, expert, parts), ul.Cols, ur.Cols)
	u, v := linalg.Dense(make([]float64, b.Rows*ul.Cols), b.Rows, ul.Cols), linalg.Dense(make([]float64, a.Rows*ur.Cols), a.Rows, ur.Cols)
	left.Mul(u, ul)
	right.Mul(v, ur)
	return solvedProduct(mul(u, merged), v.T())
}

// singularBasis returns the QR of m and the left singular vectors of R, of
// those that are not zero.
func singularBasis(m lowrank.Mat) (*linalg.QR, lowrank.Mat) {
	q := linalg.NewQR(m)
	u, sigma, _ := linalg.SVD(q.R())
	return q, fixSigns(u, numericalRank(sigma))
}

// combineParts sifts and combines the coordinates of the adapters.
func (c *composition) combineParts(g *group, expert int, parts [][]float64) []float64 {
	weights := make([]float64, len(parts))
	for i, p := range parts {
		m := g.members[i]
		weights[i] = m.weight
		s := newSieve(c.rule.elementRule, c.options, m.by, g.name, expert)
		s.threshold = kthLargest(kept(len(p), s.density), func(do func([]float64)) { do(p) })
		s.sift(p, 0)
	}
	sum := make([]float64, len(parts[0]))
	combineAll(sum, parts, weights, c.rule.consensus)
	return sum
}

// solvedProduct is the delta B·A. Its noise is that of float64.
func solvedProduct(b, a lowrank.Mat) solved {
	if a.Rows == 0 {
		return solved{factors: func(r int, _ float64) ([]float64, []float64) {
			return make([]float64, b.Rows*r), make([]float64, r*a.Cols)
		}}
	}
	d := lowrank.Decompose([]lowrank.Term{{Weight: 1, B: b, A: a}})
	s := solved{Spectrum: lowrank.Spectrum{Sigma: d.Sigma, Square: d.Square()}, factors: d.Factors}
	if len(d.Sigma) > 0 {
		s.Floor = d.Sigma[0] * basisNoise
	}
	return s
}

// basisNoise is the relative size of singular values that the change of basis
// makes by itself.
const basisNoise = 1e-13

// numericalRank counts the singular values that are not noise of float64.
func numericalRank(sigma []float64) int {
	n := 0
	for n < len(sigma) && sigma[n] > sigma[0]*basisNoise {
		n++
	}
	return n
}

// fixSigns returns the first k columns, each with its element of largest
// magnitude positive: rules for elements depend on the signs.
func fixSigns(u lowrank.Mat, k int) lowrank.Mat {
	f := linalg.Dense(make([]float64, u.Rows*k), u.Rows, k)
	for j := range k {
		most := 0.0
		for i := range u.Rows {
			if x := u.Data[i*u.RowStride+j*u.ColStride]; math.Abs(x) > math.Abs(most) {
				most = x
			}
		}
		for i := range u.Rows {
			f.Data[i*k+j] = math.Copysign(1, most) * u.Data[i*u.RowStride+j*u.ColStride]
		}
	}
	return f
}

// columns returns [w₁B₁ w₂B₂ …] and [A₁; A₂; …]ᵀ.
func columns(terms []lowrank.Term) (b, a lowrank.Mat) {
	rank := 0
	for _, t := range terms {
		rank += t.A.Rows
	}
	bs, as := sideBySideFactors(terms, rank)
	return linalg.Dense(bs, terms[0].B.Rows, rank), linalg.Dense(as, rank, terms[0].A.Cols).T()
}

// unscaled returns the terms with weight 1.
func unscaled(terms []lowrank.Term) []lowrank.Term {
	out := make([]lowrank.Term, len(terms))
	for i, t := range terms {
		out[i] = lowrank.Term{Weight: 1, B: t.B, A: t.A}
	}
	return out
}

func mul(a, b lowrank.Mat) lowrank.Mat {
	c := linalg.Dense(make([]float64, a.Rows*b.Cols), a.Rows, b.Cols)
	linalg.Gemm(c, a, b, false)
	return c
}

func copyMat(dst, src lowrank.Mat) {
	for i := range src.Rows {
		for j := range src.Cols {
			dst.Data[i*dst.RowStride+j] = src.Data[i*src.RowStride+j*src.ColStride]
		}
	}
}

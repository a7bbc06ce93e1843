package cpu

import (
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/train/internal/backend"
)

// blockQueries is how many queries are scored at a time: memory is that many
// rows of scores for each worker, whatever the length.
const blockQueries = 64

// A share is the work of one goroutine: a segment and a key head. Query heads
// that read it are its own, so that no two shares write the same gradient.
type share struct {
	backend.Segment
	backend.Heads
	kv int
}

func shares(s []backend.Segment, h backend.Heads) (list []share) {
	for _, g := range s {
		for kv := range h.KV {
			list = append(list, share{g, h, kv})
		}
	}
	return list
}

// visible returns the keys of the segment that some query of a block sees.
func (s share) visible(from, rows int) (first, end int) {
	before := s.Keys - s.Queries
	end = before + from + rows
	if s.Window > 0 {
		first = max(0, before+from+1-s.Window)
	}
	return first, end
}

// limits returns the keys that query i sees, as columns of the scores of a
// block whose first key is first.
func (s share) limits(i, first int) (from, to int) {
	to = s.Keys - s.Queries + i + 1
	if s.Window > 0 {
		from = max(0, to-s.Window)
	}
	return max(from-first, 0), to - first
}

// queries and keys return the rows of a matrix that belong to the share.
func (s share) queries(m matrix, head, from, rows int) linalg.Mat[float32] {
	return m.linalg().View(s.Query+from, head*s.Dim, rows, s.Dim)
}

func (s share) keys(m matrix, from, rows int) linalg.Mat[float32] {
	return m.linalg().View(s.Key+from, s.kv*s.Dim, rows, s.Dim)
}

// each calls f for every query head of the share and block of its queries.
func (s share) each(f func(head, from, rows int)) {
	group := s.Q / s.KV
	for head := s.kv * group; head < (s.kv+1)*group; head++ {
		for from := 0; from < s.Queries; from += blockQueries {
			f(head, from, min(blockQueries, s.Queries-from))
		}
	}
}

// factors are the keys and values of a share, packed once for the products
// with all its queries.
type factors struct{ k, kT, v, vT linalg.Packed[float32] }

// factors returns one of the pool packs.
func (b *Backend) factors() *factors {
	if f, ok := b.packs.Get().(*factors); ok {
		return f
	}
	return new(factors)
}

// AttnFwd computes attention.
func (b *Backend) AttnFwd(o, stat, q, k, v backend.Mat, segments []backend.Segment, h backend.Heads) {
	om, sm, qm, km, vm := writable(o), writable(stat), values(q), values(k), values(v)
	list := shares(segments, h)
	linalg.Parallel(b.workers, len(list), func(n int) {
		s := list[n]
		buf := b.buffer(blockQueries * s.Keys)
		defer b.release(buf)
		f := b.factors()
		defer b.packs.Put(f)
		f.kT.Pack(s.keys(km, 0, s.Keys).T())
		f.v.Pack(s.keys(vm, 0, s.Keys))
		s.each(func(head, from, rows int) {
			first, end := s.visible(from, rows)
			p := linalg.Dense((*buf)[:rows*(end-first)], rows, end-first)
			f.kT.Mul(p, s.queries(qm, head, from, rows), first)
			for i := range rows {
				lo, hi := s.limits(from+i, first)
				row := p.Data[i*p.Cols:][:p.Cols]
				top, sum := softmax(row, lo, hi, s.Scale)
				copy(sm.row(s.Query + from + i)[2*head:], []float32{top, sum})
			}
			f.v.MulRows(s.queries(om, head, from, rows), p, first)
		})
	})
}

// softmax turns scores lo…hi-1 of a row into probabilities and clears the
// rest. It returns the largest scaled score and the sum of exponentials.
func softmax(row []float32, lo, hi int, scale float32) (top, sum float32) {
	x := row[lo:hi]
	k := best()
	top = float32(k.most(x) * scale)
	sum = linalg.ExpSum(x, x, scale, top)
	k.scale(x, 1/sum)
	clear(row[:lo])
	clear(row[hi:])
	return top, sum
}

// AttnBwd is the gradient of AttnFwd. Scores are computed again; with D_i =
// Σ_j dO_ij·O_ij (Dao et al. 2022, appendix B.2),
//
//	dV = Pᵀ·dO,  dP = dO·Vᵀ,  dS = P ⊙ (dP − D)·scale,  dQ = dS·K,  dK = dSᵀ·Q
func (b *Backend) AttnBwd(dq, dk, dv, do, o, stat, q, k, v backend.Mat, segments []backend.Segment, h backend.Heads) {
	dots := b.buffer(do.Rows * h.Q)
	defer b.release(dots)
	g := gradients{writable(dq), writable(dk), writable(dv), values(do), matrix{*dots, do.Rows, h.Q, h.Q}, values(stat), values(q), values(k), values(v)}
	b.headDots(g.dots, g.do, values(o), h.Dim)
	list := shares(segments, h)
	linalg.Parallel(b.workers, len(list), func(n int) {
		s := list[n]
		buf := b.buffer(2 * blockQueries * s.Keys)
		defer b.release(buf)
		f := b.factors()
		defer b.packs.Put(f)
		f.kT.Pack(s.keys(g.k, 0, s.Keys).T())
		f.vT.Pack(s.keys(g.v, 0, s.Keys).T())
		f.k.Pack(s.keys(g.k, 0, s.Keys))
		clearRows(s.keys(g.dk, 0, s.Keys))
		clearRows(s.keys(g.dv, 0, s.Keys))
		s.each(func(head, from, rows int) { g.block(s, f, *buf, head, from, rows) })
	})
}

// headDots computes D_i of all heads in one pass over the rows: those of a
// block would come from memory one by one.
func (b *Backend) headDots(d, do, o matrix, dim int) {
	b.split(d.rows, do.cols, func(from, to int) {
		for i := from; i < to; i++ {
			x, y := do.row(i), o.row(i)
			for head := range d.row(i) {
				d.row(i)[head] = float32(best().dotWide(x[head*dim:][:dim], y[head*dim:][:dim]))
			}
		}
	})
}

type gradients struct{ dq, dk, dv, do, dots, stat, q, k, v matrix }

func (g *gradients) block(s share, f *factors, buf []float32, head, from, rows int) {
	first, end := s.visible(from, rows)
	n := end - first
	p, ds := linalg.Dense(buf[:rows*n], rows, n), linalg.Dense(buf[rows*n:][:rows*n], rows, n)
	q, do := s.queries(g.q, head, from, rows), s.queries(g.do, head, from, rows)
	f.kT.Mul(p, q, first)
	f.vT.Mul(ds, do, first)
	for i := range rows {
		row := s.Query + from + i
		st := g.stat.row(row)[2*head:]
		lo, hi := s.limits(from+i, first)
		scoreGrad(p.Data[i*n:][:n], ds.Data[i*n:][:n], lo, hi, s.Scale, st[0], st[1], g.dots.row(row)[head])
	}
	linalg.Gemm(s.keys(g.dv, first, n), p.T(), do, true)
	f.k.MulRows(s.queries(g.dq, head, from, rows), ds, first)
	linalg.Gemm(s.keys(g.dk, first, n), ds.T(), q, true)
}

// scoreGrad turns a row of scores into probabilities and a row of dP into dS.
func scoreGrad(p, ds []float32, lo, hi int, scale, top, sum, d float32) {
	x := p[lo:hi]
	linalg.ExpSum(x, x, scale, top)
	best().scoreGrad(x, ds[lo:hi], 1/sum, d, scale)
	for _, row := range [][]float32{p, ds} {
		clear(row[:lo])
		clear(row[hi:])
	}
}

func clearRows(m linalg.Mat[float32]) {
	for r := range m.Rows {
		clear(m.Data[r*m.RowStride:][:m.Cols])
	}
}

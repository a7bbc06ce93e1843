package compose

import (
	"hash/fnv"
	"math"

	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// smallSide is the shorter side up to which a composed delta is decomposed in
// whole, in float64; smallElements the number of its elements.
const (
	smallSide     = 192
	smallElements = 1 << 22
)

// solveElements finds the singular values of deltas that are combined element
// by element. These have full rank: of large ones only the leading values are
// found, block by block, without holding the delta.
func (c *composition) solveElements(g *group) ([]solved, error) {
	planes, err := c.planes(g)
	if err != nil {
		return nil, err
	}
	list := make([]solved, len(planes))
	for e, p := range planes {
		if min(p.out, p.in) <= smallSide && p.out*p.in <= smallElements {
			list[e] = p.decompose()
		} else if list[e], err = c.leading(g, p); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// decompose finds all singular values of a plane.
func (p *plane) decompose() solved {
	whole := linalg.Dense(make([]float64, p.out*p.in), p.out, p.in)
	p.merged(whole.Data, 0, p.out, 0, p.in)
	var terms []lowrank.Term
	if p.in <= p.out {
		terms = []lowrank.Term{{Weight: 1, B: whole, A: unit(p.in)}}
	} else {
		terms = []lowrank.Term{{Weight: 1, B: unit(p.out), A: whole}}
	}
	d := lowrank.Decompose(terms)
	return solved{Spectrum: lowrank.Spectrum{Sigma: d.Sigma, Square: d.Square()}, factors: d.Factors}
}

func unit(n int) lowrank.Mat {
	m := linalg.Dense(make([]float64, n*n), n, n)
	for i := range n {
		m.Data[i*n+i] = 1
	}
	return m
}

// A planeSource is a plane as the range finder reads it: in float32.
type planeSource struct{ *plane }

// Dims implements linalg.Source.
func (s planeSource) Dims() (rows, cols int) { return s.out, s.in }

// Block implements linalg.Source.
func (s planeSource) Block(buf *[]float32, row, rows, col, cols int) (linalg.Mat[float32], error) {
	wide := make([]float64, rows*cols)
	s.merged(wide, row, rows, col, cols)
	*buf = grow(*buf, len(wide))
	for i, x := range wide {
		(*buf)[i] = float32(x)
	}
	return linalg.Dense(*buf, rows, cols), nil
}

// inMemoryBytes bounds the memory of a composed delta that is held in whole,
// as float32, because it is read several times.
const inMemoryBytes = 256 << 20

// squareNorm returns ‖ΔW‖² and, if there is room, the delta.
func (p *plane) squareNorm() (float64, linalg.Source) {
	var held linalg.Mat[float32]
	if 4*p.out*p.in <= inMemoryBytes {
		held = linalg.Dense(make([]float32, p.out*p.in), p.out, p.in)
	}
	square := 0.0
	rows := max(1, blockElements/p.in)
	buf := make([]float64, rows*p.in)
	for row := 0; row < p.out; row += rows {
		n := min(rows, p.out-row) * p.in
		p.merged(buf[:n], row, n/p.in, 0, p.in)
		for i, x := range buf[:n] {
			square += float64(x * x)
			if held.Data != nil {
				held.Data[row*p.in+i] = float32(x)
			}
		}
	}
	if held.Data != nil {
		return square, linalg.InMemory(held)
	}
	return square, planeSource{p}
}

// Of the leading values found, the share of the remaining square that another
// step may still find, and the number of steps that is tried.
const (
	settledShare = 1e-3
	maxGrows     = 12
)

// leading finds the leading singular values that the rule of the module needs.
func (c *composition) leading(g *group, p *plane) (solved, error) {
	square, source := p.squareNorm()
	want := largestRank(g)
	if c.options.Rank != nil {
		if n, fixed := c.options.Rank.Lookup(g.name).Fixed(); fixed {
			want = n
		}
	}
	want = min(want, p.out, p.in)
	h := fnv.New64a()
	h.Write([]byte(g.name))
	k := linalg.NewKrylov(source, want+max(16, want/2), 1, c.options.Seed, h.Sum64())
	before := 0.0
	for range maxGrows {
		if err := k.Grow(); err != nil {
			return solved{}, err
		}
		s := krylovSpectrum(k, square)
		r, err := c.rankFor(g, s)
		if err != nil {
			return solved{}, err
		}
		found := 0.0
		for _, v := range s.Sigma[:r] {
			found += float64(v * v)
		}
		if k.Complete() || r < k.Size() && found-before <= settledShare*(square-found) {
			break
		}
		before = found
	}
	return solved{Spectrum: krylovSpectrum(k, square), factors: krylovFactors(k, p)}, nil
}

func krylovSpectrum(k *linalg.Krylov, square float64) lowrank.Spectrum {
	s := lowrank.Spectrum{Square: square}
	for _, v := range k.Squares() {
		s.Sigma = append(s.Sigma, math.Sqrt(v))
	}
	return s
}

// krylovFactors shares the singular values out evenly, as lowrank does.
func krylovFactors(k *linalg.Krylov, p *plane) func(r int, s float64) (b, a []float64) {
	return func(r int, s float64) (b, a []float64) {
		n := min(r, k.Size())
		u, v := k.Vectors(n)
		b, a = make([]float64, p.out*r), make([]float64, r*p.in)
		for j := range n {
			row := v.Data[j*p.in:][:p.in]
			square := 0.0
			for _, x := range row {
				square += float64(float64(x) * float64(x))
			}
			if square == 0 {
				continue
			}
			root := math.Sqrt(math.Sqrt(square) / math.Abs(s))
			for i, x := range u.Data[j*p.out:][:p.out] {
				b[i*r+j] = math.Copysign(root, s) * float64(x)
			}
			for i, x := range row {
				a[j*p.in+i] = float64(x) / (root * math.Abs(s))
			}
		}
		return b, a
	}
}

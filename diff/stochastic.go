package diff

import (
	"math"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/mmap"
)

// Stochastic rounding takes t = w + Δ to the neighbour above with the
// probability f, the share of the way from the one below: its error has the
// variance f·(1−f)·ulp², on average twice that of rounding to nearest and up to
// three times. How loud it is depends on Δ, so it cannot be told beforehand.
// Where a delta is louder than rounding to nearest explains, the leading part
// that stands out of the rest is taken for Δ, and what is left must be what
// stochastic rounding of w + Δ leaves: as much in total, and nowhere more than
// an ulp. A dense change is neither, unless it is smaller than an ulp itself.

// loudest bounds the variance of stochastic rounding, ulp²/4, by that of
// rounding to nearest.
const loudest = 3.3

// louder returns how many of the values stand out of a noise that is as large
// as what they leave, and that noise's energy by the one expected.
func louder(squares []float64, s stats, rows, cols int) (rank int, ratio float64) {
	left := s.delta2
	for rank < len(squares) {
		// What rank directions take of the noise is no longer in the rest.
		rest := (1 - float64(rank)/float64(rows)) * (1 - float64(rank)/float64(cols))
		ratio = left / (s.noise2 * rest)
		if left < unresolved*s.delta2 {
			ratio = loudest
		}
		if !(squares[rank] > ratio*s.edge*s.edge) {
			return rank, ratio
		}
		left = max(0, left-squares[rank])
		rank++
	}
	return rank, math.Inf(1)
}

// unresolved is the share of ‖Δ‖² that sums of squares in float32 do not tell
// from zero.
const unresolved = 1e-6

// A leftover sums up what a low-rank part leaves of a delta, and what
// stochastic rounding would: of all elements, and of those with an ulp far
// below the mean, where a dense change is larger than rounding can be.
type leftover struct {
	all, fine tally
	part      float64 // square of the low-rank part
	beyond    int     // elements further than an ulp away
	rowMost   float64 // largest expected sum of a row
	columns   []float64
}

// A tally adds up squares: of what is there and of what is expected.
type tally struct {
	n                int
	square, expected float64
}

func (t *tally) add(square, expected float64) {
	t.n, t.square, t.expected = t.n+1, t.square+square, t.expected+expected
}

func (t *tally) join(o tally) {
	t.n, t.square, t.expected = t.n+o.n, t.square+o.square, t.expected+o.expected
}

// How far the energy that is left may be from the one expected, and what share
// of the elements may be an ulp away where nothing stands out: the part taken
// for Δ has errors of its own.
const (
	leastExpected = 0.9
	mostExpected  = 1.2
	mostFine      = 1.4
	mostBeyond    = 0.005
	partError     = 4e-6 // of elements of the part, from arithmetic in float32
)

// stochastic tests whether what LᵀR leaves of the delta is the noise of
// stochastic rounding, where expected is the energy of that to nearest. It
// returns the noise's energy and
// its largest singular value.
func (d *delta) stochastic(workers int, left, right linalg.Mat[float32], expected float64) (noise2, edge float64, ok bool, err error) {
	rank, elements := float64(left.Rows), float64(d.rows*d.cols)
	fine := math.Sqrt(12*expected/elements) / 4
	height := max(16, (d.rows+maxPanels-1)/maxPanels)
	panels := make([]leftover, (d.rows+height-1)/height)
	err = linalg.Split(workers, d.rows, height, func(_ *[]float32, first, n int) error {
		return mmap.Guard(func() { d.leftover(&panels[first/height], left, right, first, n, fine) })
	})
	if err != nil {
		return 0, 0, false, err
	}
	sum := leftover{columns: make([]float64, d.cols)}
	for _, p := range panels {
		sum.all.join(p.all)
		sum.fine.join(p.fine)
		sum.part, sum.beyond, sum.rowMost = sum.part+p.part, sum.beyond+p.beyond, max(sum.rowMost, p.rowMost)
		for j, v := range p.columns {
			sum.columns[j] += v
		}
	}
	if sum.all.expected == 0 { // the base lies on the grid, and nothing stands out
		return sum.all.square, math.Sqrt(sum.all.square), left.Rows == 0 && float64(sum.beyond) <= mostBeyond*elements, nil
	}
	// The part has the noise in its directions as an error.
	own := (float64(sum.all.square*(rank/float64(d.rows)+rank/float64(d.cols))) + float64(partError*partError*sum.part)) / elements
	kept := (1 - rank/float64(d.rows)) * (1 - rank/float64(d.cols))
	q := sum.all.square / (sum.all.expected * kept)
	ok = q >= leastExpected && q <= mostExpected && sum.fine.square <= mostFine*(sum.fine.expected+float64(own*float64(sum.fine.n)))
	scale := max(1, q) // the edge follows the data where they say more
	return sum.all.expected, resolved(noiseEdge(scale*sum.rowMost, scale*largestOf(sum.columns), d.rows, d.cols), sum.part), ok, nil
}

// leftover measures n rows from first on; an ulp below the one given is fine.
func (d *delta) leftover(p *leftover, left, right linalg.Mat[float32], first, n int, fine float64) {
	part := linalg.Dense(make([]float32, n*d.cols), n, d.cols)
	linalg.Gemm(part, left.View(0, first, left.Rows, n).T(), right, false)
	tuned, base := make([]float64, d.cols), make([]float64, d.cols)
	p.columns = make([]float64, d.cols)
	grid := d.tuned.grid(d.rows * d.cols)
	for i := range n {
		d.decode(tuned, base, (first+i)*d.cols)
		row := 0.0
		for j, low := range part.Data[i*d.cols : (i+1)*d.cols] {
			x := math.Ldexp(float64(low), d.exponent)
			t := base[j] + x
			p.part += float64(x * x)
			ulp := ulpOf(grid, t)
			f := t / ulp
			f -= math.Floor(f)
			variance := float64(float64(f*(1-f)) * ulp * ulp)
			off := math.Abs(tuned[j] - t)
			p.all.add(float64(off*off), variance)
			if ulp <= fine {
				p.fine.add(float64(off*off), variance)
			}
			if off > ulp {
				p.beyond++
			}
			row, p.columns[j] = row+variance, p.columns[j]+variance
		}
		p.rowMost = max(p.rowMost, row)
	}
}

// grid returns the dtype that the values were rounded to: that of the tensor,
// or a narrower one if all n of them fit it.
func (s side) grid(n int) dtype.DType {
	if s.dtype != dtype.F32 {
		return s.dtype
	}
	const belowF16, belowBF16 = 1<<13 - 1, 1<<16 - 1
	bits := uint32(0)
	block := make([]float32, min(n, 4096))
	for first := 0; first < n && bits&belowF16 == 0; first += len(block) {
		values := block[:min(len(block), n-first)]
		s.decode32(values, first)
		for _, v := range values {
			bits |= math.Float32bits(v)
		}
	}
	switch {
	case bits&belowF16 != 0:
		return dtype.F32
	case bits&belowBF16 != 0:
		return dtype.F16
	}
	return dtype.BF16
}

// ulpOf returns the distance of the neighbours of a value in a dtype.
func ulpOf(d dtype.DType, t float64) float64 {
	mantissa, minExponent := d.Precision()
	e := minExponent
	if t != 0 {
		e = max(math.Ilogb(t), e)
	}
	return math.Ldexp(1, e-mantissa)
}

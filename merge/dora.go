package merge

import (
	"fmt"
	"math"
	"math/big"
	"sync"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
)

// dora is the magnitude of a module (Liu et al. 2024, equation 5; PEFT's
// DoraLinearLayer):
//
//	W' = g ⊙ (W + ΔW),  g = m / ‖W + ΔW‖
//
// with the norm of each output over all inputs, without an epsilon.
type dora struct {
	magnitude adapter.Tensor
	onColumns bool // outputs run along the columns of the plane

	once   sync.Once
	err    error
	m      []float64
	gain   []float64 // m / norm by output
	error  []float64 // bound of the relative error of gain by output
	radius float64   // power of two above every error, for the record

	lock  sync.Mutex
	exact map[int]*big.Float // norms computed to doraBits, by output
}

// doraBits is the precision of the exact path of a scaled row: the square
// root keeps it from being exact, and 2^−250 is beyond any distance that a
// value has from a rounding boundary unless it lies on it.
const doraBits = 256

// prepare computes the norms on first use.
func (d *dora) prepare(ch *change) error {
	d.once.Do(func() { d.err = d.norms(ch) })
	return d.err
}

// norms sums the squares of each output in a fixed order, with compensation,
// so that the relative error does not grow with the number of inputs.
func (d *dora) norms(ch *change) error {
	d.m = make([]float64, d.magnitude.Elements())
	d.magnitude.DType.Decode64(d.m, d.magnitude.Bytes)
	sums, worst := newCompensated(len(d.m)), make([]float64, len(d.m))
	c := newComputer64(new(layoutCache[float64]))
	l, err := c.layouts.acquire(ch, 0)
	if err != nil {
		return err
	}
	c.change, c.laid = ch, l.terms
	w := make([]float64, ch.cols)
	width := ch.in.Bits() / 8
	for row := 0; row < ch.rows; row += blockRows {
		rows := min(blockRows, ch.rows-row)
		if err := c.delta(row, rows, 0, ch.cols); err != nil {
			return err
		}
		for i := range rows {
			at := (row + i) * ch.cols * width
			ch.in.Decode64(w, ch.source[at:at+ch.cols*width])
			for j, x := range w {
				out := d.output(row+i, j)
				sums.addSquare(out, x+c.d[i*ch.cols+j])
				worst[out] = max(worst[out], c.bounds[i])
			}
		}
	}
	d.gain, d.error = make([]float64, len(d.m)), make([]float64, len(d.m))
	inputs := float64(ch.rows*ch.cols) / float64(len(d.m))
	for i, m := range d.m {
		norm := math.Sqrt(sums.sum[i] + sums.rest[i])
		if !finite(m) || !finite(norm) || norm == 0 {
			return &rule.Error{File: "", Tensor: d.magnitude.Name, Rule: "AD045", Err: fmt.Errorf("magnitude %v of output %d beside norm %v", m, i, norm)}
		}
		d.gain[i] = m / norm
		d.error[i] = 0x1p-50 + 2*math.Sqrt(inputs)*worst[i]/norm
		d.radius = max(d.radius, d.error[i])
	}
	d.radius = math.Ldexp(1, math.Ilogb(d.radius)+1)
	return nil
}

func (d *dora) output(row, col int) int {
	if d.onColumns {
		return col
	}
	return row
}

// scaleOf returns the gain of an element's output and the radius of its
// relative error.
func (d *dora) scaleOf(row, col int) (gain, radius float64) {
	return d.gain[d.output(row, col)], d.radius
}

// scale returns the scaled value of an element and the bound of its error.
func (d *dora) scale(t, e float64, row, col int) (float64, float64) {
	out := d.output(row, col)
	g := d.gain[out]
	u := float64(g * t)
	return u, float64(math.Abs(g)*e*1.001) + float64(math.Abs(u)*(d.error[out]+0x1p-51)) + 0x1p-1060
}

// scaleExact multiplies a sum computed without rounding by the gain.
func (d *dora) scaleExact(e *exact, ch *change, total *big.Float, row, col int) *big.Float {
	sum := new(big.Float).Copy(total)
	out := d.output(row, col)
	scaled := new(big.Float).SetPrec(doraBits).SetFloat64(d.m[out])
	scaled.Mul(scaled, sum)
	return scaled.Quo(scaled, d.exactNorm(e, ch, out))
}

func (d *dora) exactNorm(e *exact, ch *change, out int) *big.Float {
	d.lock.Lock()
	defer d.lock.Unlock()
	if n := d.exact[out]; n != nil {
		return n
	}
	square, sum := new(big.Float).SetPrec(doraBits), new(big.Float).SetPrec(doraBits)
	n := ch.cols
	if d.onColumns {
		n = ch.rows
	}
	var w [1]float64
	width := ch.in.Bits() / 8
	for i := range n {
		row, col := out, i
		if d.onColumns {
			row, col = i, out
		}
		at := (row*ch.cols + col) * width
		ch.in.Decode64(w[:], ch.source[at:at+width])
		t := e.total(ch, 0, row, col, w[0])
		sum.Add(sum, square.Mul(t, t))
	}
	if d.exact == nil {
		d.exact = map[int]*big.Float{}
	}
	d.exact[out] = sum.Sqrt(sum)
	return d.exact[out]
}

// compensated sums squares with the rounding errors kept aside (Ogita, Rump
// and Oishi 2005, Dot2).
type compensated struct{ sum, rest []float64 }

func newCompensated(n int) compensated {
	return compensated{make([]float64, n), make([]float64, n)}
}

func (c compensated) addSquare(i int, x float64) {
	p := float64(x * x)
	e := math.FMA(x, x, -p)
	s := c.sum[i] + p
	z := s - c.sum[i]
	c.rest[i] += ((c.sum[i] - (s - z)) + (p - z)) + e
	c.sum[i] = s
}

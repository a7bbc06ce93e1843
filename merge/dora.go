package merge

import (
	"fmt"
	"math"
	"math/big"
	"sync"
	"sync/atomic"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
)

// dora is the magnitudes of the modules whose weights a tensor holds (Liu et
// al. 2024, equation 5; PEFT's DoraLinearLayer):
//
//	W' = g ⊙ (W + ΔW),  g = m / ‖W + ΔW‖
//
// with the norm of each output over all inputs, without an epsilon. Outputs of
// modules without a magnitude are W + ΔW, a gain of 1.
type dora struct {
	magnitudes []magnitude
	outputs    int  // of the plane
	onColumns  bool // outputs run along the columns of the plane

	preparing sync.Mutex
	ready     atomic.Bool // what follows is computed
	m         []float64
	scaled    []bool    // outputs that have a magnitude; nil: all
	gain      []float64 // m / norm by output
	error     []float64 // bound of the relative error of gain by output
	radius    float64   // power of two above every error, for the record

	lock  sync.Mutex
	exact map[int]*big.Float // norms computed to doraBits, by output
}

// A magnitude is that of the outputs of one module: value from[i] of the tensor
// is for output to[i] of the plane.
type magnitude struct {
	tensor   adapter.Tensor
	from, to adapter.Span
}

// addMagnitude adds the magnitude of an update that lies in one plane.
func (c *change) addMagnitude(u weightedPiece) error {
	m, p := *u.update.Module.Magnitude, u.piece
	if out := u.update.Module.B.Shape[0]; m.Elements() != out {
		return &rule.Error{File: u.by.Source, Tensor: m.Name, Rule: "AD027", Err: fmt.Errorf("%d magnitudes for %d outputs", m.Elements(), out)}
	}
	outputs, to := c.rows, p.Row
	if p.Transposed {
		outputs, to = c.cols, p.Col
	}
	if c.dora == nil {
		c.dora = &dora{outputs: outputs, onColumns: p.Transposed}
	}
	if c.dora.onColumns != p.Transposed {
		return &rule.Unsupported{File: u.by.Source, What: fmt.Sprintf("DoRA magnitudes along both dimensions of tensor %q", c.out.Name)}
	}
	c.dora.magnitudes = append(c.dora.magnitudes, magnitude{m, p.Out, to})
	return nil
}

// gather spreads the magnitudes over the outputs.
func (d *dora) gather() {
	d.m, d.scaled = make([]float64, d.outputs), make([]bool, d.outputs)
	for _, g := range d.magnitudes {
		values := make([]float64, g.tensor.Elements())
		g.tensor.DType.Decode64(values, g.tensor.Bytes)
		for i := range g.to.Len {
			out := g.to.First + i*g.to.Step
			d.m[out], d.scaled[out] = values[g.from.First+i*g.from.Step], true
		}
	}
}

// tensorOf is the tensor that has the magnitude of an output that has one.
func (d *dora) tensorOf(out int) *adapter.Tensor {
	for i := range d.magnitudes {
		if index(d.magnitudes[i].to, out) >= 0 {
			return &d.magnitudes[i].tensor
		}
	}
	return nil
}

// leaves reports whether an output has no magnitude.
func (d *dora) leaves(out int) bool { return d.scaled != nil && !d.scaled[out] }

// doraBits is the precision of the exact path of a scaled row: the square
// root keeps it from being exact, and 2^−250 is beyond any distance that a
// value has from a rounding boundary unless it lies on it.
const doraBits = 256

// prepare computes the norms on first use.
func (d *dora) prepare(ch *change, stop *atomic.Bool) error {
	if d.ready.Load() {
		return nil
	}
	d.preparing.Lock()
	defer d.preparing.Unlock()
	if d.ready.Load() {
		return nil
	}
	err := d.norms(ch, stop)
	d.ready.Store(err == nil)
	return err
}

// norms sums the squares of each output in a fixed order, with compensation,
// so that the relative error does not grow with the number of inputs.
func (d *dora) norms(ch *change, stop *atomic.Bool) error {
	d.gather()
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
		if stop.Load() {
			return errStopped
		}
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
		if d.leaves(i) {
			d.gain[i] = 1
			continue
		}
		norm := math.Sqrt(sums.sum[i] + sums.rest[i])
		if !finite(m) {
			return notFinite(*d.tensorOf(i))
		}
		if !finite(norm) || norm == 0 {
			return &rule.Error{File: "", Tensor: d.tensorOf(i).Name, Rule: "AD045", Err: fmt.Errorf("magnitude %v of output %d beside norm %v", m, i, norm)}
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
	if d.leaves(out) {
		return t, e
	}
	g := d.gain[out]
	u := float64(g * t)
	return u, float64(math.Abs(g)*e*1.001) + float64(math.Abs(u)*(d.error[out]+0x1p-51)) + 0x1p-1060
}

// scaleExact multiplies a sum computed without rounding by the gain.
func (d *dora) scaleExact(e *exact, ch *change, total *big.Float, row, col int) *big.Float {
	sum := new(big.Float).Copy(total)
	out := d.output(row, col)
	if d.leaves(out) {
		return sum
	}
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
		if e.stop.Load() {
			return sum.SetInt64(1) // of an element that nobody waits for
		}
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
